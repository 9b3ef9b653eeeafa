// Points that are looked up together: where they lie is computed for a group of them before the group before is read, so
// that memory has been asked for the nodes by the time they are needed.
#pragma once

#include <cstdint>
#include <utility>

#include "core/ahead.h"
#include "core/lane_rows.h"
#include "grid/grid.h"

namespace recon::grid {

inline constexpr int kGroup = 16;

// Points order[0 .. count) of u, or the first `count` where there is no order, coordinate by coordinate. Behind them the
// last one is repeated.
template <class S>
void coordinates_of(const S* u, const int32_t* order, int count, S (*at)[kGroup]) {
  if (!order && count == kGroup) {
    using P = pack<S, kGroup>;
    P column[3];
    load_rows<P>(u, 3, kGroup, 3, column);
    for (int i = 0; i < 3; ++i) store(at[i], column[i]);
    return;
  }
  for (int j = 0; j < kGroup; ++j) {
    const int from = j < count ? j : count - 1;
    const S* p = u + 3 * int64_t(order ? order[from] : from);
    for (int i = 0; i < 3; ++i) at[i][j] = p[i];
  }
}

// The cells around a group of points, coordinate by coordinate, so that the compiler uses lanes.
template <class S>
struct cells {
  int node[3][kGroup];
  S next[3][kGroup];
  // size: of node counts along each axis; the rest as in coordinates_of.
  void find(const S* u, const int32_t* order, int count, const int* size) {
    alignas(64) S at[3][kGroup];
    coordinates_of(u, order, count, at);
    for (int i = 0; i < 3; ++i)
      for (int j = 0; j < kGroup; ++j) place(at[i][j], size[i], node[i][j], next[i][j]);
  }
};

// Goes through the groups of [from, to). find(state, first, count) computes where a group lies, `Ahead` groups before it is
// used, and ask(state, j) asks for the memory of its point j; use(state, first, count, meanwhile) reads or writes there.
// Where it calls meanwhile(j) for each of its points, a point of a later group is asked for.
template <class State, int Ahead, class Find, class Ask, class Use>
void groups_ahead(int64_t from, int64_t to, const Find& find, const Ask& ask, const Use& use) {
  State states[Ahead + 1];
  const auto count_at = [&](int64_t i) { return i < to ? int(to - i < kGroup ? to - i : kGroup) : 0; };
  for (int g = 0; g < Ahead; ++g) {
    const int64_t i = from + g * kGroup;
    if (i < to) find(states[g], i, count_at(i));
    for (int j = 0; j < count_at(i); ++j) ask(states[g], j);
  }
  int now = 0;
  for (int64_t i = from; i < to; i += kGroup) {
    State& then = states[(now + Ahead) % (Ahead + 1)];
    const int later = count_at(i + Ahead * kGroup);
    if (later) find(then, i + Ahead * kGroup, later);
    use(states[now], i, count_at(i), [&](int j) {
      if (j < later) ask(then, j);
    });
    now = (now + 1) % (Ahead + 1);
  }
}
// The same, point by point: use(state, first, j). Requests go between the points, which is better where a point has much
// memory, or all of them first.
enum class requests { between, first };
template <class State, requests When, int Ahead = 1, class Find, class Ask, class Use>
void points_ahead(int64_t from, int64_t to, const Find& find, const Ask& ask, const Use& use) {
  groups_ahead<State, Ahead>(from, to, find, ask, [&](const State& state, int64_t i, int count, const auto& meanwhile) {
    if (When == requests::first)
      for (int j = 0; j < kGroup; ++j) meanwhile(j);
    for (int j = 0; j < count; ++j) {
      if (When == requests::between) meanwhile(j);
      use(state, i, j);
    }
  });
}

// The widest packs that fill a row of C numbers, 0 = not known.
template <int C>
inline constexpr int kRowLanes = C == 0                        ? 4
                                 : C % 16 == 0 && kLanes >= 16 ? 16
                                 : C % 8 == 0 && kLanes >= 8   ? 8
                                 : C % 4 == 0                  ? 4
                                                               : 1;

// Calls body(pack, c) for all packs of a row: columns c, c + 1, ..
template <class S, int C, class Body>
void along_row(int columns, const Body& body) {
  constexpr int W = kRowLanes<C>;
  int c = 0;
  for (; c + W <= columns; c += W) body(pack<S, W>(), c);
  if constexpr (C == 0)
    for (; c < columns; ++c) body(pack<S, 1>(), c);
}

}  // namespace recon::grid
