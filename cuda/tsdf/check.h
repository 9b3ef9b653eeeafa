// What the bindings of all devices ask of the arrays of a fusion.
#pragma once

#include <array>

#include "core/expect.h"
#include "tsdf/tsdf.h"

namespace recon::tsdf {

template <size_t N>
using Numbers = std::array<double, N>;

struct Fusion {
  Volume volume;
  Picture picture;
  view<double> camera;
};

template <class Grid, class Image>
Fusion check_fusion(const Grid& distance, const Grid& weight, const Grid& colour, const Grid& colour_weight,
                    const Numbers<3>& origin, const Numbers<3>& spacing, const Image& depth, const Image& picture,
                    const Image& confidence, const Numbers<12>& camera_from_world, const Numbers<4>& intrinsics,
                    double truncation) {
  expect(distance.ndim() == 3, "distance must be [nz, ny, nx]");
  expect(weight.size() == distance.size() && colour_weight.size() == distance.size(), "weights must match distance");
  expect(colour.size() == 3 * distance.size(), "colour must be [nz, ny, nx, 3]");
  expect(depth.ndim() == 2, "depth must be [height, width]");
  expect(picture.size() == 3 * depth.size() && confidence.size() == depth.size(), "pictures must match depth");
  expect(truncation > 0, "truncation must be positive");
  const Volume v{int64_t(distance.shape(2)),
                 int64_t(distance.shape(1)),
                 int64_t(distance.shape(0)),
                 {origin[0], origin[1], origin[2]},
                 {spacing[0], spacing[1], spacing[2]},
                 distance.data(),
                 weight.data(),
                 colour.data(),
                 colour_weight.data()};
  const Picture p{int64_t(depth.shape(1)), int64_t(depth.shape(0)), depth.data(), picture.data(), confidence.data()};
  view<double> c{};
  for (int row = 0; row < 3; ++row) {
    for (int k = 0; k < 3; ++k) c.rotation[3 * row + k] = camera_from_world[4 * row + k];
    c.translation[row] = camera_from_world[4 * row + 3];
  }
  c.fx = intrinsics[0], c.fy = intrinsics[1], c.cx = intrinsics[2], c.cy = intrinsics[3];
  return {v, p, c};
}

}  // namespace recon::tsdf
