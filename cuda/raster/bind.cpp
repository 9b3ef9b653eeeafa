// Python's view of mesh rasterization; shapes are checked with better words in recon/ops/raster.py.
#include <nanobind/stl/array.h>

#include <array>

#include "core/arrays.h"
#include "raster/check.h"
#include "raster/raster_cpu.h"

namespace {

using namespace recon;

void rasterize(array<const float> vertices, array<const int32_t> faces, std::array<double, 4> intrinsics, double near,
               array<int32_t> face, array<float> depth, array<float> shares) {
  const raster::Scene s = raster::check_scene(vertices, faces, intrinsics, near, face, depth, shares);
  for (size_t i = 0; i < faces.size(); ++i)
    expect(faces.data()[i] >= 0 && size_t(faces.data()[i]) < vertices.shape(0),
           "a face uses a vertex that is not there");
  nb::gil_scoped_release release;
  raster::rasterize(s, face.data(), depth.data(), shares.data());
}

}  // namespace

void bind_raster(nb::module_& m) {
  using nb::arg;
  m.def("rasterize", &rasterize, arg("vertices").noconvert(), arg("faces").noconvert(), arg("intrinsics"), arg("near"),
        arg("face").noconvert(), arg("depth").noconvert(), arg("shares").noconvert());
}
