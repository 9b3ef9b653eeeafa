// Python binding of the CUDA driver of depth fusion; no logic.
#include <nanobind/stl/array.h>

#include "core/arrays_cuda.h"
#include "tsdf/check.h"
#include "tsdf/tsdf_cuda.h"

void bind_tsdf_cuda(nanobind::module_& m) {
  using namespace recon::gpu;
  using recon::tsdf::Numbers;
  m.def(
      "fuse_depth",
      [](numbers distance, numbers weight, numbers colour, numbers colour_weight, Numbers<3> origin, Numbers<3> spacing,
         array<const float> depth, array<const float> picture, array<const float> confidence,
         Numbers<12> camera_from_world, Numbers<4> intrinsics, double truncation, uintptr_t stream) {
        const auto f = recon::tsdf::check_fusion(distance, weight, colour, colour_weight, origin, spacing, depth,
                                                 picture, confidence, camera_from_world, intrinsics, truncation);
        fuse(f.volume, f.picture, f.camera, truncation, stream_of(stream));
      },
      nb::arg("distance").noconvert(), nb::arg("weight").noconvert(), nb::arg("colour").noconvert(),
      nb::arg("colour_weight").noconvert(), nb::arg("origin"), nb::arg("spacing"), nb::arg("depth").noconvert(),
      nb::arg("picture").noconvert(), nb::arg("confidence").noconvert(), nb::arg("camera_from_world"),
      nb::arg("intrinsics"), nb::arg("truncation"), nb::arg("stream"));
}
