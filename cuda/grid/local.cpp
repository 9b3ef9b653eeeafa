// CPU driver of local tensors. Where points lie in their tensors is found for a group of points at once, then each row of
// numbers is worked on in lanes. Backward tensor by tensor, each walking its points in order, so that the bits do not
// depend on the threads.
#include "grid/local.h"

#include <algorithm>
#include <memory>
#include <type_traits>
#include <vector>

#include "core/parallel.h"
#include "grid/ahead.h"
#include "grid/grid_cpu.h"

namespace recon::grid {

namespace {

constexpr int64_t kGrain = 2048;
constexpr int kAhead = 8;  // visits to a tensor, between asking for the gradient of a point and using it

// Corners that there are where a point has two sites along some axes (bits): those that are second along no other axis.
constexpr int kCornersOf[8] = {0x01, 0x03, 0x05, 0x0f, 0x11, 0x33, 0x55, 0xff};

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

// The tensors around a group of points, found in lanes.
template <class S>
struct group_around {
  // The site of each point in the table, how far away the second along each axis is, and along which axes there is one.
  alignas(64) int first[kGroup], away[3][kGroup], two[kGroup];
  alignas(64) int node[2][3][kGroup];
  alignas(64) S weight[2][3][kGroup], next[2][3][kGroup];

