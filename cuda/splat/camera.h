// How a picture changes as its camera turns and moves: six directions in one pass over rows.
//
// A camera that moves is a scene that moves the other way. When it turns about its own centre, no Gaussian is seen from
// another side, so colours stand still.
#pragma once

#include "normal.h"

namespace recon {

inline constexpr int kTwist = 6;  // turns about the camera's x, y, z in radians, then moves along them

// Derivative of a Gaussian along direction k.
template <class F>
RECON_HD void camera_direction(const gaussian<F>& G, const view<scalar_of<F>>& cam, int k, gaussian<F>& t) {
  using S = scalar_of<F>;
  const F zero(S(0));
  const S* axis = cam.rotation + 3 * (k % 3);  // of the camera, in the world
  for (int j = 0; j < 3; ++j) t.log_scale[j] = zero, t.mean[j] = F(-axis[j]);
  for (int j = 0; j < 4; ++j) t.quaternion[j] = zero;
  t.logit = zero;
  if (k >= 3) return;
  F from[3];
  for (int j = 0; j < 3; ++j) from[j] = G.mean[j] - F(cam.centre[j]);
  for (int j = 0; j < 3; ++j) {
    const int l = (j + 1) % 3, m = (j + 2) % 3;
    t.mean[j] = F(axis[m]) * from[l] - F(axis[l]) * from[m];
  }
  const F a{S(-0.5) * axis[0]}, b{S(-0.5) * axis[1]}, c{S(-0.5) * axis[2]};
  const F *q = G.quaternion, &w = q[0], &x = q[1], &y = q[2], &z = q[3];
  t.quaternion[0] = zero - a * x - b * y - c * z;
  t.quaternion[1] = a * w + b * z - c * y;
  t.quaternion[2] = b * w + c * x - a * z;
  t.quaternion[3] = c * w + a * y - b * x;
}

// tangents [6][rows][12] of the records; zero for rows that are not drawn.
template <class P>
void project_rows_camera(const gaussian_rows<scalar_of<P>>& in, int64_t rows, const view<scalar_of<P>>& cam,
                         const scalar_of<P>* records, scalar_of<P>* tangents) {
  using S = scalar_of<P>;
  constexpr int L = traits<P>::lanes;
  view<S> turning = cam;
  turning.degree = 0;
  parallel_ranges(rows, 2048, [&](int64_t from, int64_t to) {
    for (int64_t i = from; i < to; i += L) {
      const int count = int(to - i < L ? to - i : L);
      if (!any_visible<P>(records, i, count)) {
        for (int k = 0; k < kTwist; ++k)
          std::memset(tangents + (k * rows + i) * kRecord, 0, sizeof(S) * kRecord * count);
        continue;
      }
      gaussian<P> G;
      load_gaussian(in, i, count, G);
      const int used = sh_count(cam.degree) - 1;
      const P zero(S(0));
      P dc[3], rest[45], radius, still[45];
      load_rows<P>(in.sh0 + 3 * i, 3, count, 3, dc);
      if (used) load_rows<P>(in.sh_rest + int64_t(3) * in.rest * i, 3 * in.rest, count, 3 * used, rest);
      load_rows<P>(records + i * kRecord + kRadius, kRecord, count, 1, &radius);
      for (auto& x : still) x = zero;
      for (int k = 0; k < kTwist; ++k) {
        gaussian<P> t;
        camera_direction(G, cam, k, t);
        P columns[kRecord];
        record_tangent(G, t, k < 3 ? turning : cam, k < 3 ? 0 : used, dc, still, rest, still, columns);
        for (int j = 0; j < kRecord; ++j) columns[j] = select(radius > zero, columns[j], zero);
        store_rows<P>(tangents + (k * rows + i) * kRecord, kRecord, count, kRecord, columns);
      }
    }
  });
}

}  // namespace recon
