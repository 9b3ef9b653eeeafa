// Python's view of the photometric kernel; shapes are checked with better words in recon/ops/photometric.py.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/tuple.h>

#include "core/arrays.h"
#include "core/dual.h"
#include "ssim/ssim.h"
#include "ssim/ssim_cpu.h"

namespace {

using namespace recon;
using Mask = std::optional<array<const uint8_t>>;

template <class A, class B>
bool same_shape(const A& a, const B& b) {
  if (a.ndim() != b.ndim()) return false;
  for (size_t i = 0; i < a.ndim(); ++i)
    if (a.shape(i) != b.shape(i)) return false;
  return true;
}

template <class S, class T>
std::tuple<double, double, double, int64_t> photometric(array<const S> image, array<const T> target, Mask mask,
                                                        std::optional<array<S>> gradient, std::optional<array<S>> map,
                                                        double ssim_weight) {
  expect(image.ndim() == 3 && image.size() > 0, "image must be [channels, height, width] and not empty");
  expect(image.shape(1) < (1u << 24) && image.shape(2) < (1u << 24), "image is too large");
  expect(same_shape(image, target), "target must have the shape of image");
  expect(!gradient || same_shape(image, *gradient), "gradient must have the shape of image");
  expect(!map || same_shape(image, *map), "map must have the shape of image");
  expect(!mask || (mask->ndim() == 2 && mask->shape(0) == image.shape(1) && mask->shape(1) == image.shape(2)),
         "mask must be [height, width]");
  const ssim::Pair<S, T> pair{image.data(),        target.data(),       mask ? mask->data() : nullptr,
                              int(image.shape(0)), int(image.shape(1)), int(image.shape(2))};
  S* const g = gradient ? gradient->data() : nullptr;
  S* const s = map ? map->data() : nullptr;
  nb::gil_scoped_release release;
  const ssim::Loss loss = ssim::photometric(pair, ssim_weight, g, s);
  return {loss.value, loss.l1, loss.ssim, loss.pixels};
}

template <class S, class T>
void bind_photometric(nb::module_& m) {
  m.def("photometric", &photometric<S, T>, nb::arg("image").noconvert(), nb::arg("target").noconvert(),
        nb::arg("mask").noconvert() = nb::none(), nb::arg("gradient").noconvert() = nb::none(),
        nb::arg("map").noconvert() = nb::none(), nb::arg("ssim_weight") = 0.2);
}

// For tests: S and dS/d(mean_x, square, product) of moments [n, 4], by hand and by dual numbers, each [n, 4].
void ssim_derivatives(array<const double> moments, array<double> by_hand, array<double> by_dual) {
  expect(moments.ndim() == 2 && moments.shape(1) == 4, "moments must be [n, 4]");
  expect(same_shape(moments, by_hand) && same_shape(moments, by_dual), "outputs must have the shape of moments");
  for (size_t i = 0; i < moments.shape(0); ++i) {
    const double* q = moments.data() + 4 * i;
    const ssim::Moments<double> m{q[0], q[1], q[2], q[3]};
    const auto f = ssim::factors(m);
    const auto g = ssim::derivative(m, f);
    const double hand[4] = {ssim::similarity(f), g.mean_x, g.square, g.product};
    std::copy(hand, hand + 4, by_hand.data() + 4 * i);
    const int inputs[3] = {0, 2, 3};
    for (int k = 0; k < 3; ++k) {
      dual<double> d[4];
      for (int j = 0; j < 4; ++j) d[j] = dual<double>(q[j], j == inputs[k] ? 1.0 : 0.0);
      const dual<double> s = ssim::similarity(ssim::factors(ssim::Moments<dual<double>>{d[0], d[1], d[2], d[3]}));
      by_dual.data()[4 * i] = s.v;
      by_dual.data()[4 * i + 1 + k] = s.d;
    }
  }
}

}  // namespace

void bind_ssim(nb::module_& m) {
  bind_photometric<float, uint8_t>(m);
  bind_photometric<float, float>(m);
  bind_photometric<double, double>(m);
  m.def("ssim_derivatives", &ssim_derivatives, nb::arg("moments").noconvert(), nb::arg("by_hand").noconvert(),
        nb::arg("by_dual").noconvert());
}
