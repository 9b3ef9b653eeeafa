// Products with the Jacobian of a picture, for second-order optimizers: J v, J^T W J v and diag(J^T W J).
//
// With log(alpha) = k0 + k1 dx + k2 dy + k3 dx^2 + k4 dx dy + k5 dy^2 around the centre of a Gaussian, everything about
// its shape is six numbers k. So J v needs only their derivatives per (tile, Gaussian), and the diagonal of J^T W J,
// squares of the full chain, splits too: with s = sum_c W_c (dC_c/dlog alpha)^2 it is a quadratic form in dk/dtheta
// whose matrix holds the 15 moments of s up to fourth order. 3DGS-LM (Höllein et al., ICCV 2025, arXiv 2409.12892)
// back-propagates every pair to all parameters there, and caches pairs; here they are recomputed in registers.
#pragma once

#include <array>

#include "blocks.h"
#include "composite.h"
#include "core/dual.h"
#include "project.h"

namespace recon {

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

// Adds `n` columns per row to memory.
template <class P>
inline void add_rows(scalar_of<P>* base, int64_t stride, int count, int columns, const P* in) {
  P sum[48];
  load_rows<P>(base, stride, count, columns, sum);
  for (int j = 0; j < columns; ++j) sum[j] = sum[j] + in[j];
  store_rows<P>(base, stride, count, columns, sum);
}

// ---------------------------------------------------------------- rows

// Derivative of the records along `v`; rows that are not drawn get zeros.
template <class P>
void project_rows_tangent(const gaussian_rows<scalar_of<P>>& in, const gaussian_rows<scalar_of<P>>& v, int64_t rows,
                          const view<scalar_of<P>>& cam, const scalar_of<P>* records, scalar_of<P>* tangents) {
  using S = scalar_of<P>;
  using D = dual<P>;
  constexpr int L = traits<P>::lanes;
  parallel_ranges(rows, 2048, [&](int64_t from, int64_t to) {
    for (int64_t i = from; i < to; i += L) {
      const int count = int(to - i < L ? to - i : L);
      if (!any_visible<P>(records, i, count)) {
        std::memset(tangents + i * kRecord, 0, sizeof(S) * kRecord * count);
        continue;
      }
      gaussian<P> G, t;
      load_gaussian(in, i, count, G);
      load_gaussian(v, i, count, t);
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
      const int used = sh_count(cam.degree) - 1;
      P dc[3], rest[45], t_dc[3], t_rest[45], colour[3];
      load_rows<P>(in.sh0 + 3 * i, 3, count, 3, dc);
      load_rows<P>(v.sh0 + 3 * i, 3, count, 3, t_dc);
      if (used) load_rows<P>(in.sh_rest + int64_t(3) * in.rest * i, 3 * in.rest, count, 3 * used, rest);
      if (used) load_rows<P>(v.sh_rest + int64_t(3) * in.rest * i, 3 * in.rest, count, 3 * used, t_rest);
      const P zero(S(0));
      for (int c = 0; c < 3; ++c) {
        P raw = fma(dc[c], Y[0].v, P(S(0.5))), along = t_dc[c] * Y[0].v;
        for (int k = 0; k < used; ++k) {
          raw = fma(rest[3 * k + c], Y[k + 1].v, raw);
          along = fma(rest[3 * k + c], Y[k + 1].d, fma(t_rest[3 * k + c], Y[k + 1].v, along));
        }
        colour[c] = select(raw > zero, along, zero);
      }
      P radius;
      load_rows<P>(records + i * kRecord + kRadius, kRecord, count, 1, &radius);
      P columns[kRecord] = {s.mx.d,    s.my.d,    s.A.d,     s.B.d, s.C.d, s.opacity.d,
                            colour[0], colour[1], colour[2], s.z.d, zero,  zero};
      for (int j = 0; j < kRecord; ++j) columns[j] = select(radius > zero, columns[j], zero);
      store_rows<P>(tangents + i * kRecord, kRecord, count, kRecord, columns);
    }
  });
}

// Like project_rows_backward, but adds to `out` and does not touch rows that are not drawn.
template <class P>
void project_rows_backward_add(const gaussian_rows<scalar_of<P>>& in, int64_t rows, const view<scalar_of<P>>& cam,
                               const scalar_of<P>* records, const scalar_of<P>* g_records,
                               const gaussian_rows<scalar_of<P>>& out) {
  using S = scalar_of<P>;
  constexpr int L = traits<P>::lanes;
  parallel_ranges(rows, 2048, [&](int64_t from, int64_t to) {
    for (int64_t i = from; i < to; i += L) {
      const int count = int(to - i < L ? to - i : L);
      if (!any_visible<P>(records, i, count)) continue;
      gaussian<P> G;
      gaussian_gradient<P> g;
      project_pack_backward(in, i, count, cam, records, g_records, G, g);
      P radius;
      load_rows<P>(records + i * kRecord + kRadius, kRecord, count, 1, &radius);
      const auto drawn = radius > P(S(0));
      const auto add = [&](S* base, int64_t stride, int columns, P* x) {
        for (int j = 0; j < columns; ++j) x[j] = select(drawn, x[j], P(S(0)));
        add_rows<P>(base, stride, count, columns, x);
      };
      add(out.mean + 3 * i, 3, 3, g.geometry.mean);
      add(out.log_scale + 3 * i, 3, 3, g.geometry.log_scale);
      add(out.quaternion + 4 * i, 4, 4, g.geometry.quaternion);
      add(out.logit + i, 1, 1, &g.geometry.logit);
      add(out.sh0 + 3 * i, 3, 3, g.sh);
      const int used = sh_count(cam.degree) - 1;
      if (used) add(out.sh_rest + int64_t(3) * out.rest * i, 3 * out.rest, 3 * used, g.sh + 3);
    }
  });
}

inline constexpr int kMoments = 15, kDiagonalSums = kMoments + 3, kDiagonalSlot = 24;

// Moments per row -> adds diag(J^T W J) to `out`. Of the means, the part through the direction of view is left out.
// Where `blocks` [rows][66] is given, the whole block of each Gaussian's geometry is added to it (see blocks.h).
template <class P>
void project_rows_diagonal(const gaussian_rows<scalar_of<P>>& in, int64_t rows, const view<scalar_of<P>>& cam,
                           const scalar_of<P>* records, const scalar_of<P>* moments,
                           const gaussian_rows<scalar_of<P>>& out, scalar_of<P>* blocks) {
  using S = scalar_of<P>;
  constexpr int L = traits<P>::lanes, kShape = 6, kTheta = kBlock;
  constexpr int power_x[kShape] = {0, 1, 0, 2, 1, 0}, power_y[kShape] = {0, 0, 1, 0, 1, 2};
  parallel_ranges(rows, 2048, [&](int64_t from, int64_t to) {
    for (int64_t i = from; i < to; i += L) {
      const int count = int(to - i < L ? to - i : L);
      if (!any_visible<P>(records, i, count)) continue;
      const P zero(S(0)), one(S(1));
      gaussian<P> G;
      projection<P> p;
      load_gaussian(in, i, count, G);
      project_geometry(G, cam, p);
      P record[kRecord], m[kDiagonalSums];
      load_rows<P>(records + i * kRecord, kRecord, count, kRecord, record);
      load_rows<P>(moments + i * kDiagonalSums, kDiagonalSums, count, kDiagonalSums, m);
      const auto drawn = record[kRadius] > zero;
      P by[kShape][kTheta];  // d(record column)/d(theta): mean, log_scale, quaternion, logit
      for (int j = 0; j < kShape; ++j) {
        splat<P> unit;
        unit.mx = unit.my = unit.A = unit.B = unit.C = unit.opacity = unit.z = zero;
        *std::array<P*, kShape>{&unit.mx, &unit.my, &unit.A, &unit.B, &unit.C, &unit.opacity}[j] = one;
        gaussian<P> g;
        project_backward(G, cam, p, unit, g);
        for (int t = 0; t < 3; ++t) by[j][t] = g.mean[t], by[j][3 + t] = g.log_scale[t];
        for (int t = 0; t < 4; ++t) by[j][6 + t] = g.quaternion[t];
        by[j][10] = g.logit;
      }
      P k[kTheta][kShape], moved[kTheta][kShape], diagonal[kTheta];
      for (int t = 0; t < kTheta; ++t) {
        P along[kShape];
        for (int j = 0; j < kShape; ++j) along[j] = by[j][t];
        exponent_tangent(record[kA], record[kB], record[kC], record[kOpacity], along, k[t]);
        for (int a = 0; a < kShape; ++a) {
          moved[t][a] = zero;
          for (int b = 0; b < kShape; ++b) {
            const int x = power_x[a] + power_x[b], y = power_y[a] + power_y[b];
            moved[t][a] = fma(m[(x + y) * (x + y + 1) / 2 + y], k[t][b], moved[t][a]);
          }
        }
        diagonal[t] = zero;
        for (int a = 0; a < kShape; ++a) diagonal[t] = fma(k[t][a], moved[t][a], diagonal[t]);
        diagonal[t] = select(drawn, max(diagonal[t], zero), zero);
      }
      if (blocks) {
        P block[kTriangle];
        for (int t = 0, at = 0; t < kTheta; ++t) {
          for (int u = 0; u < t; ++u, ++at) {
            P sum = zero;
            for (int a = 0; a < kShape; ++a) sum = fma(k[u][a], moved[t][a], sum);
            block[at] = select(drawn, sum, zero);
          }
          block[at++] = diagonal[t];
        }
        for (int c = 0; c < kTriangle; c += 33)
          add_rows<P>(blocks + i * kTriangle + c, kTriangle, count, 33, block + c);
      }
      add_rows<P>(out.mean + 3 * i, 3, count, 3, diagonal);
      add_rows<P>(out.log_scale + 3 * i, 3, count, 3, diagonal + 3);
      add_rows<P>(out.quaternion + 4 * i, 4, count, 4, diagonal + 6);
      add_rows<P>(out.logit + i, 1, count, 1, diagonal + 10);
      P inverse_length, Y[16], squares[48];
      const vec3<P> d = view_direction(G.mean, cam, inverse_length);
      sh_basis(cam.degree, d.x, d.y, d.z, Y);
      const int used = sh_count(cam.degree) - 1;
      for (int c = 0; c < 3; ++c) {
        const P weight = select(drawn & (record[kRed + c] > zero), m[kMoments + c], zero);
        for (int k = 0; k <= used; ++k) squares[3 * k + c] = Y[k] * Y[k] * weight;
      }
      add_rows<P>(out.sh0 + 3 * i, 3, count, 3, squares);
      if (used) add_rows<P>(out.sh_rest + int64_t(3) * out.rest * i, 3 * out.rest, count, 3 * used, squares + 3);
    }
  });
}

// ---------------------------------------------------------------- tiles

// J v of one tile: picture_tangent [3][height][width] along `tangents` of the records, times `weights` where given.
template <class P>
void composite_tile_tangent(int tile, const scalar_of<P>* records, const scalar_of<P>* tangents, const bins& b,
                            const scalar_of<P>* background, const scalar_of<P>* weights,
                            scalar_of<P>* picture_tangent) {
  using S = scalar_of<P>;
  using state = tile_state<P, 3>;
  const uint32_t begin = b.tile_begin[tile], stop = begin + b.used[tile];
  state s;
  s.place(tile, b);
  constexpr int kTdot = state::kRest;  // this plane holds the derivative of the transmittance
  std::memset(s.at(kTdot, 0), 0, state::pixels * sizeof(S));
  std::memset(s.at(state::kChannel, 0), 0, 3 * state::pixels * sizeof(S));
  for (uint32_t e = begin; e < stop; ++e) {
    if (e + kAhead < stop) {
      __builtin_prefetch(records + int64_t(b.row[e + kAhead]) * kRecord);
      __builtin_prefetch(tangents + int64_t(b.row[e + kAhead]) * kRecord);
    }
    uint64_t todo = b.block_mask[e];
    if (!todo) continue;
    const S* r = records + int64_t(b.row[e]) * kRecord;
    const S* t = tangents + int64_t(b.row[e]) * kRecord;
    const blob<S> one = blob_of(r);
    const blob<P> wide{P(one.mx), P(one.my), P(one.A2), P(one.B2), P(one.C2), P(one.lo)};
    S slope[6];
    exponent_tangent(r[kA], r[kB], r[kC], r[kOpacity], t, slope);
    P k[6];
    for (int i = 0; i < 6; ++i) k[i] = P(slope[i]);
    const P zero{S(0)}, limit{S(kAlphaMax)};
    const P colour[3] = {P(r[kRed]), P(r[kGreen]), P(r[kBlue])}, change[3] = {P(t[kRed]), P(t[kGreen]), P(t[kBlue])};
    while (todo) {
      const int at = __builtin_ctzll(todo);
      todo &= todo - 1;
      const P dx = s.lane_x + P(s.block_x[at]) - wide.mx, dy = s.lane_y + P(s.block_y[at]) - wide.my;
      const P T = load<P>(s.at(state::kT, at)), Tdot = load<P>(s.at(kTdot, at));
      P raw;
      const auto counts = blob_alpha(wide, dx, dy, T, raw);
      const P alpha = select(counts, min(raw, limit), zero), weight = alpha * T;
      const P log_change = fma(dx, fma(k[3], dx, fma(k[4], dy, k[1])), fma(dy, fma(k[5], dy, k[2]), k[0]));
      const P alpha_change = select(counts & (raw <= limit), alpha * log_change, zero);
      const P weight_change = fma(alpha_change, T, alpha * Tdot);
      for (int c = 0; c < 3; ++c) {
        S* u = s.at(state::kChannel + c, at);
        store(u, fma(weight_change, colour[c], fma(weight, change[c], load<P>(u))));
      }
      store(s.at(state::kT, at), T - weight);
      store(s.at(kTdot, at), Tdot - weight_change);
    }
  }
  const int64_t plane = int64_t(b.width) * b.height;
  for (int c = 0; c < 3; ++c) {
    S *u = s.at(state::kChannel + c, 0), *Tdot = s.at(kTdot, 0);
    for (int i = 0; i < state::pixels; ++i) u[i] += Tdot[i] * background[c];
    if (weights) {
      S* W = s.at(state::kT, 0);  // no longer needed
      s.gather(weights + c * plane, b.width, W);
      for (int i = 0; i < state::pixels; ++i) u[i] *= W[i];
    }
    s.scatter(u, picture_tangent + c * plane, b.width);
  }
}

// Sums over the pixels of a tile per entry: 15 moments of s and sum of W_c weight^2 for each channel.
template <class P>
void composite_tile_moments(int tile, const scalar_of<P>* records, const bins& b, const scalar_of<P>* picture,
                            const scalar_of<P>* weights, scalar_of<P>* slots) {
  using S = scalar_of<P>;
  using state = tile_state<P, 6>;  // three of what is still to come of C_c, three of W_c
  constexpr int kStill = state::kChannel, kWeight = state::kChannel + 3;
  const uint32_t begin = b.tile_begin[tile], end = b.tile_begin[tile + 1], stop = begin + b.used[tile];
  for (uint32_t e = stop; e < end; ++e)
    std::memset(slots + int64_t(b.slot[e]) * kDiagonalSlot, 0, kDiagonalSlot * sizeof(S));
  if (begin == stop) return;
  state s;
  s.place(tile, b);
  const int64_t plane = int64_t(b.width) * b.height;
  for (int c = 0; c < 3; ++c) {
    s.gather(picture + c * plane, b.width, s.at(kStill + c, 0));
    s.gather(weights + c * plane, b.width, s.at(kWeight + c, 0));
  }
  for (uint32_t e = begin; e < stop; ++e) {
    if (e + kAhead < stop) __builtin_prefetch(records + int64_t(b.row[e + kAhead]) * kRecord);
    S* out = slots + int64_t(b.slot[e]) * kDiagonalSlot;
    uint64_t todo = b.block_mask[e];
    if (!todo) {
      std::memset(out, 0, kDiagonalSlot * sizeof(S));
      continue;
    }
    const S* r = records + int64_t(b.row[e]) * kRecord;
    const blob<S> one = blob_of(r);
    const blob<P> wide{P(one.mx), P(one.my), P(one.A2), P(one.B2), P(one.C2), P(one.lo)};
    const P zero{S(0)}, one_{S(1)}, limit{S(kAlphaMax)};
    const P colour[3] = {P(r[kRed]), P(r[kGreen]), P(r[kBlue])};
    P sum[kDiagonalSums];
    for (auto& x : sum) x = zero;
    while (todo) {
      const int k = __builtin_ctzll(todo);
      todo &= todo - 1;
      const P dx = s.lane_x + P(s.block_x[k]) - wide.mx, dy = s.lane_y + P(s.block_y[k]) - wide.my;
      const P T = load<P>(s.at(state::kT, k));
      P raw;
      const auto counts = blob_alpha(wide, dx, dy, T, raw);
      const P alpha = select(counts, min(raw, limit), zero), weight = alpha * T, still = rcp(one_ - alpha);
      P energy = zero;
      for (int c = 0; c < 3; ++c) {
        const P W = load<P>(s.at(kWeight + c, k)), R = load<P>(s.at(kStill + c, k)) - weight * colour[c];
        store(s.at(kStill + c, k), R);
        const P by_log = alpha * (T * colour[c] - R * still);
        energy = fma(W * by_log, by_log, energy);
        sum[kMoments + c] = fma(W * weight, weight, sum[kMoments + c]);
      }
      store(s.at(state::kT, k), T - weight);
      // of[0] s, then s dx, s dy, s dx^2, s dx dy, s dy^2, ... : each order from the one before
      P of[kMoments];
      of[0] = select(counts & (raw <= limit), energy, zero);
      for (int order = 1, at = 1; order <= 4; at += ++order) {
        const P* before = of + at - order;
        for (int i = 0; i < order; ++i) of[at + i] = before[i] * dx;
        of[at + order] = before[order - 1] * dy;
      }
      for (int i = 0; i < kMoments; ++i) sum[i] = sum[i] + of[i];
    }
    sum_lanes<12>(sum, out);
    sum_lanes<kDiagonalSums - 12>(sum + 12, out + 12);
  }
}

// Adds up the instances of each visible Gaussian in fixed order: moments [rows][18], zero where not visible.
template <class S>
void gather_moments(const bins& b, const S* slots, S* moments) {
  parallel_ranges(int64_t(b.order.size()), 4096, [&](int64_t from, int64_t to) {
    for (int64_t i = from; i < to; ++i) {
      S* sum = moments + int64_t(b.order[i]) * kDiagonalSums;
      for (uint32_t k = b.slot_begin[i]; k < b.slot_begin[i + 1]; ++k)
        for (int j = 0; j < kDiagonalSums; ++j) sum[j] += slots[int64_t(k) * kDiagonalSlot + j];
    }
  });
}

}  // namespace recon
