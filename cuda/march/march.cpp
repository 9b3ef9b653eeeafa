// CPU driver: what depends on one sample alone in packs over the samples of some rays, then along each ray a pack of
// neighbouring samples at a time, what lies before and behind them by running sums over the lanes.
#include "march/march.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "core/lane_rows.h"
#include "core/pack.h"
#include "core/parallel.h"
#include "march/march_cpu.h"
#include "march/scan.h"

namespace recon::march {

namespace {

constexpr int64_t kRays = 256;     // rays that are one piece of work
constexpr int64_t kSamples = 768;  // samples that are handled together: what is kept of them stays in the nearest cache
constexpr int L = kLanes;

template <class S>
using lanes_of = pack<S, L>;

// Numbers for samples, with room for packs that begin at any of them.
template <class S>
struct row {
  std::vector<S> values;
  S* sized(int64_t n) {
    if (int64_t(values.size()) < n + 2 * L) values.resize(n + 2 * L);
    return values.data() + L;
  }
};

// Calls body(first, last ray) for rays that have about kSamples samples together.
template <class Body>
void in_turns(const int32_t* offsets, int64_t first, int64_t last, const Body& body) {
  while (first < last) {
    int64_t to = first + 1;
    while (to < last && offsets[to + 1] - offsets[first] <= kSamples) ++to;
    body(first, to);
    first = to;
  }
}

// alpha, exp(-tau) and d tau / d raw of samples [from, to). One function at a time for all of them: in one loop each has to
// wait for the one before, and the processor does not look far enough ahead to fill the pause with other samples.
template <class S>
void opacities(const S* raw, int64_t from, int64_t to, S delta, S shift, S* alpha, S* through, S* slope) {
  using P = lanes_of<S>;
  const int64_t n = to - from;
  const auto shifted = [&](int64_t i) {
    return load_part<P>(raw + from + i, int(std::min<int64_t>(L, n - i))) + P(shift);
  };
  for (int64_t i = 0; i < n; i += L) store(through + i, raised(shifted(i)));
  for (int64_t i = 0; i < n; i += L) {
    P d;
    store(alpha + i, softplus(shifted(i), load<P>(through + i), d) * P(delta));  // the optical depth
    if (slope) store(slope + i, d * P(delta));
  }
  for (int64_t i = 0; i < n; i += L) store(through + i, passed(load<P>(alpha + i)));
  for (int64_t i = 0; i < n; i += L) store(alpha + i, opacity_of(load<P>(alpha + i), load<P>(through + i)));
}

// Distances of samples [from, to) as the distortion sees them.
template <class S>
void places(const S* t, int64_t from, int64_t to, S* place) {
  using P = lanes_of<S>;
  for (int64_t i = 0; i < to - from; i += L)
    store(place + i, bent(load_part<P>(t + from + i, int(std::min<int64_t>(L, to - from - i)), S(1))));
}

template <class P>
mask_of<P> lanes_below(int64_t count) {  // lanes 0 .. count - 1
  return from_bits<P>(count >= L ? (1u << L) - 1 : count > 0 ? (1u << count) - 1 : 0);
}

// Widths of samples i .. of a ray [begin, end), from their places.
template <class P, class S = scalar_of<P>>
P widths(const S* place, int64_t i, int64_t begin, int64_t end) {
  const P here = load<P>(place + i), none(0);
  const auto first = lanes_below<P>(i == begin), before_last = lanes_below<P>(end - 1 - i);
  const P before = select(first, none, here - load<P>(place + i - 1));
  const P after = select(before_last, load<P>(place + i + 1) - here, none);
  // The last one has no gap behind it: both arguments of the smaller one are then the gap before it.
  return recon::min(select(first, after, before), select(before_last, after, before));
}

// One past the last of the chosen samples that lie before sample `to`.
int64_t chosen_before(const int32_t* index, int64_t chosen, int64_t to) {
  return std::lower_bound(index, index + chosen, to) - index;
}

// One past the last of the chosen samples from `k` on that lie before sample `to`: few of them, one after another.
int64_t chosen_of(const int32_t* index, int64_t k, int64_t chosen, int64_t to) {
  while (k < chosen && index[k] < to) ++k;
  return k;
}

}  // namespace

void distance_to_occupied(uint8_t* cells, const int* size) {
  const int64_t nx = size[0], ny = size[1], nz = size[2];
  for (int64_t i = 0; i < nx * ny * nz; ++i) cells[i] = cells[i] ? 0 : 255;
  std::vector<uint8_t> around(nz + 2, 255);  // least of the rows before, one cell of room at both ends
  // Two sweeps over half of the neighbours each: exact for the maximum norm. Of a row, what the rows before it say is
  // found for all cells at once, and only the neighbour in the row itself one after another.
  for (int sign = -1; sign <= 1; sign += 2)
    for (int64_t j = 0; j < nx * ny; ++j) {
      const int64_t i = sign < 0 ? j : nx * ny - 1 - j, x = i / ny, y = i % ny;
      uint8_t *row = cells + i * nz, *least = around.data() + 1;
      std::fill(around.begin(), around.end(), uint8_t(255));
      for (const auto& [dx, dy] : {std::pair{1, -1}, {1, 0}, {1, 1}, {0, 1}}) {
        const int64_t a = x + sign * dx, b = y + sign * dy;
        if (a < 0 || b < 0 || a >= nx || b >= ny) continue;
        const uint8_t* other = cells + (a * ny + b) * nz;
        for (int64_t z = 0; z < nz; ++z) least[z] = std::min(least[z], other[z]);
      }
      for (int64_t z = 0; z < nz; ++z) {
        const uint8_t near = std::min(least[z], std::min(least[z - 1], least[z + 1]));
        row[z] = std::min(row[z], uint8_t(near + (near < 255)));
      }
      int before = 255;
      for (int64_t k = 0; k < nz; ++k) {
        const int64_t z = sign < 0 ? k : nz - 1 - k;
        before = std::min(int(row[z]), std::min(before + 1, 255));
        row[z] = uint8_t(before);
      }
    }
}

namespace {

using P = pack<float, L>;

// Distances of the samples of some rays, one after another; room() makes space for more without filling it.
struct distances {
  std::vector<line> rays;  // as they were walked, where nothing lies outside of the box
  std::unique_ptr<float[]> t;
  int64_t count = 0, capacity = 0;
  void room(int64_t more) {
    if (count + more <= capacity) return;
    capacity = std::max<int64_t>(2 * capacity, count + more + 4096);
    std::unique_ptr<float[]> larger(new float[capacity]);
    std::copy_n(t.get(), count, larger.get());
    t = std::move(larger);
  }
};

// The samples of a ray where nothing lies outside of the box, as walk() finds them, a pack of them looked up at once.
// Copies, not references: as far as the compiler knows, what is written might change what they refer to.
void walk_lanes(const line ray, const span s, const occupancy grid, distances& out) {
  alignas(64) float t[L];
  alignas(64) int32_t cell[L];
  int count = ray.count;
  while (count > 0 && !(ray.t(count - 1) < s.end)) --count;
  const int64_t cells = int64_t(grid.size[0]) * grid.size[1] * grid.size[2];
  float *to = out.t.get() + out.count, *end = out.t.get() + out.capacity;
  for (int k = 0; k < count;) {
    if (end - to < L) {
      out.count = to - out.t.get();
      out.room(L);
      to = out.t.get() + out.count, end = out.t.get() + out.capacity;
    }
    for (int j = 0; j < L; ++j) {
      t[j] = ray.t(k + j);
      cell[j] = cell_of(grid, ray.unit(0, t[j]), ray.unit(1, t[j]), ray.unit(2, t[j]));
    }
    const uint32_t there = to_bits(lanes_below<P>(count - k));  // those beyond the end are held inside
    to += store_where(to, load<P>(t), zeros_at<L>(grid.cells, cells, cell) & there);
    // Whether the last one is occupied is foreseen mostly: the next pack then need not wait until its cell is known.
    const int away = grid.cells[cell[L - 1]];
    k += L;
    if (away > 0) k += ray.steps_over(away) - 1;
  }
  out.count = to - out.t.get();
}

domain<P> in_lanes(const domain<float>& box) {
  domain<P> out;
  for (int i = 0; i < 3; ++i) out.lo[i] = P(box.lo[i]), out.hi[i] = P(box.hi[i]);
  out.margin = P(box.margin);
  return out;
}

// The samples of `rays` <= L rays from `first` on where the outside is contracted, as walk() finds them, all rays at
// once: along a ray each step has to wait for the one before.
template <class Span>
void walk_together(const float* origin, const float* direction, int64_t first, int rays, const domain<float>& box,
                   const occupancy& grid, float step, const Span& span_at, std::vector<float>* out) {
  const domain<P> lanes = in_lanes(box);
  alignas(64) float t[L], end[L], reach[L], o[3][L], d[3][L], unit[3][L], h[L];
  alignas(64) int32_t cell[L], away[L];
  for (int j = 0; j < L; ++j) {
    const int64_t r = first + std::min(j, rays - 1);
    const span s = span_at(r);
    t[j] = s.first, end[j] = j < rays ? s.end : s.first, reach[j] = s.reach;
    for (int i = 0; i < 3; ++i) o[i][j] = origin[3 * r + i], d[i][j] = direction[3 * r + i];
    out[j].clear();
  }
  for (;;) {
    const P now = load<P>(t);
    if (!any(now < load<P>(end))) return;
    P x[3], u[3];
    for (int i = 0; i < 3; ++i) x[i] = load<P>(o[i]) + now * load<P>(d[i]);
    store(h, P(step) * recon::max(unit_from_world(lanes, x, u), P(1)));
    for (int i = 0; i < 3; ++i) store(unit[i], u[i]);
    for (int j = 0; j < L; ++j) cell[j] = cell_of(grid, unit[0][j], unit[1][j], unit[2][j]);
    for (int j = 0; j < L; ++j) away[j] = grid.cells[cell[j]];
    for (int j = 0; j < L; ++j)
      if (away[j] == 0 && t[j] < end[j]) out[j].push_back(t[j]);
    for (int j = 0; j < L; ++j) {
      const float next = t[j] + h[j] * steps_over(away[j], reach[j], h[j]);
      t[j] = t[j] < end[j] ? next : t[j];
    }
  }
}

// As many points as lanes. One path of store_rows, so short that it is worth compiling where it is used.
RECON_HD void store_points(float* to, const P* u) {
#if defined(__AVX512F__)
  store_triples(to, u);
#else
  store_rows<P>(to, 3, L, 3, u);
#endif
}

// Where samples go: distances and unit positions. There is room for so many more of this task, and what is written behind
// those of one ray is written over by the next.
struct written {
  float *t, *unit;
  int64_t room;
  void put(const P& distance, const P* u, int count) {
    if (room >= L) {
      store(t, distance);
      store_points(unit, u);
    } else {
      float all[3 * L];
      store_points(all, u);
      std::copy_n(all, 3 * count, unit);
      store_part(t, distance, count);
    }
    t += count, unit += 3 * count, room -= count;
  }
};

// Samples of a ray where nothing lies outside.
void straight(const line ray, const float* t, int64_t count, written& to) {
  for (int64_t k = 0; k < count; k += L) {
    const int valid = int(std::min<int64_t>(L, count - k));
    const P now = load_part<P>(t + k, valid);
    P u[3];
    for (int i = 0; i < 3; ++i) u[i] = held_inside(P(ray.at[i]) + now * P(ray.slope[i]));
    to.put(now, u, valid);
  }
}

// Samples of a ray where the outside is contracted.
void contracted(const float* o, const float* d, const float* t, int64_t count, const domain<float>& box, written& to) {
  const domain<P> lanes = in_lanes(box);
  for (int64_t k = 0; k < count; k += L) {
    const int valid = int(std::min<int64_t>(L, count - k));
    const P now = load_part<P>(t + k, valid);
    P x[3], u[3];
    for (int i = 0; i < 3; ++i) x[i] = P(o[i]) + now * P(d[i]);
    unit_from_world(lanes, x, u);
    for (int i = 0; i < 3; ++i) u[i] = held_inside(u[i]);
    to.put(now, u, valid);
  }
}

}  // namespace

samples sample_rays(const float* origin, const float* direction, const float* offset, int64_t n,
                    const domain<float>& box, const occupancy& grid, float near, float far, float step) {
  constexpr int64_t kGroup = 64;
  const int64_t groups = (n + kGroup - 1) / kGroup;
  std::vector<distances> parts(groups);
  samples all;
  all.offsets.reset(new int32_t[n + 1]);
  all.offsets[0] = 0;
  const bool bounded = !(box.margin > 0);
  const auto span_at = [&](int64_t r) {
    return span_of(origin + 3 * r, direction + 3 * r, offset[r], box, grid, near, far, step);
  };
  parallel_for(groups, [&](int64_t g) {
    distances& out = parts[g];
    const int64_t last = std::min(n, (g + 1) * kGroup);
    if (bounded) out.rays.reserve(kGroup);
    if (!bounded) {
      std::vector<float> found[L];
      for (int64_t r = g * kGroup; r < last; r += L) {
        const int rays = int(std::min<int64_t>(L, last - r));
        walk_together(origin, direction, r, rays, box, grid, step, span_at, found);
        for (int j = 0; j < rays; ++j) {
          const int64_t count = int64_t(found[j].size());
          out.room(count);
          std::copy_n(found[j].data(), count, out.t.get() + out.count);
          out.count += count;
          all.offsets[r + j + 1] = int32_t(count);
        }
      }
      return;
    }
    for (int64_t r = g * kGroup; r < last; ++r) {
      const int64_t before = out.count;
      const span s = span_at(r);
      out.rays.emplace_back(origin + 3 * r, direction + 3 * r, s, box, step);
      walk_lanes(out.rays.back(), s, grid, out);
      all.offsets[r + 1] = int32_t(out.count - before);
    }
  });
  for (int64_t r = 0; r < n; ++r) all.offsets[r + 1] += all.offsets[r];
  all.count = all.offsets[n];
  all.t.reset(new float[all.count]);
  all.position.reset(new float[3 * all.count]);
  parallel_for(groups, [&](int64_t g) {
    const float* t = parts[g].t.get();
    const int64_t first = all.offsets[g * kGroup];
    written to{all.t.get() + first, all.position.get() + 3 * first, all.offsets[std::min(n, (g + 1) * kGroup)] - first};
    for (int64_t r = g * kGroup; r < std::min(n, (g + 1) * kGroup); ++r) {
      const int64_t count = all.offsets[r + 1] - all.offsets[r];
      if (bounded)
        straight(parts[g].rays[r - g * kGroup], t, count, to);
      else
        contracted(origin + 3 * r, direction + 3 * r, t, count, box, to);
      t += count;
    }
  });
  return all;
}

template <class S>
void weights(const S* raw, const int32_t* offsets, int64_t rays, S delta, S shift, S end, S* weight) {
  using P = lanes_of<S>;
  parallel_ranges(rays, kRays, [&](int64_t first, int64_t last) {
    row<S> rows[2];
    in_turns(offsets, first, last, [&](int64_t r0, int64_t r1) {
      const int64_t from = offsets[r0], n = offsets[r1] - from;
      S *alpha = rows[0].sized(n), *through = rows[1].sized(n);
      opacities<S>(raw, from, offsets[r1], delta, shift, alpha, through, nullptr);
      for (int64_t r = r0; r < r1; ++r) {
        P T(1);
        for (int64_t i = offsets[r] - from, to = offsets[r + 1] - from; i < to; i += L) {
          const int count = int(std::min<int64_t>(L, to - i));
          const P behind = T * products_before(load<P>(through + i)), before = from_before<1>(behind, T);
          store_part(weight + from + i, select(before < P(end), P(0), before * load<P>(alpha + i)), count);
          T = last_lane(behind);
        }
      }
    });
  });
}

template <class S>
void composite(const S* raw, const S* t, const int32_t* offsets, int64_t rays, const S* colour, const int32_t* index,
               int64_t chosen, const S* background, S delta, S shift, S* rgb, S* depth, S* T, S* distortion) {
  using P = lanes_of<S>;
  parallel_ranges(rays, kRays, [&](int64_t first, int64_t last) {
    row<S> rows[4];
    int64_t k = chosen_before(index, chosen, offsets[first]);
    in_turns(offsets, first, last, [&](int64_t r0, int64_t r1) {
      const int64_t from = offsets[r0], n = offsets[r1] - from;
      S *alpha = rows[0].sized(n), *through = rows[1].sized(n), *place = rows[2].sized(n), *w = rows[3].sized(n);
      opacities<S>(raw, from, offsets[r1], delta, shift, alpha, through, nullptr);
      places(t, from, offsets[r1], place);
      for (int64_t r = r0; r < r1; ++r) {
        const int64_t begin = offsets[r] - from, to = offsets[r + 1] - from;
        ray_sums<P> sums;  // lane by lane, and what lies before each lane's sample
        P T_before(1), weight(0), weighted(0);
        for (int64_t i = begin; i < to; i += L) {
          const auto there = lanes_below<P>(to - i);
          const P a = select(there, load<P>(alpha + i), P(0)), e = select(there, load<P>(through + i), P(1));
          const P s = load<P>(place + i), behind = T_before * products_before(e);
          sums.T = from_before<1>(behind, T_before);
          const P mine = sums.T * a, all = weight + sums_before(mine), all_placed = weighted + sums_before(mine * s);
          sums.weight = from_before<1>(all, weight);
          sums.weighted = from_before<1>(all_placed, weighted);
          const P* none = nullptr;
          const P distance = load_part<P>(t + from + i, int(std::min<int64_t>(L, to - i)));
          store(w + i, blend(sums, a, e, none, distance, s, widths<P>(place, i, begin, to)));
          T_before = last_lane(behind);
          weight = last_lane(all);
          weighted = last_lane(all_placed);
        }
        S colours[3] = {};
        const int64_t own = chosen_of(index, k, chosen, offsets[r + 1]);
        if (own - k >= L) {
          P sum[3] = {P(0), P(0), P(0)}, c[3];
          for (; k + L <= own; k += L) {
            S mine[L];
            for (int j = 0; j < L; ++j) mine[j] = w[index[k + j] - from];
            load_rows<P>(colour + 3 * k, 3, L, 3, c);
            for (int j = 0; j < 3; ++j) sum[j] = fma(load<P>(mine), c[j], sum[j]);
          }
          for (int j = 0; j < 3; ++j) colours[j] = hsum(sum[j]);
        }
        for (; k < own; ++k)
          for (int c = 0; c < 3; ++c) colours[c] += w[index[k] - from] * colour[3 * k + c];
        S left[L];
        store(left, T_before);
        for (int c = 0; c < 3; ++c) rgb[3 * r + c] = colours[c] + left[0] * background[c];
        T[r] = left[0];
        depth[r] = hsum(sums.depth);
        distortion[r] = hsum(sums.distortion);
      }
    });
  });
}

namespace {

// Adds dL/dw of the distortion of samples [begin, to) of one ray.
template <class P, class S = scalar_of<P>>
void distortion_along(const S* w, const S* place, int64_t begin, int64_t to, S g, S* g_w) {
  P all(0), all_s(0);
  for (int64_t i = begin; i < to; i += L) {
    const P mine = select(lanes_below<P>(to - i), load<P>(w + i), P(0));
    all = all + mine;
    all_s = all_s + mine * load<P>(place + i);
  }
  all = P(hsum(all)), all_s = P(hsum(all_s));
  P before(0), s_before(0);
  for (int64_t i = begin; i < to; i += L) {
    const auto there = lanes_below<P>(to - i);
    const P mine = select(there, load<P>(w + i), P(0)), s = load<P>(place + i);
    const P with = before + sums_before(mine), s_with = s_before + sums_before(mine * s);
    const P dw = distortion_backward(mine, s, widths<P>(place, i, begin, to), from_before<1>(with, before),
                                     from_before<1>(s_with, s_before), all - with, all_s - s_with);
    store(g_w + i, load<P>(g_w + i) + select(there, P(g) * dw, P(0)));
    before = last_lane(with);
    s_before = last_lane(s_with);
  }
}

}  // namespace

template <class S>
void composite_backward(const S* raw, const S* t, const int32_t* offsets, int64_t rays, const S* colour,
                        const int32_t* index, int64_t chosen, const S* background, S delta, S shift, const S* g_rgb,
                        const S* g_T, const S* g_distortion, S* g_raw, S* g_colour) {
  using P = lanes_of<S>;
  parallel_ranges(rays, kRays, [&](int64_t first, int64_t last) {
    row<S> rows[7];
    int64_t k = chosen_before(index, chosen, offsets[first]);
    in_turns(offsets, first, last, [&](int64_t r0, int64_t r1) {
      const int64_t from = offsets[r0], n = offsets[r1] - from;
      S *alpha = rows[0].sized(n), *through = rows[1].sized(n), *slope = rows[2].sized(n), *w = rows[3].sized(n),
        *g_w = rows[4].sized(n), *behind = rows[5].sized(n), *place = rows[6].sized(n);
      opacities<S>(raw, from, offsets[r1], delta, shift, alpha, through, slope);
      if (std::any_of(g_distortion + r0, g_distortion + r1, [](S g) { return g != 0; }))
        places(t, from, offsets[r1], place);
      std::fill(g_w, g_w + n + L, S(0));
      for (int64_t r = r0; r < r1; ++r) {
        const int64_t begin = offsets[r] - from, to = offsets[r + 1] - from;
        const S* g = g_rgb + 3 * r;
        P T(1);
        for (int64_t i = begin; i < to; i += L) {
          const auto there = lanes_below<P>(to - i);
          const P e = select(there, load<P>(through + i), P(1)), after = T * products_before(e);
          store(w + i, from_before<1>(after, T) * load<P>(alpha + i));
          store(behind + i, after);
          T = last_lane(after);
        }
        const int64_t own = chosen_of(index, k, chosen, offsets[r + 1]);
        for (; k + L <= own; k += L) {
          P c[3];
          S mine[L], seen[L];
          load_rows<P>(colour + 3 * k, 3, L, 3, c);
          store(seen, fma(P(g[2]), c[2], fma(P(g[1]), c[1], P(g[0]) * c[0])));
          for (int j = 0; j < L; ++j) {
            g_w[index[k + j] - from] = seen[j];
            mine[j] = w[index[k + j] - from];
          }
          for (int j = 0; j < 3; ++j) c[j] = P(g[j]) * load<P>(mine);
          store_rows<P>(g_colour + 3 * k, 3, L, 3, c);
        }
        for (; k < own; ++k) {
          const int64_t i = index[k] - from;
          const S *c = colour + 3 * k, mine = w[i];
          g_w[i] = g[0] * c[0] + g[1] * c[1] + g[2] * c[2];
          for (int j = 0; j < 3; ++j) g_colour[3 * k + j] = g[j] * mine;
        }
        if (g_distortion[r] != 0) distortion_along<P>(w, place, begin, to, g_distortion[r], g_w);
        S left[L];
        store(left, T);
        P rest(left[0] * (g_T[r] + g[0] * background[0] + g[1] * background[1] + g[2] * background[2]));
        for (int64_t i = begin + (to - begin - 1) / L * L; i >= begin; i -= L) {  // no sample: none
          const auto there = lanes_below<P>(to - i);
          const P gw = load<P>(g_w + i), added = select(there, load<P>(w + i) * gw, P(0));
          const P all = rest + sums_behind(added);
          const P g_tau = blend_backward(gw, load<P>(behind + i), from_behind<1>(all, rest));
          store_part(g_raw + from + i, g_tau * load<P>(slope + i), int(std::min<int64_t>(L, to - i)));
          rest = first_lane(all);
        }
      }
    });
  });
}

#define RECON_INSTANTIATE(S)                                                                                           \
  template void weights<S>(const S*, const int32_t*, int64_t, S, S, S, S*);                                            \
  template void composite<S>(const S*, const S*, const int32_t*, int64_t, const S*, const int32_t*, int64_t, const S*, \
                             S, S, S*, S*, S*, S*);                                                                    \
  template void composite_backward<S>(const S*, const S*, const int32_t*, int64_t, const S*, const int32_t*, int64_t,  \
                                      const S*, S, S, const S*, const S*, const S*, S*, S*);
RECON_INSTANTIATE(float)
RECON_INSTANTIATE(double)
#undef RECON_INSTANTIATE

}  // namespace recon::march
