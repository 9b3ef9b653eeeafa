// Python's view of nearest neighbours; shapes are checked with better words in recon/ops/knn.py.
#include "core/arrays.h"
#include "knn/knn_cpu.h"
#include "knn/tree.h"

namespace {

using namespace recon;

void check_points(const array<const float>& points) {
  expect(points.ndim() == 2 && points.shape(1) == 3, "points must be [n, 3]");
  expect(points.shape(0) < (size_t(1) << 31), "too many points");
  expect(knn::all_finite(points.data(), int64_t(points.size())), "points must be finite");
}
template <class A>
void check_output(const A& out, size_t rows) {
  expect(out.ndim() == 2 && out.shape(0) == rows, "outputs must be [n, k]");
  expect(out.shape(1) >= 1 && out.shape(1) <= size_t(knn::kMaxNeighbours), "k is out of range");
}

void nearest_others(array<const float> points, array<float> squared) {
  check_points(points);
  check_output(squared, points.shape(0));
  nb::gil_scoped_release release;
  knn::nearest_others(points.data(), int64_t(points.shape(0)), int(squared.shape(1)), squared.data());
}

void nearest(array<const float> queries, array<const float> points, array<float> squared, array<int32_t> index) {
  check_points(queries);
  check_points(points);
  check_output(squared, queries.shape(0));
  check_output(index, queries.shape(0));
  expect(index.shape(1) == squared.shape(1), "outputs must have the same shape");
  nb::gil_scoped_release release;
  knn::nearest(queries.data(), int64_t(queries.shape(0)), points.data(), int64_t(points.shape(0)),
               int(squared.shape(1)), squared.data(), index.data());
}

}  // namespace

void bind_knn(nb::module_& m) {
  m.attr("max_neighbours") = knn::kMaxNeighbours;
  m.def("nearest_others", &nearest_others, nb::arg("points").noconvert(), nb::arg("squared").noconvert());
  m.def("nearest", &nearest, nb::arg("queries").noconvert(), nb::arg("points").noconvert(),
        nb::arg("squared").noconvert(), nb::arg("index").noconvert());
}
