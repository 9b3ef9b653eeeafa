// What bindings of every device ask of the arrays of isosurfaces; shapes are checked with better words in
// recon/ops/flexicubes.py.
#pragma once

#include <array>
#include <cstddef>

#include "core/expect.h"
#include "iso/flexible.h"

namespace recon::iso {

using Numbers = std::array<double, 3>;

template <class A>
Grid check_grid(const A& values, const Numbers& origin, const Numbers& spacing) {
  expect(values.ndim() == 3, "values must be [nz, ny, nx]");
  for (int a = 0; a < 3; ++a) expect(values.shape(a) >= 2 && values.shape(a) < (1u << 20), "grid size is out of range");
  expect(values.size() < (size_t(1) << 29), "grid is too large");
  Grid g{int64_t(values.shape(2)), int64_t(values.shape(1)), int64_t(values.shape(0)), {}, {}};
  for (int a = 0; a < 3; ++a) g.origin[a] = origin[a], g.spacing[a] = spacing[a];
  return g;
}

// The grid of an array that holds a place for every point.
template <class A>
Grid check_places(const A& places, const Numbers& origin, const Numbers& spacing) {
  expect(places.ndim() == 4 && places.shape(3) == 3, "places must be [nz, ny, nx, 3]");
  return {int64_t(places.shape(2)),
          int64_t(places.shape(1)),
          int64_t(places.shape(0)),
          {origin[0], origin[1], origin[2]},
          {spacing[0], spacing[1], spacing[2]}};
}

}  // namespace recon::iso
