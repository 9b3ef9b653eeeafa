// Python binding of the CUDA driver of mesh rasterization; no logic. That faces name vertices that are there is the
// caller's to know: it cannot be read without waiting for the device.
#include <nanobind/stl/array.h>

#include "core/arrays_cuda.h"
#include "raster/check.h"
#include "raster/raster_cuda.h"

void bind_raster_cuda(nanobind::module_& m) {
  using namespace recon::gpu;
  m.def("rasterize_scratch", &rasterize_scratch_bytes);
  m.def(
      "rasterize",
      [](array<const float> vertices, array<const int32_t> faces, std::array<double, 4> intrinsics, double near,
         ids face, numbers depth, numbers shares, bytes scratch, uintptr_t stream) {
        const auto s = recon::raster::check_scene(vertices, faces, intrinsics, near, face, depth, shares);
        expect(scratch.size() >= rasterize_scratch_bytes(s.num_faces, int64_t(face.size())),
               "not enough scratch memory");
        rasterize(s, face.data(), depth.data(), shares.data(), scratch.data(), stream_of(stream));
      },
      nb::arg("vertices").noconvert(), nb::arg("faces").noconvert(), nb::arg("intrinsics"), nb::arg("near"),
      nb::arg("face").noconvert(), nb::arg("depth").noconvert(), nb::arg("shares").noconvert(),
      nb::arg("scratch").noconvert(), nb::arg("stream"));
}
