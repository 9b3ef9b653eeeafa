// Structural similarity of one pixel from its window moments, and its derivative.
// Wang, Bovik, Sheikh, Simoncelli, "Image quality assessment: from error visibility to structural similarity",
// IEEE TIP 2004, eq. (13), with K1 = 0.01, K2 = 0.03 and values in [0, 1].
// The two variances enter only as a sum, so four moments suffice instead of five.
#pragma once

#include "core/scalar.h"

namespace recon::ssim {

inline constexpr int kRadius = 5;
inline constexpr int kTaps = 2 * kRadius + 1;
// Gaussian, standard deviation 1.5, eleven taps that sum to one; tap i of the outer half up to the centre.
RECON_HD constexpr double window_tap(int i) {
  constexpr double taps[kRadius + 1] = {0.00102838008447911, 0.007598758135239185, 0.03600077212843083,
                                        0.10936068950970002, 0.2130055377112537,   0.26601172486179436};
  return taps[i];
}
inline constexpr double kC1 = 1e-4;
inline constexpr double kC2 = 9e-4;

// Means over the window of x, y, x^2 + y^2 and x y; x is the image that is optimised, y the target.
template <class F>
struct Moments {
  F mean_x, mean_y, square, product;
};

// dS/d(moment); the derivative by mean_y is not needed because the target is constant.
template <class F>
struct Derivative {
  F mean_x, square, product;
};

// S = l c with l = (2 mu_x mu_y + C1) / (mu_x^2 + mu_y^2 + C1), c = (2 cov + C2) / (var_x + var_y + C2).
template <class F>
struct Factors {
  F luminance, contrast, inverse_luminance, inverse_contrast;  // l, c and the reciprocals of their denominators
};

template <class F>
RECON_HD Factors<F> factors(const Moments<F>& m) {
  using S = scalar_of<F>;
  const F one{S(1)}, two{S(2)}, c1{S(kC1)}, c2{S(kC2)};
  const F mean_product = m.mean_x * m.mean_y;
  const F mean_square = fma(m.mean_x, m.mean_x, m.mean_y * m.mean_y);
  // Two divisions rather than one of the product: the product would overflow for values far outside [0, 1].
  const F inverse_luminance = one / (mean_square + c1);
  const F inverse_contrast = one / ((m.square - mean_square) + c2);
  return {fma(two, mean_product, c1) * inverse_luminance, fma(two, m.product - mean_product, c2) * inverse_contrast,
          inverse_luminance, inverse_contrast};
}

template <class F>
RECON_HD F similarity(const Factors<F>& f) {
  return f.luminance * f.contrast;
}

template <class F>
RECON_HD Derivative<F> derivative(const Moments<F>& m, const Factors<F>& f) {
  using S = scalar_of<F>;
  const F two{S(2)};
  const F g_luminance = (m.mean_y - m.mean_x * f.luminance) * f.inverse_luminance * f.contrast;
  const F g_contrast = (m.mean_x * f.contrast - m.mean_y) * f.inverse_contrast * f.luminance;
  return {two * (g_luminance + g_contrast), -(f.luminance * f.contrast * f.inverse_contrast),
          two * f.luminance * f.inverse_contrast};
}

// Gradient of sum_p S(p) by the pixel value x, from the window-filtered adjoints g of the three moments.
template <class F>
RECON_HD F pixel_gradient(const F& x, const F& y, const Derivative<F>& g) {
  return fma(x + x, g.square, fma(y, g.product, g.mean_x));
}

template <class F>
RECON_HD F sign(const F& d) {
  using S = scalar_of<F>;
  const F zero{S(0)}, one{S(1)};
  return select(d > zero, one, select(d < zero, -one, zero));
}

}  // namespace recon::ssim
