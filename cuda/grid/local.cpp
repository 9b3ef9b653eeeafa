// CPU driver of local tensors. Where points lie in their tensors is found for a group of points at once, then each row of
// numbers is worked on in lanes. Backward tensor by tensor, each walking its points in order, so that the bits do not
// depend on the threads.
#include "grid/local.h"

#include <algorithm>
#include <type_traits>
#include <vector>

#include "core/parallel.h"
#include "grid/ahead.h"
#include "grid/grid_cpu.h"

namespace recon::grid {

namespace {

constexpr int64_t kGrain = 2048;
constexpr int kAhead = 8;  // visits to a tensor, between asking for the gradient of a point and using it

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
    case 48:
      return body(std::integral_constant<int, 48>{});
    default:
      return body(std::integral_constant<int, 0>{});
  }
}

// A point in a tensor: what the tensor counts there, between which nodes of each vector it lies and how far.
template <class S>
struct visit {
  int32_t point, node[3];
  S weight, next[3];
};

// Vectors of a tensor: rows of R numbers, an axis after the other.
template <class S>
struct tensors {
  int n, R;
  const int32_t* table;
  const int* sites;
  S half;
  int64_t row(int32_t tensor, int axis, int node) const { return ((int64_t(tensor) * 3 + axis) * n + node) * R; }
};

// The tensors around a group of points, coordinate by coordinate, so that the compiler uses lanes.
template <class S>
struct group_around {
  alignas(64) int count[3][kGroup], site[2][3][kGroup], node[2][3][kGroup];
  alignas(64) S weight[2][3][kGroup], next[2][3][kGroup];

  void find(const tensors<S>& of, const S* u, int points) {
    alignas(64) S at[3][kGroup];
    coordinates_of<S>(u, nullptr, points, at);
    for (int i = 0; i < 3; ++i)
      for (int j = 0; j < kGroup; ++j) {
        const overlap<S> o = overlap_at(at[i][j], of.sites[i], of.half);
        count[i][j] = o.count;
        for (int s = 0; s < 2; ++s) {
          site[s][i][j] = o.site[s], weight[s][i][j] = o.weight[s];
          place(o.inside[s], of.n, node[s][i][j], next[s][i][j]);
        }
      }
  }
  // body(tensor, visit) for each tensor that holds point j, which is number `point`.
  template <class Body>
  void each(const tensors<S>& of, int j, int64_t point, const Body& body) const {
    for (int a = 0; a < count[0][j]; ++a)
      for (int b = 0; b < count[1][j]; ++b) {
        const int64_t line = (int64_t(site[a][0][j]) * of.sites[1] + site[b][1][j]) * of.sites[2];
        const S ab = weight[a][0][j] * weight[b][1][j];
        for (int c = 0; c < count[2][j]; ++c) {
          const int32_t tensor = of.table[line + site[c][2][j]];
          if (tensor >= 0)
            body(tensor, visit<S>{int32_t(point),
                                  {node[a][0][j], node[b][1][j], node[c][2][j]},
                                  ab * weight[c][2][j],
                                  {next[a][0][j], next[b][1][j], next[c][2][j]}});
        }
      }
  }
};

// The visits of a group of points, those of point j begin[j] .. begin[j + 1].
template <class S>
struct group_visits {
  int begin[kGroup + 1];
  const S* row[8 * kGroup][3];
  S weight[8 * kGroup], next[8 * kGroup][3];

  void find(const tensors<S>& of, const S* lines, const S* u, int points) {
    group_around<S> around;
    around.find(of, u, points);
    int found = 0;
    for (int j = 0; j < kGroup; ++j) {
      begin[j] = found;
      if (j < points)
        around.each(of, j, 0, [&](int32_t tensor, const visit<S>& v) {
          for (int i = 0; i < 3; ++i) {
            row[found][i] = lines + of.row(tensor, i, v.node[i]);
            next[found][i] = v.next[i];
          }
          weight[found++] = v.weight;
        });
    }
    begin[kGroup] = found;
  }
  void ask(const tensors<S>& of, int j) const {
    for (int k = begin[j]; k < begin[j + 1]; ++k)
      for (int i = 0; i < 3; ++i) ask_for<false>(row[k][i], 2 * of.R * sizeof(S));
  }
};

