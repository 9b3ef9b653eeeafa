// Python binding of the CUDA driver of nearest neighbours; no logic. That points are finite is the caller's to know: it
// cannot be read without waiting for the device.
#include "core/arrays_cuda.h"
#include "knn/knn_cuda.h"

namespace recon::gpu {
namespace {

void check_points(const array<const float>& points) {
  expect(points.ndim() == 2 && points.shape(1) == 3 && points.shape(0) < (size_t(1) << 31), "points must be [n, 3]");
}
template <class A>
void check_output(const A& out, size_t rows) {
  expect(out.ndim() == 2 && out.shape(0) == rows && out.shape(1) >= 1 && out.shape(1) <= size_t(kMaxNeighbours),
         "outputs must be [n, k]");
}

}  // namespace
}  // namespace recon::gpu

void bind_knn_cuda(nanobind::module_& m) {
  using namespace recon::gpu;
  m.def(
      "nearest_others",
      [](array<const float> points, numbers squared, uintptr_t stream) {
        check_points(points);
        check_output(squared, points.shape(0));
        const int64_t n = int64_t(points.shape(0));
        nearest(points.data(), n, points.data(), n, int(squared.shape(1)), true, squared.data(), nullptr,
                stream_of(stream));
      },
      nb::arg("points").noconvert(), nb::arg("squared").noconvert(), nb::arg("stream"));
  m.def(
      "nearest",
      [](array<const float> queries, array<const float> points, numbers squared, ids index, uintptr_t stream) {
        check_points(queries);
        check_points(points);
        check_output(squared, queries.shape(0));
        check_output(index, queries.shape(0));
        expect(index.shape(1) == squared.shape(1), "outputs must have the same shape");
        nearest(queries.data(), int64_t(queries.shape(0)), points.data(), int64_t(points.shape(0)),
                int(squared.shape(1)), false, squared.data(), index.data(), stream_of(stream));
      },
      nb::arg("queries").noconvert(), nb::arg("points").noconvert(), nb::arg("squared").noconvert(),
      nb::arg("index").noconvert(), nb::arg("stream"));
}
