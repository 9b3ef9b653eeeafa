// Python binding of the CUDA driver of plane sweeps; no logic. That sizes and pictures agree is the caller's to know: it
// cannot be read without waiting for the device.
#include "core/arrays_cuda.h"
#include "sweep/check.h"
#include "sweep/sweep_cuda.h"

void bind_sweep_cuda(nanobind::module_& m) {
  using namespace recon::gpu;
  m.def(
      "sweep_planes",
      [](array<const float> grey, array<const float> start, double step, array<const float> pictures,
         array<const int32_t> sizes, array<const float> maps, int window, double texture, numbers scores,
         uintptr_t stream) {
        const auto s = recon::sweep::check_sweep(grey, start, step, pictures, sizes, maps, window, texture, scores);
        correlate(s, scores.data(), stream_of(stream));
      },
      nb::arg("grey").noconvert(), nb::arg("start").noconvert(), nb::arg("step"), nb::arg("pictures").noconvert(),
      nb::arg("sizes").noconvert(), nb::arg("maps").noconvert(), nb::arg("window"), nb::arg("texture"),
      nb::arg("scores").noconvert(), nb::arg("stream"));
}
