// CPU rows and tiles of the products with the Jacobian of a picture: J v, J^T W J v and diag(J^T W J); see jacobian.h.
#pragma once

#include "blocks.h"
#include "composite.h"
#include "jacobian.h"
#include "project.h"

namespace recon {

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
      const int used = sh_count(cam.degree) - 1;
      P dc[3], rest[45], t_dc[3], t_rest[45];
      load_rows<P>(in.sh0 + 3 * i, 3, count, 3, dc);
      load_rows<P>(v.sh0 + 3 * i, 3, count, 3, t_dc);
      if (used) load_rows<P>(in.sh_rest + int64_t(3) * in.rest * i, 3 * in.rest, count, 3 * used, rest);
      if (used) load_rows<P>(v.sh_rest + int64_t(3) * in.rest * i, 3 * in.rest, count, 3 * used, t_rest);
      const P zero(S(0));
      P columns[kRecord];
      record_tangent(G, t, cam, used, dc, t_dc, rest, t_rest, columns);
      P radius;
      load_rows<P>(records + i * kRecord + kRadius, kRecord, count, 1, &radius);
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

inline constexpr int kDiagonalSlot = 24;

// Moments per row -> adds diag(J^T W J) to `out`. Of the means, the part through the direction of view is left out.
// Where `blocks` [rows][66] is given, the whole block of each Gaussian's geometry is added to it (see blocks.h).
template <class P>
void project_rows_diagonal(const gaussian_rows<scalar_of<P>>& in, int64_t rows, const view<scalar_of<P>>& cam,
                           const scalar_of<P>* records, const scalar_of<P>* moments,
                           const gaussian_rows<scalar_of<P>>& out, scalar_of<P>* blocks) {
  using S = scalar_of<P>;
  constexpr int L = traits<P>::lanes;
  parallel_ranges(rows, 2048, [&](int64_t from, int64_t to) {
    for (int64_t i = from; i < to; i += L) {
      const int count = int(to - i < L ? to - i : L);
      if (!any_visible<P>(records, i, count)) continue;
      const P zero(S(0));
      gaussian<P> G;
      load_gaussian(in, i, count, G);
      P record[kRecord], m[kDiagonalSums];
      load_rows<P>(records + i * kRecord, kRecord, count, kRecord, record);
      load_rows<P>(moments + i * kDiagonalSums, kDiagonalSums, count, kDiagonalSums, m);
      const auto drawn = record[kRadius] > zero;
      P k[kTheta][kShape], moved[kTheta][kShape], diagonal[kTheta];
      exponent_jacobian(G, cam, record, k);
      for (int t = 0; t < kTheta; ++t) {
        times_moments(m, k[t], moved[t]);
        diagonal[t] = select(drawn, max(shape_product(k[t], moved[t]), zero), zero);
      }
      if (blocks) {
        P block[kTriangle];
        for (int t = 0, at = 0; t < kTheta; ++t) {
          for (int u = 0; u < t; ++u, ++at) {
            block[at] = select(drawn, shape_product(k[u], moved[t]), zero);
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

// ---------------------------------------------------------------- blocks

template <class P>
inline void load_triangle(const scalar_of<P>* base, int count, P* out) {
  for (int c = 0; c < kTriangle; c += 33) load_rows<P>(base + c, kTriangle, count, 33, out + c);
}

// The 11 numbers of each of `count` rows from `row` on.
template <class P>
inline void load_geometry(const gaussian_rows<scalar_of<P>>& in, int64_t row, int count, P* x) {
  load_rows<P>(in.mean + 3 * row, 3, count, 3, x);
  load_rows<P>(in.log_scale + 3 * row, 3, count, 3, x + 3);
  load_rows<P>(in.quaternion + 4 * row, 4, count, 4, x + 6);
  load_rows<P>(in.logit + row, 1, count, 1, x + 10);
}

template <class P>
inline void store_geometry(const gaussian_rows<scalar_of<P>>& out, int64_t row, int count, const P* x) {
  store_rows<P>(out.mean + 3 * row, 3, count, 3, x);
  store_rows<P>(out.log_scale + 3 * row, 3, count, 3, x + 3);
  store_rows<P>(out.quaternion + 4 * row, 4, count, 4, x + 6);
  store_rows<P>(out.logit + row, 1, count, 1, x + 10);
}

// blocks [rows][66] plus a diagonal `added` -> factors, in place.
template <class P>
void factor_rows(const gaussian_rows<scalar_of<P>>& added, int64_t rows, scalar_of<P>* blocks) {
  constexpr int L = traits<P>::lanes;
  parallel_ranges(rows, 2048, [&](int64_t from, int64_t to) {
    for (int64_t i = from; i < to; i += L) {
      const int count = int(to - i < L ? to - i : L);
      P a[kTriangle], x[kBlock];
      load_triangle<P>(blocks + i * kTriangle, count, a);
      load_geometry<P>(added, i, count, x);
      for (int t = 0; t < kBlock; ++t) a[t * (t + 1) / 2 + t] = a[t * (t + 1) / 2 + t] + x[t];
      block_factor(a);
      for (int c = 0; c < kTriangle; c += 33) store_rows<P>(blocks + i * kTriangle + c, kTriangle, count, 33, a + c);
    }
  });
}

// Geometry of `x`, in place, through the factors.
template <class P>
void solve_rows(const scalar_of<P>* factors, int64_t rows, const gaussian_rows<scalar_of<P>>& x) {
  constexpr int L = traits<P>::lanes;
  parallel_ranges(rows, 2048, [&](int64_t from, int64_t to) {
    for (int64_t i = from; i < to; i += L) {
      const int count = int(to - i < L ? to - i : L);
      P a[kTriangle], y[kBlock];
      load_triangle<P>(factors + i * kTriangle, count, a);
      load_geometry<P>(x, i, count, y);
      block_solve(a, y);
      store_geometry<P>(x, i, count, y);
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
    const P colour[3] = {P(r[kRed]), P(r[kGreen]), P(r[kBlue])}, change[3] = {P(t[kRed]), P(t[kGreen]), P(t[kBlue])};
    while (todo) {
      const int at = __builtin_ctzll(todo);
      todo &= todo - 1;
      const P dx = s.x_of(at) - wide.mx, dy = s.y_of(at) - wide.my;
      P T = load<P>(s.at(state::kT, at)), Tdot = load<P>(s.at(kTdot, at)), u[3];
      for (int c = 0; c < 3; ++c) u[c] = load<P>(s.at(state::kChannel + c, at));
      blend_tangent(wide, dx, dy, k, colour, change, T, Tdot, u);
      for (int c = 0; c < 3; ++c) store(s.at(state::kChannel + c, at), u[c]);
      store(s.at(state::kT, at), T);
      store(s.at(kTdot, at), Tdot);
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
    const P zero{S(0)};
    const P colour[3] = {P(r[kRed]), P(r[kGreen]), P(r[kBlue])};
    P sum[kDiagonalSums];
    for (auto& x : sum) x = zero;
    while (todo) {
      const int k = __builtin_ctzll(todo);
      todo &= todo - 1;
      const P dx = s.x_of(k) - wide.mx, dy = s.y_of(k) - wide.my;
      P T = load<P>(s.at(state::kT, k)), W[3], R[3], of[kMoments];
      for (int c = 0; c < 3; ++c) W[c] = load<P>(s.at(kWeight + c, k)), R[c] = load<P>(s.at(kStill + c, k));
      moments_of(blend_energy(wide, dx, dy, colour, W, T, R, sum + kMoments), dx, dy, of);
      for (int c = 0; c < 3; ++c) store(s.at(kStill + c, k), R[c]);
      store(s.at(state::kT, k), T);
      for (int i = 0; i < kMoments; ++i) sum[i] = sum[i] + of[i];
    }
    sum_lanes<12>(sum, out);
    sum_lanes<kDiagonalSums - 12>(sum + 12, out + 12);
  }
}

// Adds up the instances of each Gaussian in fixed order: moments [rows][18], zero at first.
template <class S>
void gather_moments(const bins& b, const S* slots, S* moments) {
  parallel_ranges(int64_t(b.slot_begin.size()) - 1, 4096, [&](int64_t from, int64_t to) {
    for (int64_t i = from; i < to; ++i) {
      S* sum = moments + i * kDiagonalSums;
      for (uint32_t k = b.slot_begin[i]; k < b.slot_begin[i + 1]; ++k)
        for (int j = 0; j < kDiagonalSums; ++j) sum[j] += slots[int64_t(k) * kDiagonalSlot + j];
    }
  });
}

}  // namespace recon
