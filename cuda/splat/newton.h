// Backward of the projection fused with one local Newton step: every drawn Gaussian moves by the inverse of its own
// block of J^T W J. Rows that were not drawn keep their parameters and momentum. Source of the idea: Lan et al.,
// "3DGS^2: Near Second-order Converging 3D Gaussian Splatting", 2025, arXiv 2501.13975.
#pragma once

#include "blocks.h"
#include "normal.h"
#include "update.h"

namespace recon {

struct newton_constants {
  float keep;  // share of the momentum that stays
  float rate;  // share of the Newton step that is taken
  // No number moves farther: log scales and the first coefficients of colours by `most`, logits by twice that, other
  // coefficients by a quarter, means by it in units of the largest standard deviation, quaternions of their length.
  float most;
};

// x, momentum: parameters. factors [rows][66]: of block_factor; inverse: of the diagonals of the colours.
struct newton_rows {
  gaussian_rows<float> x, momentum;
  const float *factors, *inverse_sh0, *inverse_sh_rest;
};

// Moves numbers [row, row + count) x width by their own inverse curvature; g is [count][width].
template <class P>
inline void newton_colours(float* param, float* momentum, const float* inverse, int width, int64_t row, int count,
                           uint32_t row_bits, const float* g, const newton_constants& c, float most) {
  constexpr int L = traits<P>::lanes;
  const P keep{c.keep}, fresh{1 - c.keep}, rate{c.rate}, limit{most};
  const int ahead = L * width;
  for (int i = 0; i < count; ++i) {
    if (!(row_bits >> i & 1)) continue;
    const int64_t base = (row + i) * width;
    for (int j = 0; j < width; j += L) {
      const int n = width - j < L ? width - j : L;
      float *px = param + base + j, *pm = momentum + base + j;
      for (const float* p : {(const float*)px, (const float*)pm, inverse + base + j}) __builtin_prefetch(p + ahead, 1);
      const P m = fma(keep, load_part<P>(pm, n), fresh * load_part<P>(g + i * width + j, n));
      const P step = rate * (m * load_part<P>(inverse + base + j, n));
      store_part<P>(pm, m, n);
      store_part<P>(px, load_part<P>(px, n) - min(max(step, -limit), limit), n);
    }
  }
}

// Returns how many drawn rows were left alone because their gradient was not finite.
template <class P>
int64_t newton_update_rows(const newton_rows& t, int64_t rows, const view<float>& cam, const float* records,
                           const float* g_records, const float* extra_log_scale, const float* extra_logit,
                           const newton_constants& c) {
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
      P x[kBlock], m[kBlock], y[kBlock], a[kTriangle], most[kBlock];
      load_geometry<P>(t.x, i, count, x);
      load_geometry<P>(t.momentum, i, count, m);
      for (int j = 0; j < 3; ++j) y[j] = g.geometry.mean[j], y[3 + j] = g.geometry.log_scale[j];
      for (int j = 0; j < 4; ++j) y[6 + j] = g.geometry.quaternion[j];
      y[10] = g.geometry.logit;
      for (int j = 0; j < kBlock; ++j) y[j] = m[j] = select(mask, fma(P{c.keep}, m[j], P{1 - c.keep} * y[j]), m[j]);
      load_triangle<P>(t.factors + i * kTriangle, count, a);
      block_solve(a, y);
      const P limit{c.most}, largest = exp(max(max(x[3], x[4]), x[5]));
      const P length = sqrt(fma(x[6], x[6], fma(x[7], x[7], fma(x[8], x[8], x[9] * x[9]))));
      for (int j = 0; j < 3; ++j) most[j] = limit * largest, most[3 + j] = limit;
      for (int j = 0; j < 4; ++j) most[6 + j] = limit * length;
      most[10] = limit + limit;
      for (int j = 0; j < kBlock; ++j) {
        const P step = min(max(P{c.rate} * y[j], -most[j]), most[j]);
        x[j] = select(mask, x[j] - step, x[j]);
      }
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
                        0.25f * c.most);
    }
  });
  int64_t total = 0;
  for (int64_t r : refused) total += r;
  return total;
}

}  // namespace recon
