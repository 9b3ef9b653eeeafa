// Products with the Jacobian of a picture, for second-order optimizers: J v, J^T W J v and diag(J^T W J).
//
// With log(alpha) = k0 + k1 dx + k2 dy + k3 dx^2 + k4 dx dy + k5 dy^2 around the centre of a Gaussian, everything about
// its shape is six numbers k. So J v needs only their derivatives per (tile, Gaussian), and the diagonal of J^T W J,
// squares of the full chain, splits too: with s = sum_c W_c (dC_c/dlog alpha)^2 it is a quadratic form in dk/dtheta
// whose matrix holds the 15 moments of s up to fourth order. 3DGS-LM (Höllein et al., ICCV 2025, arXiv 2409.12892)
// back-propagates every pair to all parameters there, and caches pairs; here they are recomputed in registers.
#pragma once

#include "core/dual.h"
#include "record.h"
#include "splat.h"

namespace recon {

inline constexpr int kMoments = 15, kDiagonalSums = kMoments + 3;
inline constexpr int kShape = 6, kTheta = 11;  // numbers of a shape on the screen; mean, log_scale, quaternion, logit

// d(record) along a direction -> d(k), the derivative of the six coefficients of log(alpha).
template <class F>
RECON_HD void exponent_tangent(const F& A, const F& B, const F& C, const F& opacity, const F* t, F* k) {
  using S = scalar_of<F>;
  k[0] = t[kOpacity] / opacity;
  k[1] = A * t[kMx] + B * t[kMy];
  k[2] = B * t[kMx] + C * t[kMy];
  k[3] = F(S(-0.5)) * t[kA];
  k[4] = -t[kB];
  k[5] = F(S(-0.5)) * t[kC];
}

// Derivative of a record along t, t_dc and t_rest; `used` coefficients beyond the first, three numbers each.
template <class F>
RECON_HD void record_tangent(const gaussian<F>& G, const gaussian<F>& t, const view<scalar_of<F>>& cam, int used,
                             const F* dc, const F* t_dc, const F* rest, const F* t_rest, F* columns) {
  using S = scalar_of<F>;
  using D = dual<F>;
  gaussian<D> dG;
  for (int j = 0; j < 3; ++j) dG.mean[j] = D(G.mean[j], t.mean[j]);
  for (int j = 0; j < 3; ++j) dG.log_scale[j] = D(G.log_scale[j], t.log_scale[j]);
  for (int j = 0; j < 4; ++j) dG.quaternion[j] = D(G.quaternion[j], t.quaternion[j]);
  dG.logit = D(G.logit, t.logit);
  projection<D> p;
  project_geometry(dG, cam, p);
  const splat<D> s = project_forward(dG, cam, p);
  D inverse_length, Y[16];
  const vec3<D> d = view_direction(dG.mean, cam, inverse_length);
  sh_basis(cam.degree, d.x, d.y, d.z, Y);
  const F zero(S(0));
  F colour[3];
  for (int c = 0; c < 3; ++c) {
    F raw = fma(dc[c], Y[0].v, F(S(0.5))), along = t_dc[c] * Y[0].v;
    for (int k = 0; k < used; ++k) {
      raw = fma(rest[3 * k + c], Y[k + 1].v, raw);
      along = fma(rest[3 * k + c], Y[k + 1].d, fma(t_rest[3 * k + c], Y[k + 1].v, along));
    }
    colour[c] = select(raw > zero, along, zero);
  }
  const F all[kRecord] = {s.mx.d,    s.my.d,    s.A.d,     s.B.d, s.C.d, s.opacity.d,
                          colour[0], colour[1], colour[2], s.z.d, zero,  zero};
  for (int j = 0; j < kRecord; ++j) columns[j] = all[j];
}

// d(k)/d(theta) of a drawn Gaussian with these record columns.
template <class F>
RECON_HD void exponent_jacobian(const gaussian<F>& G, const view<scalar_of<F>>& cam, const F* record,
                                F (&k)[kTheta][kShape]) {
  using S = scalar_of<F>;
  const F zero(S(0)), one(S(1));
  projection<F> p;
  project_geometry(G, cam, p);
  F by[kShape][kTheta];  // d(record column)/d(theta)
  for (int j = 0; j < kShape; ++j) {
    splat<F> unit;
    unit.mx = unit.my = unit.A = unit.B = unit.C = unit.opacity = unit.z = zero;
    F* const columns[kShape] = {&unit.mx, &unit.my, &unit.A, &unit.B, &unit.C, &unit.opacity};
    *columns[j] = one;
    gaussian<F> g;
    project_backward(G, cam, p, unit, g);
    for (int t = 0; t < 3; ++t) by[j][t] = g.mean[t], by[j][3 + t] = g.log_scale[t];
    for (int t = 0; t < 4; ++t) by[j][6 + t] = g.quaternion[t];
    by[j][10] = g.logit;
  }
  for (int t = 0; t < kTheta; ++t) {
    F along[kShape];
    for (int j = 0; j < kShape; ++j) along[j] = by[j][t];
    exponent_tangent(record[kA], record[kB], record[kC], record[kOpacity], along, k[t]);
  }
}

// One row of d(k)/d(theta) times the matrix of the moments.
template <class F>
RECON_HD void times_moments(const F* m, const F* k, F* moved) {
  constexpr int power_x[kShape] = {0, 1, 0, 2, 1, 0}, power_y[kShape] = {0, 0, 1, 0, 1, 2};
  for (int a = 0; a < kShape; ++a) {
    moved[a] = F(scalar_of<F>(0));
    for (int b = 0; b < kShape; ++b) {
      const int x = power_x[a] + power_x[b], y = power_y[a] + power_y[b];
      moved[a] = fma(m[(x + y) * (x + y + 1) / 2 + y], k[b], moved[a]);
    }
  }
}
template <class F>
RECON_HD F shape_product(const F* k, const F* moved) {
  F sum = F(scalar_of<F>(0));
  for (int a = 0; a < kShape; ++a) sum = fma(k[a], moved[a], sum);
  return sum;
}

// s dx^i dy^j up to fourth order: s, then s dx, s dy, s dx^2, s dx dy, s dy^2, ... : each order from the one before.
template <class F>
RECON_HD void moments_of(const F& s, const F& dx, const F& dy, F* of) {
  of[0] = s;
  for (int order = 1, at = 1; order <= 4; at += ++order) {
    const F* before = of + at - order;
    for (int i = 0; i < order; ++i) of[at + i] = before[i] * dx;
    of[at + order] = before[order - 1] * dy;
  }
}

// One step of J v at a pixel, front to back: k, change: derivatives of the exponent and the colour. Moves the transmittance
// and its derivative on, adds to the picture's.
template <class F>
RECON_HD void blend_tangent(const blob<F>& b, const F& dx, const F& dy, const F* k, const F* colour, const F* change,
                            F& T, F& T_change, F* u) {
  const F zero(scalar_of<F>(0)), limit{scalar_of<F>(kAlphaMax)};
  F raw;
  const auto counts = blob_alpha(b, dx, dy, T, raw);
  const F alpha = select(counts, min(raw, limit), zero), weight = alpha * T;
  const F log_change = fma(dx, fma(k[3], dx, fma(k[4], dy, k[1])), fma(dy, fma(k[5], dy, k[2]), k[0]));
  const F alpha_change = select(counts & (raw <= limit), alpha * log_change, zero);
  const F weight_change = fma(alpha_change, T, alpha * T_change);
  for (int c = 0; c < 3; ++c) u[c] = fma(weight_change, colour[c], fma(weight, change[c], u[c]));
  T = T - weight;
  T_change = T_change - weight_change;
}

// One step of the walk for the diagonal: returns s, adds W_c weight^2 to `squares`. Moves the transmittance on, and
// still[c], what is to come of channel c.
template <class F>
RECON_HD F blend_energy(const blob<F>& b, const F& dx, const F& dy, const F* colour, const F* W, F& T, F* still,
                        F* squares) {
  const F zero(scalar_of<F>(0)), one(scalar_of<F>(1)), limit{scalar_of<F>(kAlphaMax)};
  F raw;
  const auto counts = blob_alpha(b, dx, dy, T, raw);
  const F alpha = select(counts, min(raw, limit), zero), weight = alpha * T, share = rcp(one - alpha);
  F energy = zero;
  for (int c = 0; c < 3; ++c) {
    still[c] = still[c] - weight * colour[c];
    const F by_log = alpha * (T * colour[c] - still[c] * share);
    energy = fma(W[c] * by_log, by_log, energy);
    squares[c] = fma(W[c] * weight, weight, squares[c]);
  }
  T = T - weight;
  return select(counts & (raw <= limit), energy, zero);
}

}  // namespace recon