  // Not inlined: where it is, gcc does not use lanes.
  [[gnu::noinline]] void find(const tensors<S>& of, const S* u, int points) {
    alignas(64) S at[3][kGroup];
    coordinates_of<S>(u, nullptr, points, at);
    alignas(64) int site[2][3][kGroup], count[3][kGroup];
    for (int i = 0; i < 3; ++i)
      for (int j = 0; j < kGroup; ++j) {
        const overlap<S> o = overlap_at(at[i][j], of.sites[i], of.half);
        count[i][j] = o.count;
        for (int s = 0; s < 2; ++s) {
          site[s][i][j] = o.site[s], weight[s][i][j] = o.weight[s];
          place(o.inside[s], of.n, node[s][i][j], next[s][i][j]);
        }
      }
    const int z = of.sites[2], yz = of.sites[1] * z;
    for (int j = 0; j < kGroup; ++j) {
      first[j] = site[0][0][j] * yz + site[0][1][j] * z + site[0][2][j];
      away[0][j] = (site[1][0][j] - site[0][0][j]) * yz;
      away[1][j] = (site[1][1][j] - site[0][1][j]) * z;
      away[2][j] = site[1][2][j] - site[0][2][j];
      two[j] = (count[0][j] - 1) | (count[1][j] - 1) << 1 | (count[2][j] - 1) << 2;
    }
  }
  // body(tensor, corner) for each tensor that holds point j, one bit of `corner` for each axis.
  template <class Body>
  void each(const tensors<S>& of, int j, const Body& body) const {
    for (int left = kCornersOf[two[j]]; left; left &= left - 1) {
      const int c = __builtin_ctz(left);
      const int32_t t =
          of.table[first[j] + (c & 1 ? away[0][j] : 0) + (c & 2 ? away[1][j] : 0) + (c & 4 ? away[2][j] : 0)];
      if (t >= 0) body(t, c);
    }
  }
  S weight_at(int c, int j) const { return weight[c & 1][0][j] * weight[c >> 1 & 1][1][j] * weight[c >> 2][2][j]; }
};

// Points of one thread: which tensors hold them, group by group.
struct found {
  struct held {
    int32_t tensor, at;  // 8 j + corner of point j of the group
  };
  std::unique_ptr<held[]> all;  // not set to zero first, here and below: that would take as long as to fill it
  std::vector<int64_t> begin, next;  // of each group; of each tensor: how many, then where the next visit goes
};

// Visits in the order of their tensors, those of a tensor in the order of the points: begin[t] .. begin[t + 1]. Each thread
// counts and then places those of its own points.
template <class S>
std::unique_ptr<visit<S>[]> visits_of(const tensors<S>& of, int64_t tensors, const S* u, int64_t count,
                                      std::vector<int64_t>& begin) {
  const int64_t groups = (count + kGroup - 1) / kGroup;
  std::vector<found> pieces(std::max<int64_t>(std::min<int64_t>(thread_count(), count / kGrain), 1));
  const int64_t length = (groups + pieces.size() - 1) / pieces.size();
  const auto go = [&](const auto& body) {
    parallel_for(pieces.size(), [&](int64_t p) {
      group_around<S> around;
      for (int64_t g = p * length; g < std::min(groups, (p + 1) * length); ++g) {
        const int points = int(std::min<int64_t>(count - g * kGroup, kGroup));
        around.find(of, u + 3 * kGroup * g, points);
        body(pieces[p], around, g, g - p * length, points);
      }
    });
  };
  for (found& piece : pieces) {
    piece.next.assign(tensors, 0), piece.begin.assign(length + 1, 0);
    piece.all.reset(new found::held[8 * kGroup * length]);
  }
  go([&](found& piece, const group_around<S>& around, int64_t, int64_t own, int points) {
    found::held* to = piece.all.get() + piece.begin[own];
    for (int j = 0; j < points; ++j) around.each(of, j, [&](int32_t t, int c) { *to++ = {t, 8 * j + c}; });
    piece.begin[own + 1] = to - piece.all.get();
  });
  int64_t total = 0;
  parallel_for(pieces.size(), [&](int64_t p) {
    found& piece = pieces[p];
    for (int64_t k = 0, end = *std::max_element(piece.begin.begin(), piece.begin.end()); k < end; ++k)
      ++piece.next[piece.all[k].tensor];
  });
  begin.assign(tensors + 1, 0);
  for (int64_t t = 0; t < tensors; ++t) {
    begin[t] = total;
    for (found& piece : pieces) {
      const int64_t here = piece.next[t];
      piece.next[t] = total;
      total += here;
    }
  }
  begin[tensors] = total;
  std::unique_ptr<visit<S>[]> out(new visit<S>[total]);
  go([&](found& piece, const group_around<S>& around, int64_t g, int64_t own, int) {
    for (int64_t k = piece.begin[own]; k < piece.begin[own + 1]; ++k) {
      const int j = piece.all[k].at >> 3, c = piece.all[k].at & 7;
      visit<S>& v = out[piece.next[piece.all[k].tensor]++];
      v.point = int32_t(g * kGroup + j), v.weight = around.weight_at(c, j);
      for (int i = 0; i < 3; ++i) {
        const int side = c >> i & 1;
        v.node[i] = around.node[side][i][j], v.next[i] = around.next[side][i][j];
      }
    }
  });
  return out;
}

template <class P>
inline constexpr int lanes_of = traits<P>::lanes;

// Calls body(pack, how many, r) for the pieces of a row that fit into registers: all of one whose length is known.
template <class S, int C, class Body>
void pieces_of_row(int columns, const Body& body) {
  if constexpr (C > 0)
    body(pack<S, kRowLanes<C>>(), std::integral_constant<int, C / kRowLanes<C>>{}, 0);
  else
    along_row<S, 0>(columns, [&](auto pack, int r) { body(pack, std::integral_constant<int, 1>{}, r); });
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
      group_around<S> group;
      for (int64_t i = from; i < to; i += kGroup) {
        const int points = int(std::min<int64_t>(to - i, kGroup));
        group.find(of, u + 3 * i, points);
        for (int j = 0; j < points; ++j)
          pieces_of_row<S, fixed.value>(R, [&](auto pack, auto many, int r) {
            using P = decltype(pack);
            P sum[many.value];
            for (P& each : sum) each = P(S(0));
            group.each(of, j, [&](int32_t t, int c) {
              const S *row[3], w = group.weight_at(c, j);
              P next[3];
              for (int i = 0; i < 3; ++i) {
                const int side = c >> i & 1;
                row[i] = lines + of.row(t, i, group.node[side][i][j]) + r;
                next[i] = P(group.next[side][i][j]);
              }
              for (int k = 0; k < many.value; ++k) {
                const auto value = [&](int axis) { return between<P>(row[axis] + k * lanes_of<P>, R, next[axis]); };
                sum[k] = fma(P(w) * value(0), value(1) * value(2), sum[k]);
              }
            });
            for (int k = 0; k < many.value; ++k) store(out + (i + j) * R + r + k * lanes_of<P>, sum[k]);
          });
      }
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
    const auto visits = visits_of(of, tensors_, u, count, begin);
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
