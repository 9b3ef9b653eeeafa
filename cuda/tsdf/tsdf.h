// One voxel of a truncated signed distance field and one depth picture. Curless and Levoy, "A Volumetric Method for
// Building Complex Models from Range Images", SIGGRAPH 1996; the truncation in front is 1, positive values are outside.
#pragma once

#include "../core/scalar.h"

namespace recon::tsdf {

template <class F>
struct view {
  F rotation[9], translation[3];  // camera from world
  F fx, fy, cx, cy;
};

// Distance of a voxel to the seen surface along z, in truncations; depth <= 0 is unknown, infinite is empty space.
// False where the picture says nothing about the voxel.
template <class F>
RECON_HD bool observe(const F& depth, const F& z, const F& truncation, F& distance) {
  if (!(depth > F(0))) return false;
  const F d = (depth - z) / truncation;
  distance = d < F(1) ? d : F(1);
  return d >= F(-1);
}

// Running mean of what was observed.
template <class F>
RECON_HD void average(F& mean, const F& weight, const F& value, const F& value_weight) {
  mean = mean + (value - mean) * (value_weight / (weight + value_weight));
}

}  // namespace recon::tsdf
