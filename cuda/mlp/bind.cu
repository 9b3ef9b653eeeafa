// Python binding of the CUDA drivers of small networks: the arguments of the CPU kernels, then scratch memory and the
// stream; no logic. That `row` is in range is the caller's to know: it cannot be read without waiting for the device.
#include <nanobind/stl/vector.h>

#include "core/arrays_cuda.h"
#include "mlp/check.h"
#include "mlp/mlp_cuda.h"

namespace recon::gpu {
namespace {

using constants = array<const float>;
using indices = array<const int32_t>;

network network_of(const std::vector<int>& sizes, const constants& parameters, const constants& x,
                   const constants& shared, const indices& row, bool squash) {
  mlp::check_network(sizes, parameters, x, shared, row);
  return {sizes.data(), int(sizes.size()) - 1, parameters.data(), int(x.shape(1)), squash};
}

}  // namespace
}  // namespace recon::gpu

#define A(name) nb::arg(name).noconvert()
void bind_mlp_cuda(nanobind::module_& m) {
  using namespace recon::gpu;
  m.def("mlp_forward_scratch", [](std::vector<int> sizes, int64_t count) {
    return mlp_forward_scratch(sizes.data(), int(sizes.size()) - 1, count);
  });
  m.def("mlp_backward_scratch", [](std::vector<int> sizes, int64_t count) {
    return mlp_backward_scratch(sizes.data(), int(sizes.size()) - 1, count);
  });
  m.def(
      "mlp_forward",
      [](std::vector<int> sizes, constants parameters, constants x, constants shared, indices row, bool squash,
         numbers y, numbers scratch, uintptr_t stream) {
        const network net = network_of(sizes, parameters, x, shared, row, squash);
        const int64_t n = int64_t(x.shape(0));
        recon::expect(int64_t(y.size()) == n * sizes.back() &&
                          int64_t(scratch.size()) >= mlp_forward_scratch(sizes.data(), net.layers, n),
                      "y must be [rows, outputs], and enough scratch memory");
        mlp_forward(net, x.data(), shared.data(), row.data(), n, y.data(), scratch.data(), stream_of(stream));
      },
      nb::arg("sizes"), A("parameters"), A("x"), A("shared"), A("row"), nb::arg("squash"), A("y"), A("scratch"),
      nb::arg("stream"));
  m.def(
      "mlp_backward",
      [](std::vector<int> sizes, constants parameters, constants x, constants shared, indices row, bool squash,
         constants g_y, numbers g_x, numbers g_parameters, numbers scratch, uintptr_t stream) {
        const network net = network_of(sizes, parameters, x, shared, row, squash);
        const int64_t n = int64_t(x.shape(0));
        recon::expect(int64_t(g_y.size()) == n * sizes.back() && g_x.size() == x.size() &&
                          g_parameters.size() == parameters.size() &&
                          int64_t(scratch.size()) >= mlp_backward_scratch(sizes.data(), net.layers, n),
                      "gradients must have the shapes of the forward pass, and enough scratch memory");
        mlp_backward(net, x.data(), shared.data(), row.data(), n, g_y.data(), g_x.data(), g_parameters.data(),
                     scratch.data(), stream_of(stream));
      },
      nb::arg("sizes"), A("parameters"), A("x"), A("shared"), A("row"), nb::arg("squash"), A("g_y"), A("g_x"),
      A("g_parameters"), A("scratch"), nb::arg("stream"));
}
#undef A
