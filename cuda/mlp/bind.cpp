// Python's view of small networks; shapes are checked with better words in recon/ops/mlp.py.
#include <nanobind/stl/vector.h>

#include "core/arrays.h"
#include "mlp/check.h"
#include "mlp/mlp_cpu.h"

namespace {

using namespace recon;

template <class S>
mlp::network<S> network_of(const std::vector<int>& sizes, const array<const S>& parameters, const array<const S>& x,
                           bool squash, const array<const S>& shared, const array<const int32_t>& row) {
  mlp::check_network(sizes, parameters, x, shared, row);
  const int own = int(x.shape(1)), more = sizes[0] - own;
  if (more)
    for (size_t i = 0; i < row.size(); ++i)
      expect(row.data()[i] >= 0 && size_t(row.data()[i]) < shared.size() / size_t(more), "row is out of range");
  return {sizes, parameters.data(), own, squash};
}

template <class S>
void forward(std::vector<int> sizes, array<const S> parameters, array<const S> x, array<const S> shared,
             array<const int32_t> row, bool squash, array<S> y) {
  const auto net = network_of<S>(sizes, parameters, x, squash, shared, row);
  expect(y.size() == x.shape(0) * size_t(sizes.back()), "y must be [rows, outputs]");
  nb::gil_scoped_release release;
  mlp::forward<S>(net, x.data(), shared.data(), row.data(), int64_t(x.shape(0)), y.data());
}

template <class S>
void backward(std::vector<int> sizes, array<const S> parameters, array<const S> x, array<const S> shared,
              array<const int32_t> row, bool squash, array<const S> g_y, array<S> g_x, array<S> g_parameters) {
  const auto net = network_of<S>(sizes, parameters, x, squash, shared, row);
  expect(g_x.size() == x.size(), "x and g_x must be [rows, width]");
  expect(g_y.size() == x.shape(0) * size_t(sizes.back()), "g_y is not as wide as the outputs");
  expect(g_parameters.size() == parameters.size(), "g_parameters must be as long as parameters");
  nb::gil_scoped_release release;
  mlp::backward<S>(net, x.data(), shared.data(), row.data(), int64_t(x.shape(0)), g_y.data(), g_x.data(),
                   g_parameters.data());
}

#define A(name) nb::arg(name).noconvert()
template <class S>
void bind_for(nb::module_& m) {
  m.def("mlp_forward", &forward<S>, nb::arg("sizes"), A("parameters"), A("x"), A("shared"), A("row"), nb::arg("squash"),
        A("y"));
  m.def("mlp_backward", &backward<S>, nb::arg("sizes"), A("parameters"), A("x"), A("shared"), A("row"),
        nb::arg("squash"), A("g_y"), A("g_x"), A("g_parameters"));
}

}  // namespace

void bind_mlp(nb::module_& m) {
  bind_for<float>(m);
  bind_for<double>(m);
}
#undef A
