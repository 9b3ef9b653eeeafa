// What bindings of every device ask of the arrays of ray marching; shapes are checked with better words in
// recon/ops/march.py.
#pragma once

#include <cstddef>

#include "core/expect.h"
#include "march/march.h"

namespace recon::march {

// `box` is read by the host: low and high corner, margin.
template <class A, class B, class C, class D>
domain<float> check_rays(const A& origin, const A& direction, const B& offset, const C& box, const D& cells, float far,
                         float step) {
  expect(box.size() == 7 && cells.ndim() == 3 && cells.size() > 0, "box must be [7], cells [x, y, z]");
  expect(origin.size() == direction.size() && origin.size() == 3 * offset.size(), "rays must be [n, 3]");
  expect(step > 0 && far < 1e9f, "step must be positive and far finite");
  domain<float> d;
  for (int i = 0; i < 3; ++i) d.lo[i] = box.data()[i], d.hi[i] = box.data()[3 + i];
  d.margin = box.data()[6];
  return d;
}

template <class D>
occupancy check_cells(const D& cells) {
  expect(cells.ndim() == 3, "cells must be [x, y, z]");
  return {cells.data(), {int(cells.shape(0)), int(cells.shape(1)), int(cells.shape(2))}};
}

template <class A, class B, class C, class D>
void check_samples(const A& raw, const A& t, const B& colour, const C& index, const D& background) {
  expect(t.size() == raw.size() && colour.size() == 3 * index.size() && background.size() == 3, "sizes differ");
}

template <class A, class B>
void check_gradients(size_t rays, const A& raw, const A& colour, const A& g_rgb, const A& g_T, const A& g_distortion,
                     const B& g_raw, const B& g_colour) {
  expect(g_rgb.size() == 3 * rays && g_T.size() == rays && g_distortion.size() == rays, "gradients must be [rays]");
  expect(g_raw.size() == raw.size() && g_colour.size() == colour.size(), "outputs must be as large as inputs");
}

template <class A>
void check_blended(size_t rays, const A& rgb, const A& depth, const A& T, const A& distortion) {
  expect(rgb.size() == 3 * rays && depth.size() == rays && T.size() == rays && distortion.size() == rays,
         "outputs must be [rays]");
}

}  // namespace recon::march
