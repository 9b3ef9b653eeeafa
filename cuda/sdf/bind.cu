// Python binding of the CUDA driver of distances to triangles; no logic.
#include "core/arrays_cuda.h"
#include "sdf/sdf_cuda.h"

namespace recon::gpu {
namespace {

sdf::Tree tree_of(const bytes& nodes, const bytes& triangles, const bytes& faces, const array<const float>& points) {
  const size_t count = faces.size() / sizeof(int32_t);
  expect(nodes.size() % sizeof(sdf::Node) == 0 && triangles.size() == count * sizeof(sdf::triangle<double>) &&
             (nodes.size() == 0) == (count == 0),
         "these are not the parts of a tree");
  expect(points.ndim() == 2 && points.shape(1) == 3, "points must be [n, 3]");
  return {reinterpret_cast<const sdf::Node*>(nodes.data()),
          reinterpret_cast<const sdf::triangle<double>*>(triangles.data()),
          reinterpret_cast<const int32_t*>(faces.data()), int64_t(nodes.size() / sizeof(sdf::Node))};
}

}  // namespace
}  // namespace recon::gpu

void bind_sdf_cuda(nanobind::module_& m) {
  using namespace recon::gpu;
  m.def(
      "triangles_closest",
      [](bytes nodes, bytes triangles, bytes faces, array<const float> points, numbers nearest, ids face,
         uintptr_t stream) {
        const auto tree = tree_of(nodes, triangles, faces, points);
        expect(nearest.size() == points.size() && face.size() == points.shape(0),
               "nearest must be [n, 3] and face [n]");
        closest(tree, points.data(), int64_t(points.shape(0)), nearest.data(), face.data(), stream_of(stream));
      },
      nb::arg("nodes").noconvert(), nb::arg("triangles").noconvert(), nb::arg("faces").noconvert(),
      nb::arg("points").noconvert(), nb::arg("nearest").noconvert(), nb::arg("face").noconvert(), nb::arg("stream"));
  m.def(
      "triangles_winding",
      [](bytes nodes, bytes triangles, bytes faces, array<const float> points, numbers number, uintptr_t stream) {
        const auto tree = tree_of(nodes, triangles, faces, points);
        expect(number.size() == points.shape(0), "number must be [n]");
        winding(tree, points.data(), int64_t(points.shape(0)), number.data(), stream_of(stream));
      },
      nb::arg("nodes").noconvert(), nb::arg("triangles").noconvert(), nb::arg("faces").noconvert(),
      nb::arg("points").noconvert(), nb::arg("number").noconvert(), nb::arg("stream"));
}
