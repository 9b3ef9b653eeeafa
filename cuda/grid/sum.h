// One number per point as a sum over dense grids of growing resolution, with its gradient by the point. Both are linear
// in the nodes, so that losses of the gradient (normals, eikonal) need no second derivatives.
#pragma once

#include "grid/grid.h"

namespace recon::grid {

// The cell of a point in a level: offset of its first node, and how far the point is into it.
template <class S>
struct cell {
  int64_t first;
  S t[3];
  RECON_HD cell(const S* u, int n) {
    int node[3];
    for (int i = 0; i < 3; ++i) place(u[i], n, node[i], t[i]);
    first = (int64_t(node[0]) * n + node[1]) * n + node[2];
  }
};

// Where node k of a cell is from its first one: bits as in x * 4 + y * 2 + z.
RECON_HD int64_t cell_node(int k, int n) { return ((k >> 2 & 1) * int64_t(n) + (k >> 1 & 1)) * n + (k & 1); }

// Adds one level's share of value and gradient; v: the first node of the cell.
template <class S>
RECON_HD void blend_cell(const S* v, int n, const S* t, S& value, S* gradient) {
  const int64_t row = n, plane = int64_t(n) * n;
  const S x = t[0], y = t[1], z = t[2], spacing = S(1) / S(n - 1);
  // along z, then y, then x; and the differences along each
  const S a0 = v[0] + z * (v[1] - v[0]), a1 = v[row] + z * (v[row + 1] - v[row]);
  const S b0 = v[plane] + z * (v[plane + 1] - v[plane]);
  const S b1 = v[plane + row] + z * (v[plane + row + 1] - v[plane + row]);
  const S a = a0 + y * (a1 - a0), b = b0 + y * (b1 - b0);
  value += spacing * (a + x * (b - a));
  gradient[0] += b - a;
  gradient[1] += (1 - x) * (a1 - a0) + x * (b1 - b0);
  gradient[2] += (1 - x) * ((1 - y) * (v[1] - v[0]) + y * (v[row + 1] - v[row])) +
                 x * ((1 - y) * (v[plane + 1] - v[plane]) + y * (v[plane + row + 1] - v[plane + row]));
}

// The gradient by the eight nodes, in the order of cell_node.
template <class S>
RECON_HD void blend_cell_backward(int n, const S* t, const S& g_value, const S* g_gradient, S* parts) {
  const S x = t[0], y = t[1], z = t[2];
  const S gv = S(1) / S(n - 1) * g_value, gx = g_gradient[0], gy = g_gradient[1], gz = g_gradient[2];
  const S on_a = (1 - x) * gv - gx, on_b = x * gv + gx;
  const S on_a0 = (1 - y) * on_a - (1 - x) * gy, on_a1 = y * on_a + (1 - x) * gy;
  const S on_b0 = (1 - y) * on_b - x * gy, on_b1 = y * on_b + x * gy;
  parts[0] = (1 - z) * on_a0 - (1 - x) * (1 - y) * gz;
  parts[1] = z * on_a0 + (1 - x) * (1 - y) * gz;
  parts[2] = (1 - z) * on_a1 - (1 - x) * y * gz;
  parts[3] = z * on_a1 + (1 - x) * y * gz;
  parts[4] = (1 - z) * on_b0 - x * (1 - y) * gz;
  parts[5] = z * on_b0 + x * (1 - y) * gz;
  parts[6] = (1 - z) * on_b1 - x * y * gz;
  parts[7] = z * on_b1 + x * y * gz;
}

}  // namespace recon::grid
