// Which dual vertices a cube has, and which quads an edge of the grid: what the drivers of all devices share.
#pragma once

#include "iso/flexible.h"
#include "iso/tables.h"

namespace recon::iso {

using Tables = table_detail::Tables;

inline constexpr int kFlippedBit = 256;  // of a cube's kind, beside its sign pattern

// Border edges of a cube: those that fewer than four cubes share.
RECON_HD unsigned border_edges(const Grid& g, int64_t x, int64_t y, int64_t z) {
  const bool at[3][2] = {{x == 0, x == g.nx - 2}, {y == 0, y == g.ny - 2}, {z == 0, z == g.nz - 2}};
  unsigned out = 0;
  for (int e = 0; e < kEdges; ++e) {
    const int a = e >> 2;
    if (at[(a + 1) % 3][e & 1] || at[(a + 2) % 3][e >> 1 & 1]) out |= 1u << e;
  }
  return out;
}

// The fans of a cube; `room` holds those of cubes at the border.
RECON_HD const Fans& fans_of(const Tables& tables, const Grid& g, int kind, int64_t x, int64_t y, int64_t z,
                             Fans& room) {
  const bool at_border = x == 0 || y == 0 || z == 0 || x == g.nx - 2 || y == g.ny - 2 || z == g.nz - 2;
  if (!at_border) return tables.fans[kind];
  const Case& c = kind & kFlippedBit ? tables.flipped[kind & 255] : tables.plain[kind];
  return room = border_fans(c, border_edges(g, x, y, z));
}

// Whether four cubes share the edge along axis a that starts at a grid point.
RECON_HD bool shared_by_four(const Grid& g, const int64_t* at, int a) {
  const int64_t size[3] = {g.nx, g.ny, g.nz};
  const int u = (a + 1) % 3, v = (a + 2) % 3;
  return at[a] + 1 < size[a] && at[u] >= 1 && at[u] <= size[u] - 2 && at[v] >= 1 && at[v] <= size[v] - 2;
}

// Cube k of those four, counter-clockwise around the axis; returns which of its edges this is.
RECON_HD int cube_around(const int64_t* at, int a, int k, int64_t* cube) {
  const int back_u = k == 0 || k == 3, back_v = k < 2;
  for (int i = 0; i < 3; ++i) cube[i] = at[i];
  cube[(a + 1) % 3] -= back_u;
  cube[(a + 2) % 3] -= back_v;
  return 4 * a + back_u + 2 * back_v;
}

}  // namespace recon::iso
