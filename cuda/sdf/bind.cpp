// Python's view of distances to triangles; arguments are checked with better words in recon/ops/triangles.py.
#include <vector>

#include "core/arrays.h"
#include "sdf/sdf_cpu.h"

namespace {

using namespace recon;
using sdf::TriangleTree;

void check_rows(const array<const float>& points) {
  expect(points.ndim() == 2 && points.shape(1) == 3, "points must be [n, 3]");
}

void init(TriangleTree* self, array<const float> vertices, array<const int32_t> faces) {
  check_rows(vertices);
  expect(faces.ndim() == 2 && faces.shape(1) == 3, "faces must be [f, 3]");
  expect(faces.shape(0) < (size_t(1) << 30), "too many faces");
  for (size_t i = 0; i < faces.size(); ++i)
    expect(faces.data()[i] >= 0 && size_t(faces.data()[i]) < vertices.shape(0), "a face names no vertex");
  new (self) TriangleTree(vertices.data(), faces.data(), int64_t(faces.shape(0)));
}

void closest(const TriangleTree& tree, array<const float> points, array<float> nearest, array<int32_t> face) {
  check_rows(points);
  expect(nearest.ndim() == 2 && nearest.shape(0) == points.shape(0) && nearest.shape(1) == 3, "nearest must be [n, 3]");
  expect(face.ndim() == 1 && face.shape(0) == points.shape(0), "face must be [n]");
  nb::gil_scoped_release release;
  tree.closest(points.data(), int64_t(points.shape(0)), nearest.data(), face.data());
}

void winding(const TriangleTree& tree, array<const float> points, array<float> number) {
  check_rows(points);
  expect(number.ndim() == 1 && number.shape(0) == points.shape(0), "number must be [n]");
  nb::gil_scoped_release release;
  tree.winding(points.data(), int64_t(points.shape(0)), number.data());
}

// Nodes, triangles and faces as bytes, for the tree to be sent to another device.
nb::list parts(const TriangleTree& tree) {
  const sdf::Tree t = tree.view();
  const auto copied = [](const void* from, size_t bytes) {
    auto* kept = new std::vector<uint8_t>(static_cast<const uint8_t*>(from), static_cast<const uint8_t*>(from) + bytes);
    nb::capsule owner(kept, [](void* p) noexcept { delete static_cast<std::vector<uint8_t>*>(p); });
    return nb::ndarray<nb::numpy, uint8_t>(kept->data(), {bytes}, owner);
  };
  nb::list out;
  out.append(copied(t.nodes, size_t(t.num_nodes) * sizeof(sdf::Node)));
  out.append(copied(t.triangles, size_t(tree.size()) * sizeof(sdf::triangle<double>)));
  out.append(copied(t.faces, size_t(tree.size()) * sizeof(int32_t)));
  return out;
}

}  // namespace

void bind_sdf(nb::module_& m) {
  nb::class_<TriangleTree>(m, "TriangleTree", "Boxes over triangles, for distances")
      .def("__init__", &init, nb::arg("vertices").noconvert(), nb::arg("faces").noconvert())
      .def("closest", &closest, nb::arg("points").noconvert(), nb::arg("nearest").noconvert(),
           nb::arg("face").noconvert())
      .def("parts", &parts)
      .def("winding", &winding, nb::arg("points").noconvert(), nb::arg("number").noconvert());
}
