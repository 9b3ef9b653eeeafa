// FlexiCubes: one vertex of the dual mesh from the values, places and weights around one cube, and its derivatives.
// Shen et al., "Flexible Isosurface Extraction for Gradient-Based Mesh Optimization", SIGGRAPH 2023, arXiv 2308.05371;
// equations 2 to 6 there. Differences: crossings are written as x_a + t (x_b - x_a), so they cannot leave their edge.
#pragma once

#include <cstdint>

#include "../core/scalar.h"

namespace recon::iso {

inline constexpr int kWeights = 21;  // per cube: alpha of 8 corners, beta of 12 edges, gamma
inline constexpr double kReach = 0.4999;  // how far a grid point may move, in cells; below half, so none meet

// Where edge e of a cube starts; the same rule as in tables.h, for the GPU.
RECON_HD int corner_from(int e) {
  const int a = e >> 2;
  return (e & 1) << (a + 1) % 3 | (e >> 1 & 1) << (a + 2) % 3;
}
RECON_HD int corner_to(int e) { return corner_from(e) | 1 << (e >> 2); }

template <class F>
RECON_HD F constant(double value) {
  return F(scalar_of<F>(value));
}

// tanh without overflow for any finite argument.
template <class F>
RECON_HD F tanh(const F& a) {
  const F e = exp2(constant<F>(-2 * kLog2E) * abs(a));
  const F t = (constant<F>(1) - e) / (constant<F>(1) + e);
  return select(a < constant<F>(0), -t, t);
}

// Raw to used weights: alpha and beta in (0.01, 1.99), gamma in (0.005, 0.995).
template <class F>
RECON_HD F used_weight(const F& raw) {
  return constant<F>(1) + constant<F>(0.99) * tanh(raw);
}
template <class F>
RECON_HD F used_weight_slope(const F& used) {  // d used / d raw, from the used one
  const F t = (used - constant<F>(1)) * constant<F>(1 / 0.99);
  return constant<F>(0.99) * (constant<F>(1) - t * t);
}
template <class F>
RECON_HD F used_gamma(const F& raw) {  // 0.99 sigmoid(raw) + 0.005
  return constant<F>(0.5) + constant<F>(0.495) * tanh(constant<F>(0.5) * raw);
}
template <class F>
RECON_HD F used_gamma_slope(const F& used) {
  const F t = (used - constant<F>(0.5)) * constant<F>(1 / 0.495);
  return constant<F>(0.2475) * (constant<F>(1) - t * t);
}

template <class F>
struct cube {
  F s[8];      // values at the corners, negative inside
  F x[8][3];   // their places
  F alpha[8];  // used weights
  F beta[12];
};

// Share of the way from a to b where a straight line from value a to value b passes zero; signs differ.
template <class F>
RECON_HD F crossing(const F& a, const F& b) {
  const F d = a - b;
  const auto flat = abs(d) <= constant<F>(0);  // products that underflowed
  const F t = a / select(flat, constant<F>(1), d);
  return select(flat, constant<F>(0.5), min(max(t, constant<F>(0)), constant<F>(1)));
}
template <class F>
RECON_HD void crossing_backward(const F& a, const F& b, const F& g_t, F& g_a, F& g_b) {
  const F d = a - b;
  const auto flat = abs(d) <= constant<F>(0);
  const F r = constant<F>(1) / select(flat, constant<F>(1), d);
  const F k = select(flat, constant<F>(0), g_t * r * r);  // r twice and not d^2, which underflows sooner
  g_a = -(b * k);
  g_b = a * k;
}

// v = sum beta_e u_e / sum beta_e over the crossed edges `members`, and the deviation of L_dev: the mean over them of
// | |v - z_e| - mean |v - z_e| |, where z_e is the crossing without weights.
template <class F>
RECON_HD void dual_vertex(const cube<F>& c, unsigned members, F v[3], F& deviation) {
  F total = constant<F>(0);
  for (int k = 0; k < 3; ++k) v[k] = constant<F>(0);
  for (int e = 0; e < 12; ++e) {
    if (!(members >> e & 1)) continue;
    const int a = corner_from(e), b = corner_to(e);
    const F t = crossing(c.s[a] * c.alpha[a], c.s[b] * c.alpha[b]);
    total = total + c.beta[e];
    for (int k = 0; k < 3; ++k) v[k] = v[k] + c.beta[e] * (c.x[a][k] + t * (c.x[b][k] - c.x[a][k]));
  }
  const F scale = constant<F>(1) / total;
  for (int k = 0; k < 3; ++k) v[k] = v[k] * scale;
  F distance[12], mean = constant<F>(0);
  int count = 0;
  for (int e = 0; e < 12; ++e) {
    if (!(members >> e & 1)) continue;
    const int a = corner_from(e), b = corner_to(e);
    const F t = crossing(c.s[a], c.s[b]);
    F square = constant<F>(0);
    for (int k = 0; k < 3; ++k) {
      const F d = v[k] - (c.x[a][k] + t * (c.x[b][k] - c.x[a][k]));
      square = square + d * d;
    }
    distance[count] = sqrt(square + constant<F>(1e-30));
    mean = mean + distance[count++];
  }
  const F share = constant<F>(1.0 / count);
  mean = mean * share;
  deviation = constant<F>(0);
  for (int i = 0; i < count; ++i) deviation = deviation + abs(distance[i] - mean);
  deviation = deviation * share;
}

// Adds to g the derivatives of g_v . v + g_deviation * deviation; g holds them for the used weights.
template <class F>
RECON_HD void dual_vertex_backward(const cube<F>& c, unsigned members, const F g_v_in[3], const F& g_deviation,
                                   cube<F>& g) {
  F u[12][3], t_u[12], total = constant<F>(0), v[3], g_v[3];
  int count = 0;
  for (int k = 0; k < 3; ++k) v[k] = constant<F>(0), g_v[k] = g_v_in[k];
  for (int e = 0; e < 12; ++e) {
    if (!(members >> e & 1)) continue;
    const int a = corner_from(e), b = corner_to(e);
    t_u[e] = crossing(c.s[a] * c.alpha[a], c.s[b] * c.alpha[b]);
    total = total + c.beta[e];
    for (int k = 0; k < 3; ++k) {
      u[e][k] = c.x[a][k] + t_u[e] * (c.x[b][k] - c.x[a][k]);
      v[k] = v[k] + c.beta[e] * u[e][k];
    }
    ++count;
  }
  const F scale = constant<F>(1) / total;
  for (int k = 0; k < 3; ++k) v[k] = v[k] * scale;

  if (g_deviation < constant<F>(0) || g_deviation > constant<F>(0)) {
    F away[12][3], distance[12], t_z[12], mean = constant<F>(0);
    for (int e = 0; e < 12; ++e) {
      if (!(members >> e & 1)) continue;
      const int a = corner_from(e), b = corner_to(e);
      t_z[e] = crossing(c.s[a], c.s[b]);
      F square = constant<F>(0);
      for (int k = 0; k < 3; ++k) {
        away[e][k] = v[k] - (c.x[a][k] + t_z[e] * (c.x[b][k] - c.x[a][k]));
        square = square + away[e][k] * away[e][k];
      }
      distance[e] = sqrt(square + constant<F>(1e-30));
      mean = mean + distance[e];
    }
    const F share = constant<F>(1.0 / count), zero = constant<F>(0), one = constant<F>(1);
    mean = mean * share;
    F sign_mean = zero;
    const auto sign = [&](int e) { return select(distance[e] > mean, one, select(distance[e] < mean, -one, zero)); };
    for (int e = 0; e < 12; ++e)
      if (members >> e & 1) sign_mean = sign_mean + sign(e) * share;
    for (int e = 0; e < 12; ++e) {
      if (!(members >> e & 1)) continue;
      const int a = corner_from(e), b = corner_to(e);
      const F f = g_deviation * share * (sign(e) - sign_mean) / distance[e];
      F g_t = zero;
      for (int k = 0; k < 3; ++k) {
        const F g_d = f * away[e][k];
        g_v[k] = g_v[k] + g_d;
        g_t = g_t - g_d * (c.x[b][k] - c.x[a][k]);
        g.x[a][k] = g.x[a][k] - (one - t_z[e]) * g_d;
        g.x[b][k] = g.x[b][k] - t_z[e] * g_d;
      }
      F g_a, g_b;
      crossing_backward(c.s[a], c.s[b], g_t, g_a, g_b);
      g.s[a] = g.s[a] + g_a;
      g.s[b] = g.s[b] + g_b;
    }
  }

  for (int e = 0; e < 12; ++e) {
    if (!(members >> e & 1)) continue;
    const int a = corner_from(e), b = corner_to(e);
    F g_t = constant<F>(0), g_beta = constant<F>(0);
    for (int k = 0; k < 3; ++k) {
      g_beta = g_beta + g_v[k] * (u[e][k] - v[k]);
      const F g_u = g_v[k] * c.beta[e] * scale;
      g_t = g_t + g_u * (c.x[b][k] - c.x[a][k]);
      g.x[a][k] = g.x[a][k] + (constant<F>(1) - t_u[e]) * g_u;
      g.x[b][k] = g.x[b][k] + t_u[e] * g_u;
    }
    g.beta[e] = g.beta[e] + g_beta * scale;
    F g_a, g_b;
    crossing_backward(c.s[a] * c.alpha[a], c.s[b] * c.alpha[b], g_t, g_a, g_b);
    g.s[a] = g.s[a] + g_a * c.alpha[a];
    g.s[b] = g.s[b] + g_b * c.alpha[b];
    g.alpha[a] = g.alpha[a] + g_a * c.s[a];
    g.alpha[b] = g.alpha[b] + g_b * c.s[b];
  }
}

// Middle of a quad: between the middles of its diagonals, weighted by the products of gamma at their ends.
template <class F>
RECON_HD void quad_centre(const F v[4][3], const F gamma[4], F centre[3]) {
  const F w02 = gamma[0] * gamma[2], w13 = gamma[1] * gamma[3];
  const F scale = constant<F>(0.5) / (w02 + w13);
  for (int k = 0; k < 3; ++k) centre[k] = (w02 * (v[0][k] + v[2][k]) + w13 * (v[1][k] + v[3][k])) * scale;
}
template <class F>
RECON_HD void quad_centre_backward(const F v[4][3], const F gamma[4], const F g_centre[3], F g_v[4][3], F g_gamma[4]) {
  const F w02 = gamma[0] * gamma[2], w13 = gamma[1] * gamma[3];
  const F r = constant<F>(1) / (w02 + w13), half = constant<F>(0.5);
  F spread = constant<F>(0);  // g . (middle of diagonal 02 - middle of diagonal 13)
  for (int k = 0; k < 3; ++k) {
    spread = spread + g_centre[k] * half * (v[0][k] + v[2][k] - v[1][k] - v[3][k]);
    g_v[0][k] = g_v[2][k] = g_centre[k] * half * w02 * r;
    g_v[1][k] = g_v[3][k] = g_centre[k] * half * w13 * r;
  }
  const F g02 = spread * w13 * r * r, g13 = -spread * w02 * r * r;
  g_gamma[0] = g02 * gamma[2];
  g_gamma[2] = g02 * gamma[0];
  g_gamma[1] = g13 * gamma[3];
  g_gamma[3] = g13 * gamma[1];
}

}  // namespace recon::iso
