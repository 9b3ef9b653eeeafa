// Backward of the projection fused with one local Newton step: every drawn Gaussian moves by the inverse of its own
// block of J^T W J. Rows that were not drawn keep their parameters and momentum. Source of the idea: Lan et al.,
// "3DGS^2: Near Second-order Converging 3D Gaussian Splatting", 2025, arXiv 2501.13975.
#pragma once

#include "newton_step.h"
#include "normal.h"
#include "update.h"

namespace recon {

// Moves numbers [row, row + count) x width by their own inverse curvature; g is [count][width].
template <class P>
inline void newton_colours(float* param, float* momentum, const float* inverse, int width, int64_t row, int count,
                           uint32_t row_bits, const float* g, newton_constants c, float most) {
  constexpr int L = traits<P>::lanes;
  const P limit{most};
  const int ahead = L * width;
  for (int i = 0; i < count; ++i) {
    if (!(row_bits >> i & 1)) continue;
    const int64_t base = (row + i) * width;
    for (int j = 0; j < width; j += L) {
      const int n = width - j < L ? width - j : L;
      float *px = param + base + j, *pm = momentum + base + j;
      for (const float* p : {(const float*)px, (const float*)pm, inverse + base + j}) __builtin_prefetch(p + ahead, 1);
      P x = load_part<P>(px, n), m = load_part<P>(pm, n);
      newton_colour(x, m, load_part<P>(g + i * width + j, n), load_part<P>(inverse + base + j, n), c, limit);
      store_part<P>(pm, m, n);
      store_part<P>(px, x, n);
    }
  }
}

// Returns how many drawn rows were left alone because their gradient was not finite.
template <class P>
int64_t newton_update_rows(const newton_rows& t, int64_t rows, const view<float>& cam, const float* records,
                           const float* g_records, const float* extra_log_scale, const float* extra_logit,
                           newton_constants c) {
  constexpr int L = traits<P>::lanes;
  constexpr int64_t kGrain = 1024;
  std::vector<int64_t> refused((rows + kGrain - 1) / kGrain, 0);
  parallel_ranges(rows, kGrain, [&](int64_t from, int64_t to) {
    for (int64_t i = from; i < to; i += L) {
      const int count = int(to - i < L ? to - i : L);
      if (!any_visible<P>(records, i, count)) continue;
      gaussian_gradient<P> g;
      const moved_rows moved =
          pull_back_pack<P>(t.x, i, count, cam, records, g_records, extra_log_scale, extra_logit, g);
      refused[from / kGrain] += __builtin_popcount(moved.visible ^ moved.usable);
      if (!moved.usable) continue;
      const auto mask = from_bits<P>(moved.usable);
      P x[kBlock], m[kBlock], y[kBlock], a[kTriangle];
      load_geometry<P>(t.x, i, count, x);
      load_geometry<P>(t.momentum, i, count, m);
      for (int j = 0; j < 3; ++j) y[j] = g.geometry.mean[j], y[3 + j] = g.geometry.log_scale[j];
      for (int j = 0; j < 4; ++j) y[6 + j] = g.geometry.quaternion[j];
      y[10] = g.geometry.logit;
      newton_momentum<P>(y, m, c, mask);
      load_triangle<P>(t.factors + i * kTriangle, count, a);
      newton_geometry<P>(x, y, a, c, mask);
      store_geometry<P>(t.x, i, count, x);
      store_geometry<P>(t.momentum, i, count, m);
      ask_for_rows<false>(t.factors, i + L, L, kTriangle);
      ask_for_rows<false>(records, i + L, L, kRecord), ask_for_rows<false>(g_records, i + L, L, kRecord);
      const int used = sh_count(cam.degree);
      alignas(64) float block[48 * L];
      store_rows<P>(block, 3, count, 3, g.sh);
      newton_colours<P>(t.x.sh0, t.momentum.sh0, t.inverse_sh0, 3, i, count, moved.usable, block, c, c.most);
      if (used == 1) continue;
      const int width = 3 * t.x.rest;
      if (3 * (used - 1) < width) std::memset(block, 0, sizeof(float) * count * width);
      store_rows<P>(block, width, count, 3 * (used - 1), g.sh + 3);
      newton_colours<P>(t.x.sh_rest, t.momentum.sh_rest, t.inverse_sh_rest, width, i, count, moved.usable, block, c,
                        kMostOfRest * c.most);
    }
  });
  int64_t total = 0;
  for (int64_t r : refused) total += r;
  return total;
}

}  // namespace recon
