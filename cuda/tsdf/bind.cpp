// Python's view of depth fusion; shapes are checked with better words in recon/ops/tsdf.py.
#include <nanobind/stl/array.h>

#include <array>
#include <cmath>

#include "core/arrays.h"
#include "tsdf/tsdf_cpu.h"

namespace {

using namespace recon;
template <size_t N>
using Numbers = std::array<double, N>;

void fuse_depth(array<float> distance, array<float> weight, array<float> colour, array<float> colour_weight,
                Numbers<3> origin, Numbers<3> spacing, array<const float> depth, array<const float> picture,
                array<const float> confidence, Numbers<12> camera_from_world, Numbers<4> intrinsics,
                double truncation) {
  expect(distance.ndim() == 3, "distance must be [nz, ny, nx]");
  expect(weight.size() == distance.size() && colour_weight.size() == distance.size(), "weights must match distance");
  expect(colour.size() == 3 * distance.size(), "colour must be [nz, ny, nx, 3]");
  expect(depth.ndim() == 2, "depth must be [height, width]");
  expect(picture.size() == 3 * depth.size() && confidence.size() == depth.size(), "pictures must match depth");
  expect(truncation > 0, "truncation must be positive");
  const tsdf::Volume v{int64_t(distance.shape(2)),
                       int64_t(distance.shape(1)),
                       int64_t(distance.shape(0)),
                       {origin[0], origin[1], origin[2]},
                       {spacing[0], spacing[1], spacing[2]},
                       distance.data(),
                       weight.data(),
                       colour.data(),
                       colour_weight.data()};
  const tsdf::Picture p{int64_t(depth.shape(1)), int64_t(depth.shape(0)), depth.data(), picture.data(),
                        confidence.data()};
  tsdf::view<double> c{};
  for (int row = 0; row < 3; ++row) {
    for (int k = 0; k < 3; ++k) c.rotation[3 * row + k] = camera_from_world[4 * row + k];
    c.translation[row] = camera_from_world[4 * row + 3];
  }
  c.fx = intrinsics[0], c.fy = intrinsics[1], c.cx = intrinsics[2], c.cy = intrinsics[3];
  nb::gil_scoped_release release;
  tsdf::fuse(v, p, c, truncation);
}

}  // namespace

void bind_tsdf(nb::module_& m) {
  using nb::arg;
  m.def("fuse_depth", &fuse_depth, arg("distance").noconvert(), arg("weight").noconvert(), arg("colour").noconvert(),
        arg("colour_weight").noconvert(), arg("origin"), arg("spacing"), arg("depth").noconvert(),
        arg("picture").noconvert(), arg("confidence").noconvert(), arg("camera_from_world"), arg("intrinsics"),
        arg("truncation"));
}
