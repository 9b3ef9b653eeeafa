// One voxel of a truncated signed distance field and one depth picture. Curless and Levoy, "A Volumetric Method for
// Building Complex Models from Range Images", SIGGRAPH 1996; the truncation in front is 1, positive values are outside.
#pragma once

#include <cstdint>

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

// Grids are [nz, ny, nx] with x fastest.
struct Volume {
  int64_t nx, ny, nz;
  double origin[3], spacing[3];
  float *distance, *weight, *colour, *colour_weight;  // colour [points, 3]
};
struct Picture {
  int64_t width, height;
  const float *depth, *colour;  // colour [height, width, 3]
  const float* confidence;  // [height, width]
};

// A row of voxels along x: camera coordinates of the first, and from voxel to voxel.
struct row {
  float at[3], step[3];
};

RECON_HD row row_of(const Volume& v, const view<double>& camera, int64_t y, int64_t z) {
  const double start[3] = {v.origin[0], v.origin[1] + double(y) * v.spacing[1], v.origin[2] + double(z) * v.spacing[2]};
  row out;
  for (int k = 0; k < 3; ++k) {
    const double* r = camera.rotation + 3 * k;
    out.at[k] = float(r[0] * start[0] + r[1] * start[1] + r[2] * start[2] + camera.translation[k]);
    out.step[k] = float(r[0]) * float(v.spacing[0]);
  }
  return out;
}

// Voxel x of a row, which is number i of the volume, looks up its pixel.
RECON_HD void fuse_voxel(const Volume& v, const Picture& p, const view<double>& camera, float truncation, const row& r,
                         int64_t x, int64_t i) {
  const float depth_here = r.at[2] + float(x) * r.step[2];
  if (!(depth_here > 1e-6f)) return;
  const float inverse = 1.0f / depth_here;
  const float px = float(camera.fx) * (r.at[0] + float(x) * r.step[0]) * inverse + float(camera.cx);
  const float py = float(camera.fy) * (r.at[1] + float(x) * r.step[1]) * inverse + float(camera.cy);
  if (!(px >= 0 && py >= 0 && px < float(p.width) && py < float(p.height))) return;
  const int64_t pixel = int64_t(py) * p.width + int64_t(px);
  float distance;
  if (!observe(p.depth[pixel], depth_here, truncation, distance)) return;
  const float w = p.confidence[pixel];
  if (!(w > 0)) return;
  average(v.distance[i], v.weight[i], distance, w);
  v.weight[i] += w;
  if (distance >= 1) return;
  const float near = w * (1 - recon::abs(distance));
  if (!(near > 0)) return;
  for (int k = 0; k < 3; ++k) average(v.colour[3 * i + k], v.colour_weight[i], p.colour[3 * pixel + k], near);
  v.colour_weight[i] += near;
}

}  // namespace recon::tsdf
