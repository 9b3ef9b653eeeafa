// Volume rendering along a ray: where samples lie, how raw density becomes opacity, and blending with its backward.
//
// Sun, Sun, Chen, "Direct voxel grid optimization", CVPR 2022, arXiv 2111.11215: post-activated density
// alpha = 1 - exp(-softplus(raw + shift) delta), contraction x/|x| (1 + L - L/|x|) outside the inner box (maximum norm).
// Distortion: Barron et al., "Mip-NeRF 360", CVPR 2022, arXiv 2111.12077, eq. (15), here by prefix sums.
#pragma once

#include <cstdint>

#include "core/scalar.h"

namespace recon::march {

// The region that a field covers: an inner box lo..hi, and a shell of width `margin` (in half sides of the box) that
// everything outside is contracted into; margin 0 = nothing outside. Unit coordinates are 0..1 over both.
template <class F>
struct domain {
  F lo[3], hi[3], margin;
};

// World -> unit coordinates; returns max |q| of the normalised position q (the inner box is |q| <= 1).
template <class F>
RECON_HD F unit_from_world(const domain<F>& d, const F* x, F* u) {
  F q[3], far = F(0);
  for (int i = 0; i < 3; ++i) {
    q[i] = (x[i] - F(0.5) * (d.hi[i] + d.lo[i])) / (F(0.5) * (d.hi[i] - d.lo[i]));
    far = max(far, max(q[i], -q[i]));
  }
  const mask_of<F> outside = (far > F(1)) & (d.margin > F(0));
  const F scale = select(outside, (F(1) + d.margin - d.margin / far) / far, F(1));
  for (int i = 0; i < 3; ++i) u[i] = F(0.5) + F(0.5) * q[i] * scale / (F(1) + d.margin);
  return far;
}

struct occupancy {
  const uint8_t* cells;  // 0 = occupied, else distance to the nearest occupied cell, in cells (maximum norm)
  int size[3];
};

// The cell that holds a unit position; outside of 0..1 the nearest.
RECON_HD int cell_of(const occupancy& grid, float x, float y, float z) {
  const int i = int(x * float(grid.size[0])), j = int(y * float(grid.size[1])), k = int(z * float(grid.size[2]));
  const auto held = [](int c, int n) {
    const int most = c < n - 1 ? c : n - 1;
    return most > 0 ? most : 0;
  };
  return (held(i, grid.size[0]) * grid.size[1] + held(j, grid.size[1])) * grid.size[2] + held(k, grid.size[2]);
}

// Where a ray may have samples: t from `first` to before `end`; `reach`: the distance along the ray that crosses a cell.
struct span {
  float first, end, reach;
};
RECON_HD span span_of(const float* o, const float* d, float offset, const domain<float>& box, const occupancy& grid,
                      float near, float far, float step) {
  span s{near, far, 1e30f};
  for (int i = 0; i < 3; ++i) {
    const float extent = box.hi[i] - box.lo[i];
    s.reach = min(s.reach, extent * (1 + box.margin) / (float(grid.size[i]) * max(abs(d[i]), 1e-9f)));
    if (box.margin > 0) continue;
    const float inverse = 1.0f / (abs(d[i]) < 1e-12f ? 1e-12f : d[i]);
    const float a = (box.lo[i] - o[i]) * inverse, b = (box.hi[i] - o[i]) * inverse;
    s.first = max(s.first, min(a, b));
    s.end = min(s.end, max(a, b));
  }
  s.first += offset * step;
  return s;
}
// Steps of length h that an empty cell allows, `away` cells from an occupied one.
RECON_HD float steps_over(int away, float reach, float h) { return max(1.0f, ::floorf(float(away - 1) * reach / h)); }

// A ray where nothing lies outside of the box: samples k = 0, 1, .. at equal steps, unit positions linear in t.
struct line {
  float first, step, at[3], slope[3];
  int count;  // no more samples than that
  int per_cell;  // steps that cross a cell, in 256ths, rounded down
  RECON_HD line(const float* o, const float* d, const span& s, const domain<float>& box, float h)
      : first(s.first), step(h) {
    for (int i = 0; i < 3; ++i) {
      slope[i] = d[i] / (box.hi[i] - box.lo[i]);
      at[i] = (o[i] - box.lo[i]) / (box.hi[i] - box.lo[i]);
    }
    count = s.end > s.first ? int(min((s.end - s.first) / h, 1e9f)) + 2 : 0;
    per_cell = int(min(s.reach / h * 256.0f, 4e6f));
  }
  // Steps that an empty cell allows, `away` cells from an occupied one; in whole numbers, because the next look at a cell
  // waits for it.
  RECON_HD int steps_over(int away) const {
    const int steps = ((away - 1) * per_cell) >> 8;
    return steps > 1 ? steps : 1;
  }
  RECON_HD float t(int k) const { return first + float(k) * step; }
  RECON_HD float unit(int i, float t) const { return at[i] + t * slope[i]; }
};
template <class F>
RECON_HD F held_inside(const F& u) {
  return max(F(0), min(u, F(1)));
}

// Calls body(t, unit position) for the samples of one ray: `step` apart in occupied cells, the first moved by `offset`
// in 0..1. Outside the inner box of a contracted domain steps grow with the distance from its centre.
template <class Body>
RECON_HD void walk(const float* o, const float* d, float offset, const domain<float>& box, const occupancy& grid,
                   float near, float far, float step, const Body& body) {
  const span s = span_of(o, d, offset, box, grid, near, far, step);
  if (!(box.margin > 0)) {
    const line ray(o, d, s, box, step);
    for (int k = 0; k < ray.count;) {
      const float t = ray.t(k), u[3] = {ray.unit(0, t), ray.unit(1, t), ray.unit(2, t)};
      if (!(t < s.end)) break;
      const int away = grid.cells[cell_of(grid, u[0], u[1], u[2])];
      if (away == 0) {
        const float inside[3] = {held_inside(u[0]), held_inside(u[1]), held_inside(u[2])};
        body(t, inside);
      }
      k += ray.steps_over(away);
    }
    return;
  }
  for (float t = s.first; t < s.end;) {
    const float x[3] = {o[0] + t * d[0], o[1] + t * d[1], o[2] + t * d[2]};
    float u[3];
    const float h = step * max(unit_from_world(box, x, u), 1.0f);
    const int away = grid.cells[cell_of(grid, u[0], u[1], u[2])];
    if (away == 0) {
      for (int i = 0; i < 3; ++i) u[i] = held_inside(u[i]);
      body(t, u);
    }
    t += h * steps_over(away, s.reach, h);
  }
}

// Where a distance from the camera lies for the distortion term: linear up to 1, then inverse, in 0..2.
template <class F>
RECON_HD F bent(const F& t) {
  return select(t < F(1), t, F(2) - F(1) / t);
}

// Width of a sample in the distortion's distances: the smaller gap to its neighbours on its ray; a gap that is missing
// (first, last) must be 0 and does not count.
template <class F>
RECON_HD F width_between(const F& before, const F& after, mask_of<F> first, mask_of<F> last) {
  return recon::min(select(first, after, before), select(last, before, after));
}
// The same among samples [from, to) of a ray.
template <class S>
RECON_HD S width(const S* t, int64_t i, int64_t from, int64_t to) {
  const S here = bent(t[i]);
  const S before = i > from ? here - bent(t[i - 1]) : S(0), after = i + 1 < to ? bent(t[i + 1]) - here : S(0);
  return width_between(before, after, i == from, i + 1 == to);
}

// Below this the series of log(1 + x) and 1 - exp(-x) are better than the functions.
template <class S>
inline constexpr double kSmall = sizeof(S) == 4 ? 2e-2 : 1e-4;

// softplus, and its derivative, from e = exp(x) up to 20: beyond both are their limits to the last bit of a float.
template <class F>
RECON_HD F raised(const F& x) {
  return exp(min(x, F(scalar_of<F>(20))));
}
template <class F>
RECON_HD F softplus(const F& x, const F& e, F& slope) {
  using S = scalar_of<F>;
  slope = e / (F(S(1)) + e);
  // log(1 + e) loses everything where e is small; e - e^2 / 2 + e^3 / 3 is exact to rounding there.
  const F series = e * (F(S(1)) - e * (F(S(0.5)) - e * F(S(1.0 / 3.0))));
  const F direct = log(F(S(1)) + e);
  return select(x > F(S(20)), x, select(e < F(S(kSmall<S>)), series, direct));
}
template <class F>
RECON_HD F softplus(const F& x, F& slope) {
  return softplus(x, raised(x), slope);
}

// What comes through an optical depth tau, exp(-tau), and opacity 1 - exp(-tau) without cancellation for small ones.
template <class F>
RECON_HD F passed(const F& tau) {
  return exp(-min(tau, F(scalar_of<F>(80))));
}
template <class F>
RECON_HD F opacity_of(const F& tau, const F& through) {
  using S = scalar_of<F>;
  const F series = tau * (F(S(1)) - tau * (F(S(0.5)) - tau * F(S(1.0 / 6.0))));
  return select(tau < F(S(kSmall<S>)), series, F(S(1)) - through);
}
template <class F>
RECON_HD F opacity(const F& tau, F& through) {
  through = passed(tau);
  return opacity_of(tau, through);
}

// Sums over one ray, front to back.
template <class F>
struct ray_sums {
  F rgb[3] = {F(0), F(0), F(0)}, depth = F(0), T = F(1);
  F weight = F(0), weighted = F(0), distortion = F(0);  // of samples before; sum of w s
};

template <class F>
RECON_HD F blend(ray_sums<F>& r, const F& alpha, const F& through, const F* rgb, const F& t, const F& s, const F& ds) {
  const F w = r.T * alpha;
  if (rgb)
    for (int c = 0; c < 3; ++c) r.rgb[c] = r.rgb[c] + w * rgb[c];
  r.depth = r.depth + w * t;
  r.distortion = r.distortion + F(2) * w * (s * r.weight - r.weighted) + w * w * ds * F(1.0 / 3.0);
  r.weight = r.weight + w;
  r.weighted = r.weighted + w * s;
  r.T = r.T * through;
  return w;
}

// dL/d tau of a sample from g_w = dL/dw, the transmittance behind it, and `rest` = sum over later samples of w g_w plus
// what the end of the ray adds, T_end dL/dT_end: w_i = T_i - T_{i+1}, and every later term falls as exp(-tau_i).
template <class F>
RECON_HD F blend_backward(const F& g_w, const F& T_behind, const F& rest) {
  return T_behind * g_w - rest;
}
// dL/dw of the distortion, from the sums before and after the sample.
template <class F>
RECON_HD F distortion_backward(const F& w, const F& s, const F& ds, const F& before, const F& s_before, const F& after,
                               const F& s_after) {
  return F(2) * (s * (before - after) - (s_before - s_after)) + F(2.0 / 3.0) * w * ds;
}

}  // namespace recon::march
