// CPU driver of the projection: rows of parameters <-> lanes, many Gaussians at a time.
#pragma once

#include <cstring>

#include "core/ahead.h"
#include "core/lane_rows.h"
#include "core/parallel.h"
#include "rows.h"
#include "shade.h"

namespace recon {

template <class P>
inline void load_gaussian(const gaussian_rows<scalar_of<P>>& in, int64_t row, int count, gaussian<P>& out) {
  load_rows<P>(in.mean + 3 * row, 3, count, 3, out.mean);
  load_rows<P>(in.log_scale + 3 * row, 3, count, 3, out.log_scale);
  load_rows<P>(in.quaternion + 4 * row, 4, count, 4, out.quaternion);
  out.logit = load_part<P>(in.logit + row, count);
}

// Asks for rows that are loaded after the present ones.
template <class S>
inline void ask_for_gaussians(const gaussian_rows<S>& in, int64_t row, int count) {
  ask_for_rows<false>(in.mean, row, count, 3);
  ask_for_rows<false>(in.log_scale, row, count, 3);
  ask_for_rows<false>(in.quaternion, row, count, 4);
  ask_for_rows<false>(in.logit, row, count, 1);
  ask_for_rows<false>(in.sh0, row, count, 3);
  ask_for_rows<false>(in.sh_rest, row, count, 3 * in.rest);
}

// Colour of lanes from their coefficients; `raw` is before the clamp at zero.
template <class P>
inline void shade(const gaussian_rows<scalar_of<P>>& in, int64_t row, int count, int degree, const P* Y, P raw[3]) {
  P dc[3], rest[45];
  load_rows<P>(in.sh0 + 3 * row, 3, count, 3, dc);
  const int used = sh_count(degree) - 1;
  if (used) load_rows<P>(in.sh_rest + int64_t(3) * in.rest * row, 3 * in.rest, count, 3 * used, rest);
  shade_raw(dc, rest, used + 1, Y, raw);
}

template <class P>
void project_rows_forward(const gaussian_rows<scalar_of<P>>& in, int64_t rows, const view<scalar_of<P>>& cam,
                          scalar_of<P>* records) {
  using S = scalar_of<P>;
  constexpr int L = traits<P>::lanes;
  parallel_ranges(rows, 1024, [&](int64_t from, int64_t to) {
    for (int64_t i = from; i < to; i += L) {
      const int count = int(to - i < L ? to - i : L);
      gaussian<P> G;
      projection<P> p;
      load_gaussian(in, i, count, G);
      project_geometry(G, cam, p);
      splat<P> s = project_forward(G, cam, p);
      s.r = s.g = s.b = P(S(0));
      if (any(s.radius > P(S(0)))) {
        P inverse_length, Y[16], raw[3];
        const vec3<P> d = view_direction(G.mean, cam, inverse_length);
        sh_basis(cam.degree, d.x, d.y, d.z, Y);
        shade(in, i, count, cam.degree, Y, raw);
        s.r = max(raw[0], P(S(0)));
        s.g = max(raw[1], P(S(0)));
        s.b = max(raw[2], P(S(0)));
      }
      ask_for_gaussians(in, i + L, L);
      const P columns[kRecord] = {s.mx, s.my, s.A, s.B, s.C, s.opacity, s.r, s.g, s.b, s.z, s.log2_opacity, s.radius};
      store_rows<P>(records + i * kRecord, kRecord, count, kRecord, columns);
    }
  });
}

// Gradients of one pack of visible (or partly visible) rows. sh gradients only up to the used degree.
template <class P>
struct gaussian_gradient {
  gaussian<P> geometry;
  P sh[48];  // [k][3], k = 0 is dc
};

template <class P>
inline void project_pack_backward(const gaussian_rows<scalar_of<P>>& in, int64_t i, int count,
                                  const view<scalar_of<P>>& cam, const scalar_of<P>* records,
                                  const scalar_of<P>* g_records, gaussian<P>& G, gaussian_gradient<P>& out) {
  using S = scalar_of<P>;
  projection<P> p;
  load_gaussian(in, i, count, G);
  project_geometry(G, cam, p);
  P g[kRecord], radius;
  load_rows<P>(g_records + i * kRecord, kRecord, count, 10, g);
  load_rows<P>(records + i * kRecord + kRadius, kRecord, count, 1, &radius);
  const auto visible = radius > P(S(0));
  const P zero(S(0));
  for (int j = 0; j < 10; ++j) g[j] = select(visible, g[j], zero);
  splat<P> gs;
  gs.mx = g[kMx], gs.my = g[kMy], gs.A = g[kA], gs.B = g[kB], gs.C = g[kC], gs.opacity = g[kOpacity], gs.z = g[kDepth];
  project_backward(G, cam, p, gs, out.geometry);

  P inverse_length, Y[16], g_Y[16];
  const vec3<P> d = view_direction(G.mean, cam, inverse_length);
  sh_basis(cam.degree, d.x, d.y, d.z, Y);
  const int used = sh_count(cam.degree);
  P dc[3], rest[45];
  load_rows<P>(in.sh0 + 3 * i, 3, count, 3, dc);
  if (used > 1) load_rows<P>(in.sh_rest + int64_t(3) * in.rest * i, 3 * in.rest, count, 3 * (used - 1), rest);
  P g_raw[3];
  shade_backward(dc, rest, used, Y, g + kRed, g_raw, g_Y);
  for (int k = 0; k < used; ++k)
    for (int c = 0; c < 3; ++c) out.sh[3 * k + c] = g_raw[c] * Y[k];
  if (used == 1) return;
  vec3<P> g_d{zero, zero, zero};
  sh_basis_backward(cam.degree, d.x, d.y, d.z, g_Y, g_d.x, g_d.y, g_d.z);
  view_direction_backward(d, inverse_length, g_d, out.geometry.mean);
}

template <class P>
inline bool any_visible(const scalar_of<P>* records, int64_t i, int count) {
  for (int k = 0; k < count; ++k)
    if (records[(i + k) * kRecord + kRadius] > scalar_of<P>(0)) return true;
  return false;
}

// Writes every row of `out` (zeros where a Gaussian was not drawn).
template <class P>
void project_rows_backward(const gaussian_rows<scalar_of<P>>& in, int64_t rows, const view<scalar_of<P>>& cam,
                           const scalar_of<P>* records, const scalar_of<P>* g_records,
                           const gaussian_rows<scalar_of<P>>& out) {
  using S = scalar_of<P>;
  constexpr int L = traits<P>::lanes;
  parallel_ranges(rows, 1024, [&](int64_t from, int64_t to) {
    for (int64_t i = from; i < to; i += L) {
      const int count = int(to - i < L ? to - i : L);
      const int64_t rest = int64_t(3) * in.rest;
      if (rest) std::memset(out.sh_rest + i * rest, 0, count * rest * sizeof(S));
      if (!any_visible<P>(records, i, count)) {
        std::memset(out.mean + 3 * i, 0, 3 * count * sizeof(S));
        std::memset(out.log_scale + 3 * i, 0, 3 * count * sizeof(S));
        std::memset(out.quaternion + 4 * i, 0, 4 * count * sizeof(S));
        std::memset(out.logit + i, 0, count * sizeof(S));
        std::memset(out.sh0 + 3 * i, 0, 3 * count * sizeof(S));
        continue;
      }
      gaussian<P> G;
      gaussian_gradient<P> g;
      project_pack_backward(in, i, count, cam, records, g_records, G, g);
      P radius;
      load_rows<P>(records + i * kRecord + kRadius, kRecord, count, 1, &radius);
      const auto drawn = radius > P(S(0));  // rows that are not drawn may overflow, and 0 x Inf is NaN
      const auto keep = [&](P* x, int n) {
        for (int j = 0; j < n; ++j) x[j] = select(drawn, x[j], P(S(0)));
      };
      keep(g.geometry.mean, 3), keep(g.geometry.log_scale, 3), keep(g.geometry.quaternion, 4);
      keep(&g.geometry.logit, 1), keep(g.sh, 3 * sh_count(cam.degree));
      store_rows<P>(out.mean + 3 * i, 3, count, 3, g.geometry.mean);
      store_rows<P>(out.log_scale + 3 * i, 3, count, 3, g.geometry.log_scale);
      store_rows<P>(out.quaternion + 4 * i, 4, count, 4, g.geometry.quaternion);
      store_rows<P>(out.logit + i, 1, count, 1, &g.geometry.logit);
      store_rows<P>(out.sh0 + 3 * i, 3, count, 3, g.sh);
      const int used = sh_count(cam.degree) - 1;
      if (used) store_rows<P>(out.sh_rest + i * rest, rest, count, 3 * used, g.sh + 3);
    }
  });
}

}  // namespace recon
