// Python's view of depth fusion; shapes are checked with better words in recon/ops/tsdf.py.
#include <nanobind/stl/array.h>

#include "core/arrays.h"
#include "tsdf/check.h"
#include "tsdf/tsdf_cpu.h"

namespace {

using namespace recon;
using tsdf::Numbers;

void fuse_depth(array<float> distance, array<float> weight, array<float> colour, array<float> colour_weight,
                Numbers<3> origin, Numbers<3> spacing, array<const float> depth, array<const float> picture,
                array<const float> confidence, Numbers<12> camera_from_world, Numbers<4> intrinsics,
                double truncation) {
  const tsdf::Fusion f = tsdf::check_fusion(distance, weight, colour, colour_weight, origin, spacing, depth, picture,
                                            confidence, camera_from_world, intrinsics, truncation);
  nb::gil_scoped_release release;
  tsdf::fuse(f.volume, f.picture, f.camera, truncation);
}

}  // namespace

void bind_tsdf(nb::module_& m) {
  using nb::arg;
  m.def("fuse_depth", &fuse_depth, arg("distance").noconvert(), arg("weight").noconvert(), arg("colour").noconvert(),
        arg("colour_weight").noconvert(), arg("origin"), arg("spacing"), arg("depth").noconvert(),
        arg("picture").noconvert(), arg("confidence").noconvert(), arg("camera_from_world"), arg("intrinsics"),
        arg("truncation"));
}
