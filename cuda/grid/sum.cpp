// CPU driver of sums over grids: forward over ranges of points, backward level by level, each walking its points in order.
#include <vector>

#include "core/parallel.h"
#include "grid/grid_cpu.h"
#include "grid/sum.h"

namespace recon::grid {

namespace {

constexpr int64_t kGrain = 2048;

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
      for (int64_t i = from; i < to; ++i) {
        const cell<S> c(u + 3 * i, n);
        blend_cell(values + start[l] + c.first, n, c.t, out[i], gradient + 3 * i);
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
    for (int64_t i = 0; i < count; ++i) {
      const cell<S> c(u + 3 * i, n);
      S parts[8];
      blend_cell_backward(n, c.t, g_out[i], g_gradient + 3 * i, parts);
      for (int k = 0; k < 8; ++k) g_values[start[l] + c.first + cell_node(k, n)] += parts[k];
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
