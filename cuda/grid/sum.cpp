// One number per point as a sum over dense grids of growing resolution, with its gradient by the point. Both are linear
// in the nodes, so that losses of the gradient (normals, eikonal) need no second derivatives.
#include <vector>

#include "core/parallel.h"
#include "grid/grid.h"
#include "grid/grid_cpu.h"

namespace recon::grid {

namespace {

constexpr int64_t kGrain = 2048;

// The cell of a point in a level: offset of its first node, and how far the point is into it.
template <class S>
struct cell {
  int64_t first;
  S t[3];
  cell(const S* u, int n) {
    int node[3];
    for (int i = 0; i < 3; ++i) place(u[i], n, node[i], t[i]);
    first = (int64_t(node[0]) * n + node[1]) * n + node[2];
  }
};

std::vector<int64_t> starts(const std::vector<int>& nodes) {
  std::vector<int64_t> at{0};
  for (int n : nodes) at.push_back(at.back() + int64_t(n) * n * n);
  return at;
}

}  // namespace

int64_t sum_size(const std::vector<int>& nodes) { return starts(nodes).back(); }

template <class S>
void sum(const S* values, const std::vector<int>& nodes, const S* u, int64_t count, S* out, S* gradient) {
  const auto start = starts(nodes);
  parallel_ranges(count, kGrain, [&](int64_t from, int64_t to) {
    for (int64_t i = from; i < to; ++i) out[i] = gradient[3 * i] = gradient[3 * i + 1] = gradient[3 * i + 2] = 0;
    for (size_t l = 0; l < nodes.size(); ++l) {
      const int n = nodes[l];
      const int64_t row = n, plane = int64_t(n) * n;
      const S spacing = S(1) / S(n - 1);
      for (int64_t i = from; i < to; ++i) {
        const cell<S> c(u + 3 * i, n);
        const S* v = values + start[l] + c.first;
        const S x = c.t[0], y = c.t[1], z = c.t[2];
        // along z, then y, then x; and the differences along each
        const S a0 = v[0] + z * (v[1] - v[0]), a1 = v[row] + z * (v[row + 1] - v[row]);
        const S b0 = v[plane] + z * (v[plane + 1] - v[plane]);
        const S b1 = v[plane + row] + z * (v[plane + row + 1] - v[plane + row]);
        const S a = a0 + y * (a1 - a0), b = b0 + y * (b1 - b0);
        out[i] += spacing * (a + x * (b - a));
        gradient[3 * i] += b - a;
        gradient[3 * i + 1] += (1 - x) * (a1 - a0) + x * (b1 - b0);
        gradient[3 * i + 2] += (1 - x) * ((1 - y) * (v[1] - v[0]) + y * (v[row + 1] - v[row])) +
                               x * ((1 - y) * (v[plane + 1] - v[plane]) + y * (v[plane + row + 1] - v[plane + row]));
      }
    }
  });
}

template <class S>
void sum_backward(const std::vector<int>& nodes, const S* u, int64_t count, const S* g_out, const S* g_gradient,
                  S* g_values) {
  const auto start = starts(nodes);
  parallel_for(int64_t(nodes.size()), [&](int64_t l) {
    const int n = nodes[l];
    const int64_t row = n, plane = int64_t(n) * n;
    const S spacing = S(1) / S(n - 1);
    for (int64_t i = 0; i < count; ++i) {
      const cell<S> c(u + 3 * i, n);
      S* g = g_values + start[l] + c.first;
      const S x = c.t[0], y = c.t[1], z = c.t[2];
      const S gv = spacing * g_out[i], gx = g_gradient[3 * i], gy = g_gradient[3 * i + 1], gz = g_gradient[3 * i + 2];
      // d out / d (value at x-side s) and so on, by the chain above
      const S on_a = (1 - x) * gv - gx, on_b = x * gv + gx;
      const S on_a0 = (1 - y) * on_a - (1 - x) * gy, on_a1 = y * on_a + (1 - x) * gy;
      const S on_b0 = (1 - y) * on_b - x * gy, on_b1 = y * on_b + x * gy;
      g[0] += (1 - z) * on_a0 - (1 - x) * (1 - y) * gz;
      g[1] += z * on_a0 + (1 - x) * (1 - y) * gz;
      g[row] += (1 - z) * on_a1 - (1 - x) * y * gz;
      g[row + 1] += z * on_a1 + (1 - x) * y * gz;
      g[plane] += (1 - z) * on_b0 - x * (1 - y) * gz;
      g[plane + 1] += z * on_b0 + x * (1 - y) * gz;
      g[plane + row] += (1 - z) * on_b1 - x * y * gz;
      g[plane + row + 1] += z * on_b1 + x * y * gz;
    }
  });
}

#define RECON_INSTANTIATE(S)                                                          \
  template void sum<S>(const S*, const std::vector<int>&, const S*, int64_t, S*, S*); \
  template void sum_backward<S>(const std::vector<int>&, const S*, int64_t, const S*, const S*, S*);
RECON_INSTANTIATE(float)
RECON_INSTANTIATE(double)
#undef RECON_INSTANTIATE

}  // namespace recon::grid
