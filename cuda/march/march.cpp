// CPU driver: opacities in packs over the samples of a group of rays, then a plain walk along each ray.
#include "march/march.h"

#include <algorithm>
#include <cmath>

#include "core/pack.h"
#include "core/parallel.h"
#include "march/march_cpu.h"

namespace recon::march {

namespace {

constexpr int64_t kRays = 256;  // rays that are handled together

template <class S>
struct lanes_of {
  using type = pack<S, kLanes>;
};

// alpha, exp(-tau) and d tau / d raw of samples [from, to).
template <class S>
void opacities(const S* raw, int64_t from, int64_t to, S delta, S shift, std::vector<S>& alpha, std::vector<S>& through,
               std::vector<S>* slope) {
  using P = typename lanes_of<S>::type;
  constexpr int L = kLanes;
  const int64_t n = to - from, padded = (n + L - 1) / L * L;
  alpha.resize(padded);
  through.resize(padded);
  if (slope) slope->resize(padded);
  for (int64_t i = 0; i < n; i += L) {
    S in[L];
    for (int k = 0; k < L; ++k) in[k] = raw[from + (i + k < n ? i + k : n - 1)];
    P d, e;
    const P tau = softplus(load<P>(in) + P(shift), d) * P(delta);
    store(&alpha[i], opacity(tau, e));
    store(&through[i], e);
    if (slope) store(&(*slope)[i], d * P(delta));
  }
}

// First chosen sample of every ray.
std::vector<int64_t> first_chosen(const int32_t* offsets, int64_t rays, const int32_t* index, int64_t chosen) {
  std::vector<int64_t> first(rays + 1);
  int64_t k = 0;
  for (int64_t r = 0; r <= rays; ++r) {
    while (k < chosen && index[k] < offsets[r]) ++k;
    first[r] = k;
  }
  return first;
}

}  // namespace

void distance_to_occupied(uint8_t* cells, const int* size) {
  const int64_t nx = size[0], ny = size[1], nz = size[2], count = nx * ny * nz;
  for (int64_t i = 0; i < count; ++i) cells[i] = cells[i] ? 0 : 255;
  // Two sweeps over half of the neighbours each: exact for the maximum norm.
  for (int sign = -1; sign <= 1; sign += 2)
    for (int64_t j = 0; j < count; ++j) {
      const int64_t i = sign < 0 ? j : count - 1 - j, z = i % nz, y = i / nz % ny, x = i / (nz * ny);
      int best = cells[i];
      for (int dx = -1; dx <= 1; ++dx)
        for (int dy = -1; dy <= 1; ++dy)
          for (int dz = -1; dz <= 1; ++dz) {
            const int before = dx * 9 + dy * 3 + dz;
            if (before * sign <= 0) continue;
            const int64_t a = x + dx, b = y + dy, c = z + dz;
            if (a < 0 || b < 0 || c < 0 || a >= nx || b >= ny || c >= nz) continue;
            best = std::min(best, cells[(a * ny + b) * nz + c] + 1);
          }
      cells[i] = uint8_t(std::min(best, 255));
    }
}

samples sample_rays(const float* origin, const float* direction, const float* offset, int64_t n,
                    const domain<float>& box, const occupancy& grid, float near, float far, float step) {
  const int64_t groups = (n + kRays - 1) / kRays;
  std::vector<samples> parts(groups);
  std::vector<int32_t> counts(n);
  parallel_for(groups, [&](int64_t g) {
    samples& out = parts[g];
    for (int64_t r = g * kRays; r < std::min(n, (g + 1) * kRays); ++r) {
      const size_t before = out.t.size();
      walk(origin + 3 * r, direction + 3 * r, offset[r], box, grid, near, far, step, [&](float t, const float* u) {
        out.t.push_back(t);
        out.position.insert(out.position.end(), u, u + 3);
      });
      counts[r] = int32_t(out.t.size() - before);
    }
  });
  samples all;
  all.offsets.resize(n + 1);
  for (int64_t r = 0; r < n; ++r) all.offsets[r + 1] = all.offsets[r] + counts[r];
  all.t.reserve(all.offsets[n]);
  all.position.reserve(3 * int64_t(all.offsets[n]));
  for (const samples& part : parts) {
    all.t.insert(all.t.end(), part.t.begin(), part.t.end());
    all.position.insert(all.position.end(), part.position.begin(), part.position.end());
  }
  return all;
}

template <class S>
void weights(const S* raw, const int32_t* offsets, int64_t rays, S delta, S shift, S end, S* weight) {
  parallel_ranges(rays, kRays, [&](int64_t first, int64_t last) {
    std::vector<S> alpha, through;
    const int64_t from = offsets[first];
    opacities<S>(raw, from, offsets[last], delta, shift, alpha, through, nullptr);
    for (int64_t r = first; r < last; ++r) {
      S T = 1;
      for (int64_t i = offsets[r]; i < offsets[r + 1]; ++i) {
        weight[i] = T < end ? S(0) : T * alpha[i - from];
        T *= through[i - from];
      }
    }
  });
}

template <class S>
void composite(const S* raw, const S* t, const int32_t* offsets, int64_t rays, const S* colour, const int32_t* index,
               int64_t chosen, const S* background, S delta, S shift, S* rgb, S* depth, S* T, S* distortion) {
  const auto first_of = first_chosen(offsets, rays, index, chosen);
  parallel_ranges(rays, kRays, [&](int64_t first, int64_t last) {
    std::vector<S> alpha, through;
    const int64_t from = offsets[first];
    opacities<S>(raw, from, offsets[last], delta, shift, alpha, through, nullptr);
    for (int64_t r = first; r < last; ++r) {
      ray_sums<S> sums;
      int64_t k = first_of[r];
      for (int64_t i = offsets[r]; i < offsets[r + 1]; ++i) {
        const S* c = k < chosen && index[k] == i ? colour + 3 * k++ : nullptr;
        blend(sums, alpha[i - from], through[i - from], c, t[i], bent(t[i]), width(t, i, offsets[r], offsets[r + 1]));
      }
      for (int c = 0; c < 3; ++c) rgb[3 * r + c] = sums.rgb[c] + sums.T * background[c];
      depth[r] = sums.depth;
      T[r] = sums.T;
      distortion[r] = sums.distortion;
    }
  });
}

template <class S>
void composite_backward(const S* raw, const S* t, const int32_t* offsets, int64_t rays, const S* colour,
                        const int32_t* index, int64_t chosen, const S* background, S delta, S shift, const S* g_rgb,
                        const S* g_T, const S* g_distortion, S* g_raw, S* g_colour) {
  const auto first_of = first_chosen(offsets, rays, index, chosen);
  parallel_ranges(rays, kRays, [&](int64_t first, int64_t last) {
    std::vector<S> alpha, through, slope, w, g_w, behind;
    const int64_t from = offsets[first];
    opacities<S>(raw, from, offsets[last], delta, shift, alpha, through, &slope);
    for (int64_t r = first; r < last; ++r) {
      const int64_t begin = offsets[r], count = offsets[r + 1] - begin;
      const S* g = g_rgb + 3 * r;
      w.resize(count), g_w.assign(count, S(0)), behind.resize(count);
      S T = 1, all = 0, all_s = 0;
      int64_t k = first_of[r];
      for (int64_t i = 0; i < count; ++i) {
        w[i] = T * alpha[begin + i - from];
        T *= through[begin + i - from];
        behind[i] = T;
        all += w[i];
        all_s += w[i] * bent(t[begin + i]);
        if (k < chosen && index[k] == begin + i) {
          for (int c = 0; c < 3; ++c) {
            g_w[i] += g[c] * colour[3 * k + c];
            g_colour[3 * k + c] = g[c] * w[i];
          }
          ++k;
        }
      }
      if (g_distortion[r] != 0) {
        S before = 0, s_before = 0;
        for (int64_t i = 0; i < count; ++i) {
          const S s = bent(t[begin + i]), after = all - before - w[i], s_after = all_s - s_before - w[i] * s;
          const S ds = width(t, begin + i, begin, begin + count);
          g_w[i] += g_distortion[r] * distortion_backward(w[i], s, ds, before, s_before, after, s_after);
          before += w[i];
          s_before += w[i] * s;
        }
      }
      S rest = T * (g_T[r] + g[0] * background[0] + g[1] * background[1] + g[2] * background[2]);
      for (int64_t i = count - 1; i >= 0; --i) {
        g_raw[begin + i] = blend_backward(g_w[i], behind[i], rest) * slope[begin + i - from];
        rest += w[i] * g_w[i];
      }
    }
  });
}

#define RECON_INSTANTIATE(S)                                                                                           \
  template void weights<S>(const S*, const int32_t*, int64_t, S, S, S, S*);                                            \
  template void composite<S>(const S*, const S*, const int32_t*, int64_t, const S*, const int32_t*, int64_t, const S*, \
                             S, S, S*, S*, S*, S*);                                                                    \
  template void composite_backward<S>(const S*, const S*, const int32_t*, int64_t, const S*, const int32_t*, int64_t,  \
                                      const S*, S, S, const S*, const S*, const S*, S*, S*);
RECON_INSTANTIATE(float)
RECON_INSTANTIATE(double)
#undef RECON_INSTANTIATE

}  // namespace recon::march
