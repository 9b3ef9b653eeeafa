// CPU driver: forward over ranges of points; backward over parts of the parameters that no other task writes (slabs of
// cells, factors, levels), each walking its points in order, so that the bits do not depend on the threads.
#include "grid/grid.h"

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "core/pack.h"
#include "core/parallel.h"
#include "grid/ahead.h"
#include "grid/grid_cpu.h"

namespace recon::grid {

namespace {

constexpr int64_t kGrain = 4096;
constexpr int64_t kPoints = 2048;  // that are taken through one level or mode after another
constexpr int kColumns = 48;  // channels that are summed up together in local memory

// Calls body with the number of channels as a compile-time constant where it is a usual one, 0 otherwise.
template <class Body>
void with_channels(int channels, const Body& body) {
  switch (channels) {
#define RECON_CASE(n)                       \
  case n:                                   \
    body(std::integral_constant<int, n>{}); \
    break;
    RECON_CASE(1)
    RECON_CASE(2)
    RECON_CASE(4)
    RECON_CASE(8)
    RECON_CASE(12)
    RECON_CASE(16)
    RECON_CASE(24)
    RECON_CASE(32)
    RECON_CASE(48)
#undef RECON_CASE
    default:
      body(std::integral_constant<int, 0>{});
  }
}

constexpr int kSlab = 8;  // cells along x that one task of a backward pass writes to

// Points by the slab of cells along x that they lie in, in their own order within it: order[begin[s] .. begin[s + 1]).
template <class S>
void sort_by_slab(const S* u, int64_t count, int n, std::vector<int32_t>& order, std::vector<int32_t>& begin) {
  std::vector<int32_t> slab(count);
  begin.assign((n - 2) / kSlab + 2, 0);
  for (int64_t i = 0; i < count; ++i) {
    S next;
    int node;
    place(u[3 * i], n, node, next);
    slab[i] = node / kSlab;
    ++begin[slab[i] + 1];
  }
  for (size_t c = 1; c < begin.size(); ++c) begin[c] += begin[c - 1];
  order.resize(count);
  std::vector<int32_t> at(begin.begin(), begin.end() - 1);
  for (int64_t i = 0; i < count; ++i) order[at[slab[i]]++] = int32_t(i);
}

// The first nodes of the cells of a group, as offsets in a grid of rows, and the weights of the eight nodes.
template <class S>
struct lookup {
  int64_t first[kGroup];
  S weight[8][kGroup];
  // `at`: the grid's numbers, which are asked for.
  template <bool Write>
  void prepare(const S* at, const int* size, int C, const S* u, const int32_t* order, int count) {
    const int64_t row = int64_t(size[2]) * C, plane = size[1] * row;
    cells<S> c;
    c.find(u, order, count, size);
    c.weights(weight);
    for (int j = 0; j < kGroup; ++j) first[j] = c.node[0][j] * plane + c.node[1][j] * row + int64_t(c.node[2][j]) * C;
    for (int j = 0; j < count; ++j)
      for (const int64_t away : {int64_t(0), row, plane, plane + row})
        ask_for<Write>(at + first[j] + away, 2 * C * sizeof(S));
  }
  // One number per node: the nodes are collected, then blended a lane per point.
  void blend_one(const S* values, int64_t row, int64_t plane, S* out, int count) const {
    S v[8][kGroup], sum[kGroup];
    for (int j = 0; j < count; ++j)
      for (int k = 0; k < 8; ++k)
        v[k][j] = values[first[j] + (k & 1 ? plane : 0) + (k & 2 ? row : 0) + (k & 4 ? 1 : 0)];
    for (int j = 0; j < kGroup; ++j) {
      sum[j] = weight[0][j] * v[0][j];
      for (int k = 1; k < 8; ++k) sum[j] += weight[k][j] * v[k][j];
    }
    for (int j = 0; j < count; ++j) out[j] = sum[j];
  }
};

}  // namespace

template <class S>
void trilinear(const S* values, const int* size, int channels, const S* u, int64_t count, S* out) {
  with_channels(channels, [&](auto fixed) {
    const int C = fixed.value ? fixed.value : channels;
    const int64_t row = int64_t(size[2]) * C, plane = size[1] * row;
    parallel_ranges(count, kGrain, [&](int64_t from, int64_t to) {
      one_ahead<lookup<S>>(
          from, to,
          [&](lookup<S>& group, int64_t i, int n) {
            group.template prepare<false>(values, size, C, u + 3 * i, nullptr, n);
          },
          [&](const lookup<S>& group, int64_t i, int n) {
            if (C == 1) return group.blend_one(values, row, plane, out + i, n);
            for (int j = 0; j < n; ++j) {
              const S* v = values + group.first[j];
              S *o = out + (i + j) * C, w[8];
              for (int k = 0; k < 8; ++k) w[k] = group.weight[k][j];
              for (int c = 0; c < C; ++c)
                o[c] = w[0] * v[c] + w[1] * v[plane + c] + w[2] * v[row + c] + w[3] * v[plane + row + c] +
                       w[4] * v[C + c] + w[5] * v[plane + C + c] + w[6] * v[row + C + c] +
                       w[7] * v[plane + row + C + c];
            }
          });
    });
  });
}

template <class S>
void trilinear_backward(const int* size, int channels, const S* u, int64_t count, const S* g_out, S* g_values) {
  std::vector<int32_t> order, begin;
  sort_by_slab(u, count, size[0], order, begin);
  const int64_t slabs = int64_t(begin.size()) - 1;
  with_channels(channels, [&](auto fixed) {
    const int C = fixed.value ? fixed.value : channels;
    const int64_t row = int64_t(size[2]) * C, plane = size[1] * row;
    // Neighbouring slabs share a plane of nodes: every second one, then the others.
    for (int64_t turn = 0; turn < 2; ++turn)
      parallel_for((slabs + 1 - turn) / 2, [&](int64_t s) {
        const int32_t* chosen = order.data();
        one_ahead<lookup<S>>(
            begin[2 * s + turn], begin[2 * s + turn + 1],
            [&](lookup<S>& group, int64_t k, int n) {
              group.template prepare<true>(g_values, size, C, u, chosen + k, n);
              for (int j = 0; j < n; ++j) ask_for<false>(g_out + int64_t(chosen[k + j]) * C, C * sizeof(S));
            },
            [&](const lookup<S>& group, int64_t k, int n) {
              for (int j = 0; j < n; ++j) {
                S* to = g_values + group.first[j];
                for (int c0 = 0; c0 < C; c0 += kColumns) {  // through local memory: nothing there overlaps the grid
                  const int most = C - c0 < kColumns ? C - c0 : kColumns;
                  S g[kColumns];
                  for (int c = 0; c < most; ++c) g[c] = g_out[int64_t(chosen[k + j]) * C + c0 + c];
                  const auto add = [&](int corner, int64_t away) {
                    S* at = to + away + c0;
                    const S w = group.weight[corner][j];
                    for (int c = 0; c < most; ++c) at[c] += w * g[c];
                  };
                  add(0, 0);
                  add(4, C);
                  add(2, row);
                  add(6, row + C);
                  add(1, plane);
                  add(5, plane + C);
                  add(3, plane + row);
                  add(7, plane + row + C);
                }
              }
            });
      });
  });
}

namespace {

// Where a group of points lies in the plane and the line of one mode: offsets of the first rows, and weights.
template <class S>
struct factors {
  int64_t plane[kGroup], line[kGroup];
  S corner[4][kGroup], f[kGroup];  // corner: next along b: bit 0, along a: bit 1
  void find(int k, int n, int R, const S* u, int count) {
    const int size[3] = {n, n, n}, a = (k + 1) % 3, b = (k + 2) % 3;
    cells<S> c;
    c.find(u, nullptr, count, size);
    for (int j = 0; j < kGroup; ++j) {
      plane[j] = ((int64_t(k) * n + c.node[a][j]) * n + c.node[b][j]) * R;
      line[j] = (int64_t(k) * n + c.node[k][j]) * R;
      const S fa = c.next[a][j], fb = c.next[b][j];
      corner[0][j] = (1 - fa) * (1 - fb);
      corner[1][j] = (1 - fa) * fb;
      corner[2][j] = fa * (1 - fb);
      corner[3][j] = fa * fb;
      f[j] = c.next[k][j];
    }
  }
  template <bool Write>
  void ask(const S* planes, int64_t row, int R, int count) const {
    for (int j = 0; j < count; ++j)
      for (const int64_t away : {int64_t(0), row}) ask_for<Write>(planes + plane[j] + away, 2 * R * sizeof(S));
  }
};

}  // namespace

template <class S>
void vector_matrix(const S* planes, const S* lines, int n, int rank, const S* u, int64_t count, S* out) {
  with_channels(rank, [&](auto fixed) {
    const int R = fixed.value ? fixed.value : rank;
    const int64_t row = int64_t(n) * R;
    struct modes {
      factors<S> of[3];
    };
    parallel_ranges(count, kGrain, [&](int64_t from, int64_t to) {
      one_ahead<modes>(
          from, to,
          [&](modes& group, int64_t i, int points) {
            for (int k = 0; k < 3; ++k) {
              group.of[k].find(k, n, R, u + 3 * i, points);
              group.of[k].template ask<false>(planes, row, R, points);
            }
          },
          [&](const modes& group, int64_t i, int points) {
            for (int j = 0; j < points; ++j)
              for (int k = 0; k < 3; ++k) {
                const factors<S>& m = group.of[k];
                const S *p = planes + m.plane[j], *l = lines + m.line[j], f = m.f[j];
                const S w00 = m.corner[0][j], w01 = m.corner[1][j], w10 = m.corner[2][j], w11 = m.corner[3][j];
                S* o = out + (3 * (i + j) + k) * R;
                for (int r = 0; r < R; ++r)
                  o[r] = (w00 * p[r] + w01 * p[R + r] + w10 * p[row + r] + w11 * p[row + R + r]) *
                         ((1 - f) * l[r] + f * l[R + r]);
              }
          });
    });
  });
}

template <class S>
void vector_matrix_backward(const S* planes, const S* lines, int n, int rank, const S* u, int64_t count, const S* g_out,
                            S* g_planes, S* g_lines) {
  with_channels(rank, [&](auto fixed) {
    const int R = fixed.value ? fixed.value : rank;
    const int64_t row = int64_t(n) * R;
    // Modes share nothing but the gradients that come in, which are read once for all modes of a task.
    const int tasks = thread_count() < 3 ? thread_count() : 3;
    parallel_for(tasks, [&](int64_t task) {
      for (int64_t from = 0; from < count; from += kPoints)
        for (int64_t k = task; k < 3; k += tasks)
          one_ahead<factors<S>>(
              from, std::min(count, from + kPoints),
              [&](factors<S>& m, int64_t i, int points) {
                m.find(int(k), n, R, u + 3 * i, points);
                m.template ask<false>(planes, row, R, points);
                m.template ask<true>(g_planes, row, R, points);
                for (int j = 0; j < points; ++j) ask_for<false>(g_out + (3 * (i + j) + k) * R, R * sizeof(S));
              },
              [&](const factors<S>& m, int64_t i, int points) {
                for (int j = 0; j < points; ++j) {
                  const S *p = planes + m.plane[j], *l = lines + m.line[j], *g = g_out + (3 * (i + j) + k) * R;
                  S *gp = g_planes + m.plane[j], *gl = g_lines + m.line[j];
                  const S w00 = m.corner[0][j], w01 = m.corner[1][j], w10 = m.corner[2][j], w11 = m.corner[3][j];
                  const S f = m.f[j];
                  // By eights: rows of 24 floats begin within a cache line, and wider lanes would reach over its end, where what
                  // was just stored cannot be loaded again at once. All gradients before the first row, and one row at a time.
                  using P = pack<S, 8>;
                  constexpr int kMost = kColumns / 8;
                  for (int r0 = 0; r0 < R; r0 += kColumns) {
                    P to_plane[kMost], to_line[kMost];
                    const int most = R - r0 < kColumns ? R - r0 : kColumns, packs = (most + 7) / 8;
                    const auto get = [&](const S* at, int q) {
                      return 8 * q + 8 <= most ? load<P>(at + r0 + 8 * q) : load_part<P>(at + r0 + 8 * q, most - 8 * q);
                    };
                    for (int q = 0; q < packs; ++q) {
                      to_plane[q] = get(g, q) * (P(1 - f) * get(l, q) + P(f) * get(l + R, q));
                      to_line[q] = get(g, q) * (P(w00) * get(p, q) + P(w01) * get(p + R, q) + P(w10) * get(p + row, q) +
                                                P(w11) * get(p + row + R, q));
                    }
                    const auto add = [&](S* to, const P* from, S w) {
                      for (int q = 0; q < packs; ++q) {
                        const P sum = get(to, q) + P(w) * from[q];
                        8 * q + 8 <= most ? store(to + r0 + 8 * q, sum)
                                          : store_part(to + r0 + 8 * q, sum, most - 8 * q);
                      }
                    };
                    add(gp, to_plane, w00);
                    add(gp + R, to_plane, w01);
                    add(gp + row, to_plane, w10);
                    add(gp + row + R, to_plane, w11);
                    add(gl, to_line, 1 - f);
                    add(gl + R, to_line, f);
                  }
                }
              });
    });
  });
}

template <class S>
void tri_vector(const S* lines, int n, int rank, const S* u, int64_t count, S* out) {
  const int size[3] = {n, n, n};
  with_channels(rank, [&](auto fixed) {
    const int R = fixed.value ? fixed.value : rank;
    parallel_ranges(count, kGrain, [&](int64_t from, int64_t to) {
      for (int64_t i = from; i < to; ++i) {
        const corner<S> at(u + 3 * i, size);
        const S* l[3];
        for (int k = 0; k < 3; ++k) l[k] = lines + (int64_t(k) * n + at.node[k]) * R;
        const S* f = at.next;
        for (int r = 0; r < R; ++r)
          out[i * R + r] = ((1 - f[0]) * l[0][r] + f[0] * l[0][R + r]) * ((1 - f[1]) * l[1][r] + f[1] * l[1][R + r]) *
                           ((1 - f[2]) * l[2][r] + f[2] * l[2][R + r]);
      }
    });
  });
}

template <class S>
void tri_vector_backward(const S* lines, int n, int rank, const S* u, int64_t count, const S* g_out, S* g_lines) {
  const int size[3] = {n, n, n};
  with_channels(rank, [&](auto fixed) {
    const int R = fixed.value ? fixed.value : rank;
    parallel_for(3, [&](int64_t k) {
      const int64_t a = (k + 1) % 3, b = (k + 2) % 3;
      for (int64_t i = 0; i < count; ++i) {
        const corner<S> at(u + 3 * i, size);
        const S *la = lines + (a * n + at.node[a]) * R, *lb = lines + (b * n + at.node[b]) * R, *f = at.next;
        S* g = g_lines + (k * n + at.node[k]) * R;
        for (int r = 0; r < R; ++r) {
          const S others =
              g_out[i * R + r] * ((1 - f[a]) * la[r] + f[a] * la[R + r]) * ((1 - f[b]) * lb[r] + f[b] * lb[R + r]);
          g[r] += (1 - f[k]) * others;
          g[R + r] += f[k] * others;
        }
      }
    });
  });
}

namespace {

constexpr int64_t kAtHand = 1 << 18;  // bytes of a level that are near without being asked for

// Slots and weights of the eight nodes around a group of points in one level.
template <class S>
struct hashed {
  uint32_t slot[8][kGroup];
  S weight[8][kGroup];
  template <bool Write>
  void prepare(const S* values, int n, int64_t slots, int C, const S* u, int count) {
    const int size[3] = {n, n, n};
    cells<S> c;
    c.find(u, nullptr, count, size);
    c.weights(weight);
    const bool dense = int64_t(n) * n * n <= slots;
    for (int k = 0; k < 8; ++k)
      for (int j = 0; j < kGroup; ++j)
        slot[k][j] = slot_of(uint32_t(c.node[0][j] + (k & 1)), uint32_t(c.node[1][j] + (k >> 1 & 1)),
                             uint32_t(c.node[2][j] + (k >> 2 & 1)), uint32_t(n), uint32_t(slots), dense);
    if (int64_t(n) * n * n * C * int64_t(sizeof(S)) <= kAtHand) return;
    for (int k = 0; k < 8; ++k)
      for (int j = 0; j < count; ++j) __builtin_prefetch(values + int64_t(slot[k][j]) * C, Write);
  }
};

}  // namespace

template <class S>
void hash(const S* table, const std::vector<int>& nodes, int64_t slots, int features, const S* u, int64_t count,
          S* out) {
  const int levels = int(nodes.size());
  with_channels(features, [&](auto fixed) {
    const int C = fixed.value ? fixed.value : features;
    parallel_ranges(count, kPoints, [&](int64_t from, int64_t to) {
      for (int l = 0; l < levels; ++l) {  // level by level: one level's table stays in the cache
        const S* values = table + l * slots * C;
        one_ahead<hashed<S>>(
            from, to,
            [&](hashed<S>& group, int64_t i, int n) {
              group.template prepare<false>(values, nodes[l], slots, C, u + 3 * i, n);
            },
            [&](const hashed<S>& group, int64_t i, int n) {
              for (int j = 0; j < n; ++j) {
                S* o = out + ((i + j) * levels + l) * C;
                for (int c0 = 0; c0 < C;
                     c0 += kColumns) {  // through local sums: the compiler cannot know what overlaps
                  const int most = C - c0 < kColumns ? C - c0 : kColumns;
                  S sum[kColumns] = {};
#pragma GCC unroll 8
                  for (int k = 0; k < 8; ++k)
                    for (int c = 0; c < most; ++c)
                      sum[c] += group.weight[k][j] * values[int64_t(group.slot[k][j]) * C + c0 + c];
                  for (int c = 0; c < most; ++c) o[c0 + c] = sum[c];
                }
              }
            });
      }
    });
  });
}

template <class S>
void hash_backward(const std::vector<int>& nodes, int64_t slots, int features, const S* u, int64_t count,
                   const S* g_out, S* g_table) {
  const int levels = int(nodes.size());
  with_channels(features, [&](auto fixed) {
    const int C = fixed.value ? fixed.value : features;
    // Levels share nothing but the gradients that come in, which are read once for all levels of a task.
    const int tasks = thread_count() < levels ? thread_count() : levels;
    parallel_for(tasks, [&](int64_t task) {
      for (int64_t from = 0; from < count; from += kPoints)
        for (int64_t l = task; l < levels; l += tasks) {
          S* to = g_table + l * slots * C;
          one_ahead<hashed<S>>(
              from, std::min(count, from + kPoints),
              [&](hashed<S>& group, int64_t i, int n) {
                group.template prepare<true>(to, nodes[l], slots, C, u + 3 * i, n);
              },
              [&](const hashed<S>& group, int64_t i, int n) {
                for (int j = 0; j < n; ++j)
                  for (int c0 = 0; c0 < C; c0 += kColumns) {
                    const int most = C - c0 < kColumns ? C - c0 : kColumns;
                    S g[kColumns];
                    for (int c = 0; c < most; ++c) g[c] = g_out[((i + j) * levels + l) * C + c0 + c];
#pragma GCC unroll 8
                    for (int k = 0; k < 8; ++k) {
                      S* at = to + int64_t(group.slot[k][j]) * C + c0;
                      const S w = group.weight[k][j];
                      for (int c = 0; c < most; ++c) at[c] += w * g[c];
                    }
                  }
              });
        }
    });
  });
}

template <class S>
void nonzero_rows(const S* g, int64_t count, int width, uint8_t* mask) {
  using bits = std::conditional_t<sizeof(S) == 4, uint32_t, uint64_t>;
  with_channels(width, [&](auto fixed) {
    const int W = fixed.value ? fixed.value : width;
    parallel_ranges(count, 1 << 15, [&](int64_t from, int64_t to) {
      for (int64_t i = from; i < to; ++i) {
        bits some = 0;
        for (int c = 0; c < W; ++c) {
          bits one;
          std::memcpy(&one, g + i * W + c, sizeof one);
          some |= one;
        }
        mask[i] = some << 1 != 0;  // the sign of a zero does not count
      }
    });
  });
}

#define RECON_INSTANTIATE(S)                                                                                  \
  template void nonzero_rows<S>(const S*, int64_t, int, uint8_t*);                                            \
  template void trilinear<S>(const S*, const int*, int, const S*, int64_t, S*);                               \
  template void trilinear_backward<S>(const int*, int, const S*, int64_t, const S*, S*);                      \
  template void vector_matrix<S>(const S*, const S*, int, int, const S*, int64_t, S*);                        \
  template void vector_matrix_backward<S>(const S*, const S*, int, int, const S*, int64_t, const S*, S*, S*); \
  template void tri_vector<S>(const S*, int, int, const S*, int64_t, S*);                                     \
  template void tri_vector_backward<S>(const S*, int, int, const S*, int64_t, const S*, S*);                  \
  template void hash<S>(const S*, const std::vector<int>&, int64_t, int, const S*, int64_t, S*);              \
  template void hash_backward<S>(const std::vector<int>&, int64_t, int, const S*, int64_t, const S*, S*);
RECON_INSTANTIATE(float)
RECON_INSTANTIATE(double)
#undef RECON_INSTANTIATE

}  // namespace recon::grid
