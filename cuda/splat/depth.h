// Robust depth of a tile on lanes; see middle.h.
#pragma once

#include "composite.h"
#include "middle.h"

namespace recon {

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
  const P lo{low}, hi{high};
  for (uint32_t e = b.tile_begin[tile]; e < b.tile_begin[tile + 1] && live; ++e) {
    const int64_t row = b.row[e];
    const S* r = records + row * kRecord;
    const S* slope = slopes + row * kSlopes;
    const blob<S> one = blob_of(r);
    const blob<P> wide{P(one.mx), P(one.my), P(one.A2), P(one.B2), P(one.C2), P(one.lo)};
    const depth_plane<P> plane{P(r[kDepth]), P(slope[0]), P(slope[1]), P(slope[2])};
    for (uint64_t todo = s.reach(r) & live; todo; todo &= todo - 1) {
      const int k = __builtin_ctzll(todo);
      const P dx = s.x_of(k) - wide.mx, dy = s.y_of(k) - wide.my;
      const P T = load<P>(s.at(state::kT, k));
      const P after = T - blend_weight(wide, dx, dy, T);
      middle_sums<P> sums{load<P>(s.at(kWeight, k)), load<P>(s.at(kMean, k)), load<P>(s.at(kSquares, k))};
      add_to_middle(plane, dx, dy, T, after, lo, hi, sums);
      store(s.at(kWeight, k), sums.weight);
      store(s.at(kMean, k), sums.mean);
      store(s.at(kSquares, k), sums.squares);
      store(s.at(state::kT, k), after);
      if (!any(after > lo)) live &= ~(uint64_t(1) << k);
    }
  }
  S *weight = s.at(kWeight, 0), *mean = s.at(kMean, 0), *squares = s.at(kSquares, 0);
  for (int i = 0; i < state::pixels; ++i) finish_middle(weight[i], mean[i], squares[i]);
  s.scatter(mean, depth, b.width);
  s.scatter(squares, spread, b.width);
}

}  // namespace recon
