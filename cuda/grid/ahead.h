// Points that are looked up together: where they lie is computed for a group of them before the group before is read, so
// that memory has been asked for the nodes by the time they are needed.
#pragma once

#include <cstdint>
#include <utility>

#include "core/ahead.h"
#include "grid/grid.h"

namespace recon::grid {

inline constexpr int kGroup = 16;

// The cells around a group of points, coordinate by coordinate, so that the compiler uses lanes.
template <class S>
struct cells {
  int node[3][kGroup];
  S next[3][kGroup];
  // Points order[0 .. count) of u, or the first `count` where there is no order; size: of node counts along each axis.
  void find(const S* u, const int32_t* order, int count, const int* size) {
    S at[3][kGroup];
    if (!order && count == kGroup) {
      for (int j = 0; j < kGroup; ++j)
        for (int i = 0; i < 3; ++i) at[i][j] = u[3 * j + i];
    } else {
      for (int j = 0; j < kGroup; ++j) {
        const int from = j < count ? j : count - 1;
        const S* p = u + 3 * int64_t(order ? order[from] : from);
        for (int i = 0; i < 3; ++i) at[i][j] = p[i];
      }
    }
    for (int i = 0; i < 3; ++i)
      for (int j = 0; j < kGroup; ++j) place(at[i][j], size[i], node[i][j], next[i][j]);
  }
  // How far each of the eight nodes counts (bit i of its number: the next one along axis i).
  void weights(S (*out)[kGroup]) const {
    for (int k = 0; k < 8; ++k)
      for (int j = 0; j < kGroup; ++j) {
        S w = 1;
        for (int i = 0; i < 3; ++i) w *= k >> i & 1 ? next[i][j] : S(1) - next[i][j];
        out[k][j] = w;
      }
  }
};

// Calls prepare(state, first, count) for groups of [from, to), and use(state, first, count) one group later.
template <class State, class Prepare, class Use>
void one_ahead(int64_t from, int64_t to, const Prepare& prepare, const Use& use) {
  State states[2];
  State *now = &states[0], *then = &states[1];
  const auto count_at = [&](int64_t i) { return int(to - i < kGroup ? to - i : kGroup); };
  if (from < to) prepare(*now, from, count_at(from));
  for (int64_t i = from; i < to; i += kGroup) {
    if (i + kGroup < to) prepare(*then, i + kGroup, count_at(i + kGroup));
    use(*now, i, count_at(i));
    std::swap(now, then);
  }
}

}  // namespace recon::grid
