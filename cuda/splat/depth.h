// Robust depth of a tile: the mean over the part of each ray that takes the transmittance from `high` down to `low`, and
// the standard deviation over the same part. low = high would be the median of Huang et al., "2D Gaussian Splatting for
// Geometrically Accurate Radiance Fields", SIGGRAPH 2024; a share of the ray instead of one point is less noisy.
// A Gaussian's depth is not one number: it lies on a plane, over which 1/z is linear on the screen.
#pragma once

#include "composite.h"

namespace recon {

inline constexpr int kSlopes = 3;  // dz/dx, dz/dy per pixel, and the most that depth may differ from the centre's

// depth, spread [height][width]; depth 0 where the ray does not get to `high`.
template <class P>
void depth_tile(int tile, const scalar_of<P>* records, const scalar_of<P>* slopes, const bins& b, scalar_of<P> low,
                scalar_of<P> high, scalar_of<P>* depth, scalar_of<P>* spread) {
  using S = scalar_of<P>;
  using state = tile_state<P, 3>;
  enum { kWeight = state::kChannel, kMean, kSquares };
  state s;
  s.place(tile, b);
  std::memset(s.at(kWeight, 0), 0, 3 * state::pixels * sizeof(S));
  uint64_t live = ~uint64_t(0);
  const P zero{S(0)}, tiny{S(1e-20)}, limit{S(kAlphaMax)}, half{S(0.5)}, lo{low}, hi{high};
  for (uint32_t e = b.tile_begin[tile]; e < b.tile_begin[tile + 1] && live; ++e) {
    const int64_t row = b.row[e];
    const S* r = records + row * kRecord;
    const S* slope = slopes + row * kSlopes;
    const blob<S> one = blob_of(r);
    const blob<P> wide{P(one.mx), P(one.my), P(one.A2), P(one.B2), P(one.C2), P(one.lo)};
    const P centre{r[kDepth]}, sx{slope[0]}, sy{slope[1]}, most{slope[2]};
    for (uint64_t todo = s.reach(r) & live; todo; todo &= todo - 1) {
      const int k = __builtin_ctzll(todo);
      const P dx = s.lane_x + P(s.block_x[k]) - wide.mx, dy = s.lane_y + P(s.block_y[k]) - wide.my;
      const P T = load<P>(s.at(state::kT, k));
      P alpha;
      const auto counts = blob_alpha(wide, dx, dy, T, alpha);
      const P after = T - select(counts, min(alpha, limit) * T, zero);
      const P weight = max(min(T, hi) - max(after, lo), zero);
      const P step = min(max(fma(sx, dx, sy * dy), zero - most), most);
      const P z = centre / max(P(S(1)) - step / centre, half);
      const P sum = load<P>(s.at(kWeight, k)) + weight, mean = load<P>(s.at(kMean, k)), away = z - mean;
      const P moved = mean + away * (weight / max(sum, tiny));
      store(s.at(kSquares, k), fma(weight * away, z - moved, load<P>(s.at(kSquares, k))));
      store(s.at(kWeight, k), sum);
      store(s.at(kMean, k), moved);
      store(s.at(state::kT, k), after);
      if (!any(after > lo)) live &= ~(uint64_t(1) << k);
    }
  }
  S *weight = s.at(kWeight, 0), *mean = s.at(kMean, 0), *squares = s.at(kSquares, 0);
  for (int i = 0; i < state::pixels; ++i) {
    const bool seen = weight[i] > S(1e-6);
    squares[i] = seen ? std::sqrt(std::max(squares[i] / weight[i], S(0))) : S(0);
    mean[i] = seen ? mean[i] : S(0);
  }
  s.scatter(mean, depth, b.width);
  s.scatter(squares, spread, b.width);
}

}  // namespace recon
