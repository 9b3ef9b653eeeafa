// Python's view of the Adam kernel; shapes are checked with better words in recon/ops/adam.py.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/vector.h>

#include "adam/adam_cpu.h"
#include "core/arrays.h"

namespace {

using namespace recon;
using Floats = array<float>;

std::vector<adam::Tensor> tensors(const std::vector<Floats>& params, const std::vector<array<const float>>& grads,
                                  const std::vector<Floats>& ms, const std::vector<Floats>& vs,
                                  const std::vector<double>& rates,
                                  const std::vector<std::optional<array<const float>>>& row_rates) {
  const size_t count = params.size();
  expect(grads.size() == count && ms.size() == count && vs.size() == count && rates.size() == count &&
             row_rates.size() == count,
         "params, grads, ms, vs and rates must be lists of one length");
  std::vector<adam::Tensor> out;
  for (size_t i = 0; i < count; ++i) {
    expect(params[i].ndim() >= 1, "a parameter must be [rows, ...]");
    expect(grads[i].size() == params[i].size() && ms[i].size() == params[i].size() && vs[i].size() == params[i].size(),
           "grad, m and v must have the shape of their parameter");
    const int64_t rows = int64_t(params[i].shape(0)), width = rows ? int64_t(params[i].size()) / rows : 0;
    expect(!row_rates[i] || int64_t(row_rates[i]->size()) == rows, "a learning rate per row must be [rows]");
    out.push_back({params[i].data(), grads[i].data(), ms[i].data(), vs[i].data(), rows, width, rates[i],
                   row_rates[i] ? row_rates[i]->data() : nullptr});
  }
  return out;
}

int64_t adam_many(const std::vector<Floats>& params, const std::vector<array<const float>>& grads,
                  const std::vector<Floats>& ms, const std::vector<Floats>& vs, const std::vector<double>& rates,
                  const std::vector<std::optional<array<const float>>>& row_rates, int64_t step, double beta1,
                  double beta2, double eps, std::optional<array<const uint8_t>> mask,
                  std::optional<array<const int32_t>> ids) {
  expect(step >= 1, "step counts from 1");
  expect(!(mask && ids), "give either a mask or ids");
  const std::vector<adam::Tensor> all = tensors(params, grads, ms, vs, rates, row_rates);
  const uint8_t* active = mask ? mask->data() : nullptr;
  std::vector<uint8_t> chosen;
  if (mask || ids) {
    const int64_t rows = all.empty() ? 0 : all[0].rows;
    for (const adam::Tensor& t : all) expect(t.rows == rows, "with rows, all parameters must have as many rows");
    expect(!mask || int64_t(mask->size()) == rows, "the mask must be [rows]");
    if (ids) {  // as a mask, so that a repeated id is updated once and no order matters
      chosen.resize(size_t(rows) + 1);
      for (size_t i = 0; i < ids->size(); ++i) {
        const int32_t id = ids->data()[i];
        expect(id >= 0 && id < rows, "a row id is out of range");
        chosen[id] = 1;
      }
      active = chosen.data();
    }
  }
  nb::gil_scoped_release release;
  return adam::update_all(all, {beta1, beta2, eps, step, active});
}

void adam_touched(Floats param, Floats grad, Floats m, Floats v, double rate, int64_t step, double beta1, double beta2,
                  double eps) {
  expect(step >= 1, "step counts from 1");
  expect(grad.size() == param.size() && m.size() == param.size() && v.size() == param.size(),
         "grad, m and v must have the shape of their parameter");
  nb::gil_scoped_release release;
  adam::update_touched(param.data(), grad.data(), m.data(), v.data(), int64_t(param.size()), rate,
                       {beta1, beta2, eps, step, nullptr});
}

}  // namespace

void bind_adam(nb::module_& m) {
  m.def("adam_touched", &adam_touched, nb::arg("param").noconvert(), nb::arg("grad").noconvert(),
        nb::arg("m").noconvert(), nb::arg("v").noconvert(), nb::arg("rate"), nb::arg("step"), nb::arg("beta1") = 0.9,
        nb::arg("beta2") = 0.999, nb::arg("eps") = 1e-15);
  m.def("adam_many", &adam_many, nb::arg("params").noconvert(), nb::arg("grads").noconvert(), nb::arg("ms").noconvert(),
        nb::arg("vs").noconvert(), nb::arg("rates"), nb::arg("row_rates").noconvert(), nb::arg("step"),
        nb::arg("beta1") = 0.9, nb::arg("beta2") = 0.999, nb::arg("eps") = 1e-15,
        nb::arg("mask").noconvert() = nb::none(), nb::arg("ids").noconvert() = nb::none());
}
