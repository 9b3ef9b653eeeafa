// Cubes of a grid as CUDA threads see them.
#pragma once

#include "core/device.h"
#include "iso/flexible.h"

namespace recon::gpu {

using iso::Grid;

// Sign pattern of a cube: bit c is set where corner c is inside.
__device__ inline int pattern_of(const float* values, const Grid& g, int64_t x, int64_t y, int64_t z) {
  int out = 0;
  for (int c = 0; c < 8; ++c) {
    const int64_t p = ((z + (c >> 2)) * g.ny + y + (c >> 1 & 1)) * g.nx + x + (c & 1);
    out |= int(values[p] < 0.0f) << c;
  }
  return out;
}

__device__ inline void cube_at(const Grid& g, int64_t i, int64_t* at) {
  at[0] = i % (g.nx - 1);
  at[1] = i / (g.nx - 1) % (g.ny - 1);
  at[2] = i / ((g.nx - 1) * (g.ny - 1));
}

}  // namespace recon::gpu
