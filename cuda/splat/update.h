// Backward of the projection fused with Adam: gradients of the parameters live only in registers and on the stack.
// Rows that were not drawn keep their parameters and moments. Adam: Kingma and Ba, ICLR 2015, arXiv 1412.6980.
#pragma once

#include <cstring>

#include "core/ahead.h"
#include "project.h"

namespace recon {

// Rows [row, row + count) x width, contiguous; `row_bits` says which of them move. g is [count][width]. Asks for the same
// numbers of as many rows behind them: the next call comes after the arithmetic of their gradients.
template <class P>
inline void adam_block(const adam_rows& t, int64_t row, int count, uint32_t row_bits, const float* g,
                       const adam_constants& c) {
  constexpr int L = traits<P>::lanes;
  const int total = count * t.width;
  const int64_t base = row * t.width;
  const bool every_row = row_bits == (1u << count) - 1;
  uint32_t bits[48 * L / 32 + 2] = {};
  if (!every_row)  // spread row bits to element bits
    for (int i = 0; i < count; ++i)
      if (row_bits >> i & 1)
        for (int j = i * t.width; j < (i + 1) * t.width; ++j) bits[j >> 5] |= 1u << (j & 31);
  const P b1{c.beta1}, b2{c.beta2}, one_b1{1 - c.beta1}, one_b2{1 - c.beta2}, eps{c.eps}, root{c.inverse_root};
  const P rate{-t.rate * c.rate_scale};
  for (int j = 0; j < total; j += L) {
    const int n = total - j < L ? total - j : L;
    const uint32_t moved =
        every_row ? ~0u : uint32_t((uint64_t(bits[j >> 5]) | uint64_t(bits[(j >> 5) + 1]) << 32) >> (j & 31));
    if (!every_row && (moved & ((1u << L) - 1)) == 0) continue;
    const auto mask = from_bits<P>(moved);
    float *pp = t.param + base + j, *pm = t.m + base + j, *pv = t.v + base + j;
    for (const float* p : {pp, pm, pv}) __builtin_prefetch(p + total, 1);
    const P x = load_part<P>(pp, n), m = load_part<P>(pm, n), v = load_part<P>(pv, n), grad = load_part<P>(g + j, n);
    const P new_m = fma(b1, m, one_b1 * grad), new_v = fma(b2, v, one_b2 * (grad * grad));
    const P new_x = fma(rate, new_m * rcp(fma(sqrt(new_v), root, eps)), x);
    store_part<P>(pp, select(mask, new_x, x), n);
    store_part<P>(pm, select(mask, new_m, m), n);
    store_part<P>(pv, select(mask, new_v, v), n);
  }
}

// Rows of a pack that were drawn, and those of them whose gradient is finite, as bits.
struct moved_rows {
  uint32_t visible, usable;
};

// Gradient of `count` rows from `i` on, with that of regularizers (extra_*, or null).
template <class P>
moved_rows pull_back_pack(const gaussian_rows<float>& in, int64_t i, int count, const view<float>& cam,
                          const float* records, const float* g_records, const float* extra_log_scale,
                          const float* extra_logit, gaussian_gradient<P>& g) {
  gaussian<P> G;
  project_pack_backward(in, i, count, cam, records, g_records, G, g);
  if (extra_log_scale) {
    P extra[3];
    load_rows<P>(extra_log_scale + 3 * i, 3, count, 3, extra);
    for (int j = 0; j < 3; ++j) g.geometry.log_scale[j] = g.geometry.log_scale[j] + extra[j];
  }
  if (extra_logit) g.geometry.logit = g.geometry.logit + load_part<P>(extra_logit + i, count);
  P size = abs(g.geometry.logit);
  for (int j = 0; j < 3; ++j) size = size + abs(g.geometry.mean[j]) + abs(g.geometry.log_scale[j]);
  for (int j = 0; j < 4; ++j) size = size + abs(g.geometry.quaternion[j]);
  for (int j = 0; j < 3 * sh_count(cam.degree); ++j) size = size + abs(g.sh[j]);
  P radius;
  load_rows<P>(records + i * kRecord + kRadius, kRecord, count, 1, &radius);
  const uint32_t inside = count == 32 ? ~0u : (1u << count) - 1;
  const uint32_t visible = to_bits(radius > P{0.0f}) & inside;
  return {visible, to_bits(size < P{1e18f}) & visible};
}

// tensors: mean, log_scale, quaternion, logit, sh0, sh_rest. extra_* are further gradients (regularizers) or null.
// Returns how many visible rows were left alone because their gradient was not finite.
template <class P>
int64_t update_rows(const adam_rows* tensors, int64_t rows, const view<float>& cam, const float* records,
                    const float* g_records, const float* extra_log_scale, const float* extra_logit,
                    const adam_constants& constants) {
  constexpr int L = traits<P>::lanes;
  const gaussian_rows<float> in{tensors[0].param, tensors[1].param, tensors[2].param,    tensors[3].param,
                                tensors[4].param, tensors[5].param, tensors[5].width / 3};
  constexpr int64_t kGrain = 1024;
  std::vector<int64_t> refused((rows + kGrain - 1) / kGrain, 0);
  parallel_ranges(rows, kGrain, [&](int64_t from, int64_t to) {
    for (int64_t i = from; i < to; i += L) {
      const int count = int(to - i < L ? to - i : L);
      if (!any_visible<P>(records, i, count)) continue;
      gaussian_gradient<P> g;
      const moved_rows moved =
          pull_back_pack<P>(in, i, count, cam, records, g_records, extra_log_scale, extra_logit, g);
      const int used = sh_count(cam.degree);
      const uint32_t usable = moved.usable;
      refused[from / kGrain] += __builtin_popcount(moved.visible ^ usable);
      if (!usable) continue;
      ask_for_rows<false>(records, i + L, L, kRecord), ask_for_rows<false>(g_records, i + L, L, kRecord);
      alignas(64) float block[48 * L];
      const auto step = [&](int tensor, const P* gradient, int columns) {
        const adam_rows& t = tensors[tensor];
        if (t.width == 0) return;
        if (columns < t.width) std::memset(block, 0, sizeof(float) * count * t.width);
        store_rows<P>(block, t.width, count, columns, gradient);
        adam_block<P>(t, i, count, usable, block, constants);
      };
      step(0, g.geometry.mean, 3);
      step(1, g.geometry.log_scale, 3);
      step(2, g.geometry.quaternion, 4);
      step(3, &g.geometry.logit, 1);
      step(4, g.sh, 3);
      if (used > 1) step(5, g.sh + 3, 3 * (used - 1));
    }
  });
  int64_t total = 0;
  for (int64_t r : refused) total += r;
  return total;
}

}  // namespace recon