// Visits in the order of their tensors, those of a tensor in the order of the points: begin[t] .. begin[t + 1]. Each thread
// counts and then places those of its own points.
template <class S>
std::vector<visit<S>> visits_of(const tensors<S>& of, int64_t tensors, const S* u, int64_t count,
                                std::vector<int64_t>& begin) {
  const int64_t pieces = std::max<int64_t>(std::min<int64_t>(thread_count(), count / kGrain), 1);
  const int64_t length = (count + pieces - 1) / pieces;
  std::vector<std::vector<int64_t>> next(pieces, std::vector<int64_t>(tensors, 0));
  const auto go = [&](const auto& body) {
    parallel_for(pieces, [&](int64_t p) {
      group_around<S> group;
      const int64_t end = std::min(count, (p + 1) * length);
      for (int64_t i = p * length; i < end; i += kGroup) {
        const int points = int(std::min<int64_t>(end - i, kGroup));
        group.find(of, u + 3 * i, points);
        for (int j = 0; j < points; ++j)
          group.each(of, j, i + j, [&](int32_t t, const visit<S>& v) { body(next[p][t], v); });
      }
    });
  };
  go([](int64_t& counted, const visit<S>&) { ++counted; });
  begin.assign(tensors + 1, 0);
  int64_t total = 0;
  for (int64_t t = 0; t < tensors; ++t) {
    begin[t] = total;
    for (auto& of_piece : next) {
      const int64_t here = of_piece[t];
      of_piece[t] = total;
      total += here;
    }
  }
  begin[tensors] = total;
  std::vector<visit<S>> out(total);
  go([&](int64_t& at, const visit<S>& v) { out[at++] = v; });
  return out;
}

template <class P, class S>
P between(const S* row, int R, const P& next) {
  const P first = load<P>(row);
  return fma(next, load<P>(row + R) - first, first);
}

}  // namespace

template <class S>
void local(const S* lines, int n, int rank, const int32_t* table, const int* sites, S half, const S* u, int64_t count,
           S* out) {
  with_rank(rank, [&](auto fixed) {
    const int R = fixed.value ? fixed.value : rank;
    const tensors<S> of{n, R, table, sites, half};
    parallel_ranges(count, kGrain, [&](int64_t from, int64_t to) {
      points_ahead<group_visits<S>, requests::between>(
          from, to, [&](group_visits<S>& group, int64_t i, int points) { group.find(of, lines, u + 3 * i, points); },
          [&](const group_visits<S>& group, int j) { group.ask(of, j); },
          [&](const group_visits<S>& group, int64_t i, int j) {
            S* o = out + (i + j) * R;
            along_row<S, fixed.value>(R, [&](auto pack, int r) {
              using P = decltype(pack);
              P sum(S(0));
              for (int k = group.begin[j]; k < group.begin[j + 1]; ++k) {
                const auto value = [&](int axis) { return between<P>(group.row[k][axis] + r, R, P(group.next[k][axis])); };
                sum = fma(P(group.weight[k]) * value(0), value(1) * value(2), sum);
              }
              store(o + r, sum);
            });
          });
    });
  });
}

template <class S>
void local_backward(const S* lines, int64_t tensors_, int n, int rank, const int32_t* table, const int* sites, S half,
                    const S* u, int64_t count, const S* g_out, S* g_lines) {
  std::vector<int64_t> begin;
  with_rank(rank, [&](auto fixed) {
    const int R = fixed.value ? fixed.value : rank;
    const tensors<S> of{n, R, table, sites, half};
    const std::vector<visit<S>> visits = visits_of(of, tensors_, u, count, begin);
    parallel_for(tensors_, [&](int64_t t) {
      for (int64_t k = begin[t]; k < begin[t + 1]; ++k) {
        const visit<S>& v = visits[k];
        if (k + kAhead < begin[t + 1]) ask_for<false>(g_out + int64_t(visits[k + kAhead].point) * R, R * sizeof(S));
        int64_t row[3];
        for (int i = 0; i < 3; ++i) row[i] = of.row(int32_t(t), i, v.node[i]);
        const S* g = g_out + int64_t(v.point) * R;
        along_row<S, fixed.value>(R, [&](auto pack, int r) {
          using P = decltype(pack);
          P value[3];
          for (int i = 0; i < 3; ++i) value[i] = between<P>(lines + row[i] + r, R, P(v.next[i]));
          const P weighted = P(v.weight) * load<P>(g + r), first = weighted * value[0];
          const P to[3] = {weighted * value[1] * value[2], first * value[2], first * value[1]};
          for (int i = 0; i < 3; ++i) {
            S* o = g_lines + row[i] + r;
            const P further = P(v.next[i]) * to[i];
            store(o, load<P>(o) + (to[i] - further));
            store(o + R, load<P>(o + R) + further);
          }
        });
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
