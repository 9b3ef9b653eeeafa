// Python's view of plane sweeps; shapes are checked with better words in recon/ops/sweep.py.
#include "core/arrays.h"
#include "sweep/check.h"
#include "sweep/sweep_cpu.h"

namespace {

using namespace recon;

void sweep_planes(array<const float> grey, array<const float> start, double step, array<const float> pictures,
                  array<const int32_t> sizes, array<const float> maps, int window, double texture,
                  array<float> scores) {
  const sweep::Sweep s = sweep::check_sweep(grey, start, step, pictures, sizes, maps, window, texture, scores);
  int64_t pixels = 0;
  for (int k = 0; k < s.others; ++k) pixels += int64_t(s.sizes[2 * k]) * s.sizes[2 * k + 1];
  expect(pixels == int64_t(pictures.size()), "pictures must have as many pixels as sizes say");
  nb::gil_scoped_release release;
  sweep::correlate(s, scores.data());
}

}  // namespace

void bind_sweep(nb::module_& m) {
  using nb::arg;
  m.def("sweep_planes", &sweep_planes, arg("grey").noconvert(), arg("start").noconvert(), arg("step"),
        arg("pictures").noconvert(), arg("sizes").noconvert(), arg("maps").noconvert(), arg("window"), arg("texture"),
        arg("scores").noconvert());
}
