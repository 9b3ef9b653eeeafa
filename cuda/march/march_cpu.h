// The CPU driver's face: what bind.cpp may call. Rays are [n, 3]; samples of all rays lie one after another, those of
// ray i at offsets[i] .. offsets[i + 1].
#pragma once

#include <cstdint>
#include <memory>

#include "march/march.h"

namespace recon::march {

struct samples {
  std::unique_ptr<int32_t[]> offsets;  // [n + 1]
  std::unique_ptr<float[]> position;   // unit coordinates [count, 3]
  std::unique_ptr<float[]> t;          // [count]
  int64_t count = 0;
};

// Samples `step` apart in occupied cells; `offset` [n] in 0..1 moves the first. Outside the inner box of a contracted
// domain steps grow with the distance from its centre. Rays end at `far`.
samples sample_rays(const float* origin, const float* direction, const float* offset, int64_t n,
                    const domain<float>& box, const occupancy& grid, float near, float far, float step);

// Turns a grid of 1 = occupied into the distances that sample_rays wants, in place.
void distance_to_occupied(uint8_t* cells, const int* size);

// Weight of every sample [m]; samples behind the point where the transmittance falls below `end` have none.
template <class S>
void weights(const S* raw, const int32_t* offsets, int64_t rays, S delta, S shift, S end, S* weight);

// Blends colours of the chosen samples `index` [k] (ascending). Out: rgb [n, 3], depth sum [n], transmittance [n],
// distortion [n].
template <class S>
void composite(const S* raw, const S* t, const int32_t* offsets, int64_t rays, const S* colour, const int32_t* index,
               int64_t chosen, const S* background, S delta, S shift, S* rgb, S* depth, S* T, S* distortion);

template <class S>
void composite_backward(const S* raw, const S* t, const int32_t* offsets, int64_t rays, const S* colour,
                        const int32_t* index, int64_t chosen, const S* background, S delta, S shift, const S* g_rgb,
                        const S* g_T, const S* g_distortion, S* g_raw, S* g_colour);

}  // namespace recon::march
