// CPU driver of local tensors: forward over ranges of points, backward tensor by tensor, each walking its points in order,
// so that the bits do not depend on the threads.
#include "grid/local.h"

#include <type_traits>

#include "core/parallel.h"
#include "grid/grid.h"
#include "grid/grid_cpu.h"

namespace recon::grid {

namespace {

constexpr int64_t kGrain = 2048;
constexpr int kMost = 64;  // components that are worked on together in local memory

template <class Body>
void with_rank(int rank, const Body& body) {
  switch (rank) {
    case 8:
      return body(std::integral_constant<int, 8>{});
    case 16:
      return body(std::integral_constant<int, 16>{});
    case 24:
      return body(std::integral_constant<int, 24>{});
    case 32:
      return body(std::integral_constant<int, 32>{});
    default:
      return body(std::integral_constant<int, 0>{});
  }
}

struct visit_of {
  int32_t sample;
  int32_t corner;
};

}  // namespace

template <class S>
void local(const S* lines, int n, int rank, const int32_t* table, const int* sites, S half, const S* u, int64_t count,
           S* out) {
  with_rank(rank, [&](auto fixed) {
    const int R = fixed.value ? fixed.value : rank;
    parallel_ranges(count, kGrain, [&](int64_t from, int64_t to) {
      for (int64_t i = from; i < to; ++i) {
        const around<S> at(u + 3 * i, sites, half);
        for (int r0 = 0; r0 < R; r0 += kMost) {
          const int most = R - r0 < kMost ? R - r0 : kMost;
          S sum[kMost] = {};
          at.visit(table, sites, [&](int32_t tensor, int corner) {
            const vectors<S> v(lines, tensor, n, R, at, corner);
            const S w = at.weight(corner), *x = v.row[0] + r0, *y = v.row[1] + r0, *z = v.row[2] + r0;
            const S w1 = w * v.f[0], w0 = w - w1, fy = v.f[1], fz = v.f[2];
            for (int r = 0; r < most; ++r)
              sum[r] +=
                  (w0 * x[r] + w1 * x[R + r]) * ((1 - fy) * y[r] + fy * y[R + r]) * ((1 - fz) * z[r] + fz * z[R + r]);
          });
          for (int r = 0; r < most; ++r) out[i * R + r0 + r] = sum[r];
        }
      }
    });
  });
}

template <class S>
void local_backward(const S* lines, int64_t tensors, int n, int rank, const int32_t* table, const int* sites, S half,
                    const S* u, int64_t count, const S* g_out, S* g_lines) {
  // Which points lie in which tensor: visits[begin[t] .. begin[t + 1]).
  std::vector<int64_t> begin(tensors + 1, 0);
  for (int64_t i = 0; i < count; ++i)
    around<S>(u + 3 * i, sites, half).visit(table, sites, [&](int32_t t, int) { ++begin[t + 1]; });
  for (int64_t t = 0; t < tensors; ++t) begin[t + 1] += begin[t];
  std::vector<visit_of> visits(begin[tensors]);
  std::vector<int64_t> next(begin.begin(), begin.end() - 1);
  for (int64_t i = 0; i < count; ++i)
    around<S>(u + 3 * i, sites, half).visit(table, sites, [&](int32_t t, int corner) {
      visits[next[t]++] = {int32_t(i), corner};
    });
  with_rank(rank, [&](auto fixed) {
    const int R = fixed.value ? fixed.value : rank;
    parallel_for(tensors, [&](int64_t t) {
      for (int64_t k = begin[t]; k < begin[t + 1]; ++k) {
        const int64_t i = visits[k].sample;
        const int corner = visits[k].corner;
        const around<S> at(u + 3 * i, sites, half);
        const vectors<S> v(lines, int32_t(t), n, R, at, corner);
        const S w = at.weight(corner);
        for (int r0 = 0; r0 < R; r0 += kMost) {
          const int most = R - r0 < kMost ? R - r0 : kMost;
          S to[3][kMost];  // through local sums: the compiler cannot know that rows do not overlap
          const S *x = v.row[0] + r0, *y = v.row[1] + r0, *z = v.row[2] + r0, *g = g_out + i * R + r0;
          for (int r = 0; r < most; ++r) {
            const S a = (1 - v.f[0]) * x[r] + v.f[0] * x[R + r], b = (1 - v.f[1]) * y[r] + v.f[1] * y[R + r],
                    c = (1 - v.f[2]) * z[r] + v.f[2] * z[R + r], wg = w * g[r];
            to[0][r] = wg * b * c;
            to[1][r] = wg * a * c;
            to[2][r] = wg * a * b;
          }
          for (int axis = 0; axis < 3; ++axis) {
            S* o = g_lines + v.offset[axis] + r0;
            const S f = v.f[axis];
            for (int r = 0; r < most; ++r) o[r] += (1 - f) * to[axis][r];
            for (int r = 0; r < most; ++r) o[R + r] += f * to[axis][r];
          }
        }
      }
    });
  });
}

#define RECON_INSTANTIATE(S)                                                                                     \
  template void local<S>(const S*, int, int, const int32_t*, const int*, S, const S*, int64_t, S*);              \
  template void local_backward<S>(const S*, int64_t, int, int, const int32_t*, const int*, S, const S*, int64_t, \
                                  const S*, S*);
RECON_INSTANTIATE(float)
RECON_INSTANTIATE(double)
#undef RECON_INSTANTIATE

}  // namespace recon::grid
