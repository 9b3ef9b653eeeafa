// Python binding of the CUDA driver of Adam; no logic.
#include "adam/adam_cuda.h"
#include "core/arrays_cuda.h"

void bind_adam_cuda(nanobind::module_& m) {
  using namespace recon::gpu;
  m.def(
      "adam",
      [](numbers param, numbers grad, numbers moment, numbers v, double rate, numbers row_rates, int64_t step,
         double beta1, double beta2, double eps, bytes active, bytes chosen, ids skipped, uintptr_t stream) {
        expect(param.ndim() >= 1 && grad.size() == param.size() && moment.size() == param.size() &&
                   v.size() == param.size() && step >= 1,
               "grad, m and v must have the shape of their parameter; step counts from 1");
        const int64_t rows = int64_t(param.shape(0)), width = rows ? int64_t(param.size()) / rows : 0;
        expect((row_rates.size() == 0 || int64_t(row_rates.size()) == rows) &&
                   (active.size() == 0 || int64_t(active.size()) == rows) && int64_t(chosen.size()) == rows &&
                   skipped.size() == 1,
               "rates and rows must be [rows]");
        adam({param.data(), grad.data(), moment.data(), v.data(), rows, width, rate,
              row_rates.size() ? row_rates.data() : nullptr},
             {beta1, beta2, eps, step}, active.size() ? active.data() : nullptr, chosen.data(), skipped.data(),
             stream_of(stream));
      },
      nb::arg("param").noconvert(), nb::arg("grad").noconvert(), nb::arg("m").noconvert(), nb::arg("v").noconvert(),
      nb::arg("rate"), nb::arg("row_rates").noconvert(), nb::arg("step"), nb::arg("beta1"), nb::arg("beta2"),
      nb::arg("eps"), nb::arg("active").noconvert(), nb::arg("chosen").noconvert(), nb::arg("skipped").noconvert(),
      nb::arg("stream"));
  m.def(
      "adam_touched",
      [](numbers param, numbers grad, numbers moment, numbers v, double rate, int64_t step, double beta1, double beta2,
         double eps, uintptr_t stream) {
        expect(grad.size() == param.size() && moment.size() == param.size() && v.size() == param.size() && step >= 1,
               "grad, m and v must have the shape of their parameter; step counts from 1");
        adam_touched(param.data(), grad.data(), moment.data(), v.data(), int64_t(param.size()), rate,
                     {beta1, beta2, eps, step}, stream_of(stream));
      },
      nb::arg("param").noconvert(), nb::arg("grad").noconvert(), nb::arg("m").noconvert(), nb::arg("v").noconvert(),
      nb::arg("rate"), nb::arg("step"), nb::arg("beta1"), nb::arg("beta2"), nb::arg("eps"), nb::arg("stream"));
}
