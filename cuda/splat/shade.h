// Colour of a Gaussian from its spherical harmonics: 0.5 + sum of coefficient x basis, cut at zero.
#pragma once

#include "splat.h"

namespace recon {

RECON_HD int sh_count(int degree) { return (degree + 1) * (degree + 1); }

// dc[3], rest[used - 1][3], Y[used] -> colour before the cut.
template <class F>
RECON_HD void shade_raw(const F* dc, const F* rest, int used, const F* Y, F* raw) {
  for (int c = 0; c < 3; ++c) raw[c] = fma(dc[c], Y[0], F(scalar_of<F>(0.5)));
  for (int k = 1; k < used; ++k)
    for (int c = 0; c < 3; ++c) raw[c] = fma(rest[3 * (k - 1) + c], Y[k], raw[c]);
}

// g_colour[3] -> g_raw[3] (0 where the colour was cut) and g_Y[1..used); the gradient of coefficient k is g_raw Y[k].
template <class F>
RECON_HD void shade_backward(const F* dc, const F* rest, int used, const F* Y, const F* g_colour, F* g_raw, F* g_Y) {
  const F zero(scalar_of<F>(0));
  F raw[3];
  shade_raw(dc, rest, used, Y, raw);
  for (int c = 0; c < 3; ++c) g_raw[c] = select(raw[c] > zero, g_colour[c], zero);
  for (int k = 1; k < used; ++k)
    g_Y[k] = fma(g_raw[0], rest[3 * k - 3], fma(g_raw[1], rest[3 * k - 2], g_raw[2] * rest[3 * k - 1]));
}

}  // namespace recon
