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

}  // namespace recon::grid
