// Where a point lies between the nodes of a grid, and how far each node counts. Nodes sit on the corners of the unit
// cube (align-corners), so that a refined grid keeps the values at the old nodes.
#pragma once

#include <cstdint>

#include "core/scalar.h"

namespace recon::grid {

// Between which two nodes of n a coordinate in 0..1 lies: node, and the weight of the next one. NaN counts as 0.
template <class F>
RECON_HD void place(const F& u, int n, int& node, F& next) {
  const F g = u * F(n - 1);
  const int i = g >= F(0) ? (g < F(n - 1) ? int(g) : n - 2) : 0;
  node = i < n - 2 ? i : n - 2;
  next = g >= F(0) ? (g < F(n - 1) ? g - F(node) : F(1)) : F(0);
}

// Slot of a node of a level of a multiresolution hash grid. Mueller et al., "Instant neural graphics primitives with a
// multiresolution hash encoding", SIGGRAPH 2022, arXiv 2201.05989, eq. (4); levels that fit are stored densely.
RECON_HD uint32_t slot_of(uint32_t x, uint32_t y, uint32_t z, uint32_t n, uint32_t slots, bool dense) {
  if (dense) return (x * n + y) * n + z;
  return (x ^ (y * 2654435761u) ^ (z * 805459861u)) & (slots - 1);
}

// The cell around a point: its first node along each axis, and how far the point is towards the next.
template <class S>
struct corner {
  int node[3];
  S next[3];
  RECON_HD corner(const S* u, const int* size) {
    for (int i = 0; i < 3; ++i) place(u[i], size[i], node[i], next[i]);
  }
  // Of node k of the cell's eight: bit i says whether it is the next one along axis i.
  RECON_HD S weight(int k) const {
    S w = 1;
    for (int i = 0; i < 3; ++i) w *= k >> i & 1 ? next[i] : S(1) - next[i];
    return w;
  }
};

// The number at a point from those of its cell's eight nodes, v(k); next: how far the point is along each axis.
template <class F, class Value>
RECON_HD F blend_nodes(const F* next, const Value& v) {
  const auto between = [](const F& a, const F& b, const F& f) { return fma(f, b - a, a); };
  const F a = between(v(0), v(4), next[2]), b = between(v(1), v(5), next[2]);
  const F c = between(v(2), v(6), next[2]), d = between(v(3), v(7), next[2]);
  return between(between(a, b, next[0]), between(c, d, next[0]), next[1]);
}
// What of the gradient g of that number belongs to each node: part[k].
template <class F>
RECON_HD void spread_nodes(const F& g, const F* next, F* part) {
  const auto split = [&](int k, int axis) {
    part[k + (1 << axis)] = part[k] * next[axis];
    part[k] = part[k] - part[k + (1 << axis)];
  };
  part[0] = g;
  split(0, 2);
  split(0, 1), split(4, 1);
  split(0, 0), split(2, 0), split(4, 0), split(6, 0);
}

// One mode of a vector-matrix product at one point.
template <class S>
struct mode {
  int line, a, b;
  S f, fa, fb;
  RECON_HD mode(const S* u, int n, int k) {
    place(u[k], n, line, f);
    place(u[(k + 1) % 3], n, a, fa);
    place(u[(k + 2) % 3], n, b, fb);
  }
};

// The slot of node k of the cell around a point in one level of a hash grid.
template <class S>
RECON_HD uint32_t hashed_slot(const corner<S>& at, int k, int n, int64_t slots) {
  const bool dense = int64_t(n) * n * n <= slots;
  return slot_of(uint32_t(at.node[0] + (k & 1)), uint32_t(at.node[1] + (k >> 1 & 1)),
                 uint32_t(at.node[2] + (k >> 2 & 1)), uint32_t(n), uint32_t(slots), dense);
}

}  // namespace recon::grid
