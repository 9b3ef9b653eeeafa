// Fusion of depth pictures into a voxel grid on the CPU. Grids are [nz, ny, nx] with x fastest.
#pragma once

#include <cstdint>

#include "tsdf/tsdf.h"

namespace recon::tsdf {

struct Volume {
  int64_t nx, ny, nz;
  double origin[3], spacing[3];
  float *distance, *weight, *colour, *colour_weight;  // colour [points, 3]
};
struct Picture {
  int64_t width, height;
  const float *depth, *colour;   // colour [height, width, 3]
  const float* confidence;       // [height, width]
};

void fuse(const Volume& volume, const Picture& picture, const view<double>& camera, double truncation);

}  // namespace recon::tsdf
