// CPU driver: forward over ranges of points; backward over parts of the parameters that no other task writes (slabs of
// cells, factors, levels), each walking its points in order, so that the bits do not depend on the threads.
#include "grid/grid.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <type_traits>

#include "core/pack.h"
#include "core/parallel.h"
#include "grid/ahead.h"
#include "grid/grid_cpu.h"

namespace recon::grid {

namespace {

constexpr int64_t kGrain = 4096;
constexpr int64_t kPoints = 2048;  // that are taken through one level or mode after another

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
// Neighbours along a ray lie in one slab mostly: runs of them are put in order, not single points.
template <class S>
void sort_by_slab(const S* u, int64_t count, const int* size, std::vector<int32_t>& order,
                  std::vector<int32_t>& begin) {
  struct run {
    int32_t first, slab;
  };
  std::vector<run> runs;
  int last = -1;
  for (int64_t i = 0; i < count; i += kGroup) {
    const int n = int(std::min<int64_t>(kGroup, count - i));
    cells<S> c;
    c.find(u + 3 * i, nullptr, n, size);
    for (int j = 0; j < n; ++j) {
      const int slab = c.node[0][j] / kSlab;
      if (slab != last) runs.push_back({int32_t(i + j), slab});
      last = slab;
    }
  }
  begin.assign((size[0] - 2) / kSlab + 2, 0);
  const auto length = [&](size_t k) {
    return (k + 1 < runs.size() ? runs[k + 1].first : int32_t(count)) - runs[k].first;
  };
  for (size_t k = 0; k < runs.size(); ++k) begin[runs[k].slab + 1] += length(k);
  for (size_t c = 1; c < begin.size(); ++c) begin[c] += begin[c - 1];
  order.resize(count);
  std::vector<int32_t> at(begin.begin(), begin.end() - 1);
  for (size_t k = 0; k < runs.size(); ++k) {
    int32_t& to = at[runs[k].slab];
    std::iota(order.begin() + to, order.begin() + to + length(k), runs[k].first);
    to += length(k);
  }
}

// The cells of a group of points in a grid of rows: offsets of their first nodes, and how far the points are in them.
template <class S>
struct lookup {
  int64_t first[kGroup];
  S next[3][kGroup];
  const int32_t* order;
  void find(const int* size, int C, const S* u, const int32_t* points, int count) {
    order = points;
    const int64_t row = int64_t(size[2]) * C, plane = size[1] * row;
    cells<S> c;
    c.find(u, order, count, size);
    for (int j = 0; j < kGroup; ++j) {
      first[j] = c.node[0][j] * plane + c.node[1][j] * row + int64_t(c.node[2][j]) * C;
      for (int i = 0; i < 3; ++i) next[i][j] = c.next[i][j];
    }
  }
  template <class P>
  void place_in(int j, P* at) const {
    for (int i = 0; i < 3; ++i) at[i] = P(next[i][j]);
  }
  // All points at once, a lane each.
  struct in_lanes {
    pack<S, kGroup> next[3];
  };
  in_lanes lanes_of() const {
    using P = pack<S, kGroup>;
    return {{load<P>(next[0]), load<P>(next[1]), load<P>(next[2])}};
  }
};

// Offsets of the eight nodes of a cell from the first one, in the order of blend_nodes.
struct nodes_of_cell {
  int64_t away[8];
  nodes_of_cell(const int* size, int C) {
    const int64_t row = int64_t(size[2]) * C, plane = size[1] * row;
    for (int k = 0; k < 8; ++k) away[k] = (k & 1 ? plane : 0) + (k & 2 ? row : 0) + (k & 4 ? C : 0);
  }
  // The numbers of a cell: nodes next to each other along the last axis are asked for together.
  template <bool Write, class S>
  void ask(const S* first, int C) const {
    for (int k = 0; k < 4; ++k) ask_for<Write>(first + away[k], 2 * C * sizeof(S));
  }
};

// One number per node: those of a group are collected, then blended a lane per point.
template <class S>
void trilinear_one(const S* values, const int* size, const S* u, int64_t count, S* out) {
  using P = pack<S, kGroup>;
  const nodes_of_cell nodes(size, 1);
  parallel_ranges(count, kGrain, [&](int64_t from, int64_t to) {
    for (int64_t i = from; i < to; i += kGroup) {  // so little work that the processor itself is far enough ahead
      const int n = int(std::min<int64_t>(kGroup, to - i));
      lookup<S> group;
      group.find(size, 1, u + 3 * i, nullptr, n);
      P v[8];
      for (int k = 0; k < 4; ++k) load_pairs(values + nodes.away[k], group.first, v[k], v[k + 4]);
      store_part(out + i, blend_nodes(group.lanes_of().next, [&](int k) { return v[k]; }), n);
    }
  });
}

// Planes of nodes along x in as many parts as there are threads, about as many points in each: begin[p] .. begin[p + 1].
template <class S>
std::vector<int> parts_of(const S* u, int64_t count, int n) {
  const int parts = thread_count();
  std::vector<int> begin(parts + 1, n);
  begin[0] = 0;
  if (parts == 1) return begin;
  std::vector<int64_t> points(n, 0);
  for (int64_t i = 0; i < count; ++i) {
    S next;
    int node;
    place(u[3 * i], n, node, next);
    ++points[node];
  }
  int64_t before = 0;
  for (int node = 0, p = 1; node < n; before += points[node++])
    while (p < parts && (before + points[node]) * parts > count * p) begin[p++] = node;
  return begin;
}

// Points whose cells reach planes low .. high - 1, in their order.
template <class S>
std::vector<int32_t> points_at(const S* u, int64_t count, int n, int low, int high) {
  std::vector<int32_t> out(count);
  int64_t found = 0;
  for (int64_t i = 0; i < count; ++i) {
    S next;
    int node;
    place(u[3 * i], n, node, next);
    out[found] = int32_t(i);
    found += node >= low - 1 && node < high;
  }
  out.resize(found);
  return out;
}

// The parts of all nodes are found a lane per point, then added up point by point: to a node always in the order of the
// points, whatever planes a task has.
template <class S>
void trilinear_one_backward(const int* size, const S* u, int64_t count, const S* g_out, S* g_values) {
  using P = pack<S, kGroup>;
  using two = pack<S, 2>;
  const nodes_of_cell nodes(size, 1);
  const std::vector<int> begin = parts_of(u, count, size[0]);
  const int64_t plane = nodes.away[1], row = nodes.away[2], parts = int64_t(begin.size()) - 1;
  parallel_for(parts, [&](int64_t p) {
    std::vector<int32_t> chosen;
    if (parts > 1) chosen = points_at(u, count, size[0], begin[p], begin[p + 1]);
    const int32_t* order = parts > 1 ? chosen.data() : nullptr;
    const int64_t low = begin[p] * plane, high = begin[p + 1] * plane;
    const int64_t all = parts > 1 ? int64_t(chosen.size()) : count;
    S* const to = g_values;
    for (int64_t i = 0; i < all; i += kGroup) {  // as above nothing is asked for ahead
      const int n = int(std::min<int64_t>(kGroup, all - i));
      lookup<S> group;
      group.find(size, 1, order ? u : u + 3 * i, order ? order + i : nullptr, n);
      alignas(64) S g[kGroup] = {}, share[4][2 * kGroup];
      if (order)
        for (int j = 0; j < n; ++j) g[j] = g_out[order[i + j]];
      P part[8];
      spread_nodes(order ? load<P>(g) : load_part<P>(g_out + i, n), group.lanes_of().next, part);
      for (int k = 0; k < 4; ++k)
        store_pairs<P>(share[k], part[k], part[k + 4]);  // next to each other in the grid, too
      for (int j = 0; j < n; ++j) {
        const auto add = [&](int k, S* at) { store(at, load<two>(at) + load<two>(share[k] + 2 * j)); };
        const int64_t first = group.first[j];
        if (first >= low) add(0, to + first), add(2, to + first + row);
        if (first + plane < high) add(1, to + first + plane), add(3, to + first + plane + row);
      }
    }
  });
}

}  // namespace

template <class S>
void trilinear(const S* values, const int* size, int channels, const S* u, int64_t count, S* out) {
  if (channels == 1) return trilinear_one(values, size, u, count, out);
  with_channels(channels, [&](auto fixed) {
    const int C = fixed.value ? fixed.value : channels;
    const nodes_of_cell nodes(size, C);
    parallel_ranges(count, kGrain, [&](int64_t from, int64_t to) {
      points_ahead<lookup<S>, requests::first>(
          from, to, [&](lookup<S>& group, int64_t i, int n) { group.find(size, C, u + 3 * i, nullptr, n); },
          [&](const lookup<S>& group, int j) { nodes.ask<false>(values + group.first[j], C); },
          [&](const lookup<S>& group, int64_t i, int j) {
            along_row<S, fixed.value>(C, [&](auto pack, int c) {
              using P = decltype(pack);
              P next[3];
              group.place_in(j, next);
              const S* v = values + group.first[j] + c;
              store(out + (i + j) * C + c, blend_nodes(next, [&](int k) { return load<P>(v + nodes.away[k]); }));
            });
          });
    });
  });
}

template <class S>
void trilinear_backward(const int* size, int channels, const S* u, int64_t count, const S* g_out, S* g_values) {
  if (channels == 1) return trilinear_one_backward(size, u, count, g_out, g_values);
  std::vector<int32_t> order, begin;
  sort_by_slab(u, count, size, order, begin);
  const int64_t slabs = int64_t(begin.size()) - 1;
  const int32_t* chosen = order.data();
  with_channels(channels, [&](auto fixed) {
    const int C = fixed.value ? fixed.value : channels;
    const nodes_of_cell nodes(size, C);
    // Neighbouring slabs share a plane of nodes: every second one, then the others.
    for (int64_t turn = 0; turn < 2; ++turn)
      parallel_for((slabs + 1 - turn) / 2, [&](int64_t s) {
        const int64_t from = begin[2 * s + turn], to = begin[2 * s + turn + 1];
        points_ahead<lookup<S>, requests::first>(
            from, to, [&](lookup<S>& group, int64_t i, int n) { group.find(size, C, u, chosen + i, n); },
            [&](const lookup<S>& group, int j) {
              nodes.ask<true>(g_values + group.first[j], C);
              ask_for<false>(g_out + int64_t(group.order[j]) * C, C * sizeof(S));
            },
            [&](const lookup<S>& group, int64_t i, int j) {
              S* first = g_values + group.first[j];
              const S* g = g_out + int64_t(chosen[i + j]) * C;
              along_row<S, fixed.value>(C, [&](auto pack, int c) {
                using P = decltype(pack);
                P next[3], part[8];
                group.place_in(j, next);
                spread_nodes(load<P>(g + c), next, part);
                for (int k = 0; k < 8; ++k) {
                  S* at = first + nodes.away[k] + c;
                  store(at, load<P>(at) + part[k]);
                }
              });
            });
      });
  });
}

namespace {

// Where a group of points lies in the plane and the line of one mode: offsets of the first rows, and weights.
template <class S>
struct factors {
  int64_t plane[kGroup], line[kGroup], point[kGroup];
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
  void ask(const S* planes, int64_t row, int R, int j) const {
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
      points_ahead<modes, requests::between>(
          from, to,
          [&](modes& group, int64_t i, int points) {
            for (int k = 0; k < 3; ++k) group.of[k].find(k, n, R, u + 3 * i, points);
          },
          [&](const modes& group, int j) {
            for (int k = 0; k < 3; ++k) group.of[k].template ask<false>(planes, row, R, j);
          },
          [&](const modes& group, int64_t i, int j) {
            for (int k = 0; k < 3; ++k) {
              const factors<S>& m = group.of[k];
              const S *p = planes + m.plane[j], *l = lines + m.line[j], f = m.f[j];
              const S w00 = m.corner[0][j], w01 = m.corner[1][j], w10 = m.corner[2][j], w11 = m.corner[3][j];
              S* o = out + (3 * (i + j) + k) * R;
              along_row<S, fixed.value>(R, [&](auto pack, int r) {
                using P = decltype(pack);
                const P plane =
                    fma(P(w11), load<P>(p + row + R + r),
                        fma(P(w10), load<P>(p + row + r), fma(P(w01), load<P>(p + R + r), P(w00) * load<P>(p + r))));
                store(o + r, plane * fma(P(f), load<P>(l + R + r), P(1 - f) * load<P>(l + r)));
              });
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
          points_ahead<factors<S>, requests::between>(
              from, std::min(count, from + kPoints),
              [&](factors<S>& m, int64_t i, int points) {
                m.find(int(k), n, R, u + 3 * i, points);
                for (int j = 0; j < points; ++j) m.point[j] = i + j;
              },
              [&](const factors<S>& m, int j) {
                m.template ask<false>(planes, row, R, j);
                m.template ask<true>(g_planes, row, R, j);
                ask_for<false>(g_out + (3 * m.point[j] + k) * R, R * sizeof(S));
              },
              [&](const factors<S>& m, int64_t i, int j) {
                const S *p = planes + m.plane[j], *l = lines + m.line[j], *g = g_out + (3 * (i + j) + k) * R;
                S *gp = g_planes + m.plane[j], *gl = g_lines + m.line[j];
                const S w00 = m.corner[0][j], w01 = m.corner[1][j], w10 = m.corner[2][j], w11 = m.corner[3][j];
                const S f = m.f[j];
                along_row<S, fixed.value>(R, [&](auto pack, int r) {
                  using P = decltype(pack);
                  const auto at = [&](const S* from) { return load<P>(from + r); };
                  const P line = fma(P(f), at(l + R), P(1 - f) * at(l)), here = at(g);
                  const P plane =
                      fma(P(w11), at(p + row + R), fma(P(w10), at(p + row), fma(P(w01), at(p + R), P(w00) * at(p))));
                  const P to_plane = here * line, to_line = here * plane;
                  const auto add = [&](S* to, S w, const P& part) { store(to + r, fma(P(w), part, at(to))); };
                  add(gp, w00, to_plane);
                  add(gp + R, w01, to_plane);
                  add(gp + row, w10, to_plane);
                  add(gp + row + R, w11, to_plane);
                  add(gl, 1 - f, to_line);
                  add(gl + R, f, to_line);
                });
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

constexpr int kHashedAhead = 3;        // groups; a point has little work in one level
constexpr int64_t kAtHand = 1 << 18;  // bytes of a level that are near without being asked for

// Rows of the eight nodes around a group of points in one level, and how far the points are between them.
template <class S>
struct hashed {
  uint32_t row[8][kGroup];  // offsets
  S next[3][kGroup];
  void find(int n, int64_t slots, int C, const S* u, int count) {
    const int size[3] = {n, n, n};
    cells<S> c;
    c.find(u, nullptr, count, size);
    const bool dense = int64_t(n) * n * n <= slots;
    for (int k = 0; k < 8; ++k)
      for (int j = 0; j < kGroup; ++j)
        row[k][j] = uint32_t(C) * slot_of(uint32_t(c.node[0][j] + (k & 1)), uint32_t(c.node[1][j] + (k >> 1 & 1)),
                                          uint32_t(c.node[2][j] + (k >> 2 & 1)), uint32_t(n), uint32_t(slots), dense);
    for (int i = 0; i < 3; ++i)
      for (int j = 0; j < kGroup; ++j) next[i][j] = c.next[i][j];
  }
  template <class P>
  void place_in(int j, P* at) const {
    for (int i = 0; i < 3; ++i) at[i] = P(next[i][j]);
  }
  // The rows of point j of a table of rows of C numbers.
  template <bool Write>
  void ask(const S* values, int j) const {
    for (int k = 0; k < 8; ++k) ask_for_line<Write>(values + row[k][j]);
  }
};

bool near_at_hand(int n, int row_bytes) { return int64_t(n) * n * n * row_bytes <= kAtHand; }

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
        const bool near = near_at_hand(nodes[l], C * sizeof(S));
        points_ahead<hashed<S>, requests::between, kHashedAhead>(
            from, to, [&](hashed<S>& group, int64_t i, int n) { group.find(nodes[l], slots, C, u + 3 * i, n); },
            [=](const hashed<S>& group, int j) {
              if (!near) group.template ask<false>(values, j);
            },
            [=](const hashed<S>& group, int64_t i, int j) {
              S* to = out + ((i + j) * levels + l) * C;
              along_row<S, fixed.value>(C, [=, &group](auto pack, int c) {
                using P = decltype(pack);
                P next[3];
                group.place_in(j, next);
                store(to + c, blend_nodes(next, [&](int k) { return load<P>(values + group.row[k][j] + c); }));
              });
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
          const bool near = near_at_hand(nodes[l], C * sizeof(S));
          points_ahead<hashed<S>, requests::between, kHashedAhead>(
              from, std::min(count, from + kPoints),
              [&](hashed<S>& group, int64_t i, int n) { group.find(nodes[l], slots, C, u + 3 * i, n); },
              [=](const hashed<S>& group, int j) {
                if (!near) group.template ask<true>(to, j);
              },
              [=](const hashed<S>& group, int64_t i, int j) {
                const S* g = g_out + ((i + j) * levels + l) * C;
                along_row<S, fixed.value>(C, [=, &group](auto pack, int c) {
                  using P = decltype(pack);
                  P next[3], part[8];
                  group.place_in(j, next);
                  spread_nodes(load<P>(g + c), next, part);
                  for (int k = 0; k < 8; ++k) {
                    S* at = to + group.row[k][j] + c;
                    store(at, load<P>(at) + part[k]);
                  }
                });
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
