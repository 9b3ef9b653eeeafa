// Front-to-back compositing of tiles and its backward, on lanes that cover a small block of pixels.
//
// A tile is 16x16 pixels, cut into blocks of one pack each (4x4 pixels at 16 lanes). Per (tile, Gaussian) an exact test
// marks the blocks it reaches; only those are visited. Backward walks front to back too, recomputing alpha with the
// same instructions: with h = g.c and R = what is still to come of g.C, dL/dalpha = T h - R / (1 - alpha).
#pragma once

#include <cstring>

#include "bin.h"
#include "core/pack.h"

namespace recon {

inline constexpr uint32_t kBatch = 32;  // entries whose block masks are found together
inline constexpr int kAhead = 6;  // entries of a tile list whose records are fetched in advance

template <class P>
struct block_shape {
  static constexpr int lanes = traits<P>::lanes;
  static constexpr int width = lanes >= 8 ? 4 : 2, height = lanes / width;
  static constexpr int per_row = kTile / width, rows = kTile / height, count = per_row * rows;
};

template <class S>
RECON_HD blob<S> blob_of(const S* r) {
  return blob_from_splat(r[kMx], r[kMy], r[kA], r[kB], r[kC], r[kLog2Opacity]);
}

template <class P, int CH>
struct tile_state {
  using S = scalar_of<P>;
  using shape = block_shape<P>;
  static constexpr int blocks = shape::count, pixels = kTile * kTile;
  alignas(64) S transmittance[pixels];
  alignas(64) S channel[CH][pixels];  // forward: colour so far; backward: dL/d(colour)
  alignas(64) S rest[pixels];  // backward: R
  alignas(64) S block_x[blocks], block_y[blocks];
  P lane_x, lane_y;
  int x0, y0, columns, rows;  // of the picture inside this tile

  void place(int tile, const bins& b) {
    x0 = (tile % b.tiles_x) * kTile;
    y0 = (tile / b.tiles_x) * kTile;
    columns = std::min(kTile, b.width - x0);
    rows = std::min(kTile, b.height - y0);
    for (int k = 0; k < blocks; ++k) {
      block_x[k] = S(x0 + (k % shape::per_row) * shape::width);
      block_y[k] = S(y0 + (k / shape::per_row) * shape::height);
    }
    S lx[shape::lanes], ly[shape::lanes];
    for (int i = 0; i < shape::lanes; ++i) {
      lx[i] = S(i % shape::width) + S(0.5);
      ly[i] = S(i / shape::width) + S(0.5);
    }
    lane_x = load<P>(lx);
    lane_y = load<P>(ly);
    for (int i = 0; i < pixels; ++i) transmittance[i] = S(1);
    if (columns < kTile || rows < kTile)  // lanes outside the picture have ended before they begin
      for_pixels([&](int lane, int x, int y) {
        if (x >= columns || y >= rows) transmittance[lane] = S(0);
      });
  }

  // visit(index in block order, x, y in the tile)
  template <class Visit>
  static void for_pixels(const Visit& visit) {
    for (int k = 0; k < blocks; ++k)
      for (int i = 0; i < shape::lanes; ++i)
        visit(k * shape::lanes + i, (k % shape::per_row) * shape::width + i % shape::width,
              (k / shape::per_row) * shape::height + i / shape::width);
  }
  void gather(const S* plane, int64_t stride, S* to) const {  // a plane of the picture -> block order, 0 outside
    if (columns == kTile && rows == kTile) {
      for (int y = 0; y < kTile; ++y)
        for (int bx = 0; bx < shape::per_row; ++bx)
          std::memcpy(
              to + ((y / shape::height) * shape::per_row + bx) * shape::lanes + (y % shape::height) * shape::width,
              plane + (y0 + y) * stride + x0 + bx * shape::width, sizeof(S) * shape::width);
      return;
    }
    for_pixels(
        [&](int lane, int x, int y) { to[lane] = x < columns && y < rows ? plane[(y0 + y) * stride + x0 + x] : S(0); });
  }
  void scatter(const S* from, S* plane, int64_t stride) const {
    if (columns == kTile && rows == kTile) {
      for (int y = 0; y < kTile; ++y)
        for (int bx = 0; bx < shape::per_row; ++bx)
          std::memcpy(
              plane + (y0 + y) * stride + x0 + bx * shape::width,
              from + ((y / shape::height) * shape::per_row + bx) * shape::lanes + (y % shape::height) * shape::width,
              sizeof(S) * shape::width);
      return;
    }
    for_pixels([&](int lane, int x, int y) {
      if (x < columns && y < rows) plane[(y0 + y) * stride + x0 + x] = from[lane];
    });
  }

  // Blocks whose pixel centres the Gaussian reaches; a hair generous, the pixel test decides.
  uint64_t reach(const blob<S>& b) const {
    const blob<P> wide{P(b.mx), P(b.my), P(b.A2), P(b.B2), P(b.C2), P(b.lo)};
    const blob_slopes<S> slope = slopes_of(b);
    const blob_slopes<P> slopes{P(slope.dy_per_dx), P(slope.dx_per_dy)};
    const P limit(b.lo + S(kLog2Of255 + 2e-3));
    const P left(S(0.5) - b.mx), top(S(0.5) - b.my), w(S(shape::width - 1)), h(S(shape::height - 1));
    uint64_t mask = 0;
    for (int k = 0; k < blocks; k += shape::lanes) {
      const P x = load<P>(block_x + k) + left, y = load<P>(block_y + k) + top;
      mask |= uint64_t(to_bits(blob_min_over(wide, slopes, x, y, x + w, y + h) <= limit)) << k;
    }
    return mask;
  }
};

// picture [CH][height][width] (CH = 3: rgb, 4: rgb and depth), transmittance [height][width]. Channels beyond rgb get
// no background. The background is added here.
template <class P, int CH>
void composite_tile_forward(int tile, const scalar_of<P>* records, bins& b, const scalar_of<P>* background,
                            scalar_of<P>* picture, scalar_of<P>* transmittance) {
  using S = scalar_of<P>;
  using state = tile_state<P, CH>;
  constexpr int L = traits<P>::lanes;
  state s;
  s.place(tile, b);
  std::memset(s.channel, 0, sizeof s.channel);
  uint64_t live = 0;
  for (int k = 0; k < state::blocks; ++k)
    for (int i = 0; i < L; ++i) live |= uint64_t(s.transmittance[k * L + i] > S(0)) << k;
  const uint32_t begin = b.tile_begin[tile], end = b.tile_begin[tile + 1];
  uint32_t e = begin, masked = begin;
  for (; e < end && live; ++e) {
    if (e == masked) {  // in batches: the masks are in memory long before the loop over blocks branches on them
      const uint32_t until = std::min(masked + kBatch, end);
      for (; masked < until; ++masked) {
        if (masked + kAhead < end) __builtin_prefetch(records + int64_t(b.row[masked + kAhead]) * kRecord);
        b.block_mask[masked] = s.reach(blob_of(records + int64_t(b.row[masked]) * kRecord));
      }
    }
    uint64_t todo = b.block_mask[e] & live;
    b.block_mask[e] = todo;
    if (!todo) continue;
    const S* r = records + int64_t(b.row[e]) * kRecord;
    const blob<S> one = blob_of(r);
    const blob<P> wide{P(one.mx), P(one.my), P(one.A2), P(one.B2), P(one.C2), P(one.lo)};
    P colour[CH];
    for (int c = 0; c < CH; ++c) colour[c] = P(r[kRed + c]);
    while (todo) {
      const int k = __builtin_ctzll(todo);
      todo &= todo - 1;
      const P dx = s.lane_x + P(s.block_x[k] - one.mx), dy = s.lane_y + P(s.block_y[k] - one.my);
      P T = load<P>(s.transmittance + k * L), alpha;
      const auto counts = blob_alpha(wide, dx, dy, T, alpha);
      const P weight = select(counts, min(alpha, P(S(kAlphaMax))) * T, P(S(0)));
      for (int c = 0; c < CH; ++c) store(s.channel[c] + k * L, fma(weight, colour[c], load<P>(s.channel[c] + k * L)));
      T = T - weight;
      store(s.transmittance + k * L, T);
      if (!any(T >= P(S(kTransmittanceMin)))) live &= ~(uint64_t(1) << k);
    }
  }
  b.used[tile] = e - begin;
  const int64_t plane = int64_t(b.width) * b.height;
  for (int c = 0; c < CH; ++c) {
    if (c < 3)
      for (int i = 0; i < state::pixels; ++i) s.channel[c][i] += s.transmittance[i] * background[c];
    s.scatter(s.channel[c], picture + c * plane, b.width);
  }
  s.scatter(s.transmittance, transmittance, b.width);
}

inline constexpr int kSums = 12;  // 0 g, 1-2 g d, 3-5 g d d, 6-8 colour, 9 depth, 10-11 |position gradient|

// Writes for every entry of the tile its sums over pixels to slots[slot][kSums].
template <class P, int CH, bool ABS>
void composite_tile_backward(int tile, const scalar_of<P>* records, const bins& b, const scalar_of<P>* picture,
                             const scalar_of<P>* transmittance, const scalar_of<P>* g_picture,
                             const scalar_of<P>* g_transmittance, scalar_of<P>* slots) {
  using S = scalar_of<P>;
  using state = tile_state<P, CH>;
  constexpr int L = traits<P>::lanes;
  const uint32_t begin = b.tile_begin[tile], end = b.tile_begin[tile + 1], stop = begin + b.used[tile];
  for (uint32_t e = stop; e < end; ++e) std::memset(slots + int64_t(b.slot[e]) * kSums, 0, kSums * sizeof(S));
  if (begin == stop) return;
  state s;
  s.place(tile, b);
  const int64_t plane = int64_t(b.width) * b.height;
  alignas(64) S buffer[state::pixels];
  for (int i = 0; i < state::pixels; ++i) s.rest[i] = S(0);
  for (int c = 0; c < CH; ++c) {  // R starts as g.C with the background as a last layer
    s.gather(g_picture + c * plane, b.width, s.channel[c]);
    s.gather(picture + c * plane, b.width, buffer);
    for (int i = 0; i < state::pixels; ++i) s.rest[i] += s.channel[c][i] * buffer[i];
  }
  if (g_transmittance) {
    alignas(64) S g_T[state::pixels];
    s.gather(transmittance, b.width, buffer);
    s.gather(g_transmittance, b.width, g_T);
    for (int i = 0; i < state::pixels; ++i) s.rest[i] += g_T[i] * buffer[i];
  }
  for (uint32_t e = begin; e < stop; ++e) {
    if (e + kAhead < stop) {
      __builtin_prefetch(records + int64_t(b.row[e + kAhead]) * kRecord);
      __builtin_prefetch(slots + int64_t(b.slot[e + kAhead]) * kSums, 1);
    }
    S* out = slots + int64_t(b.slot[e]) * kSums;
    uint64_t todo = b.block_mask[e];
    if (!todo) {
      std::memset(out, 0, kSums * sizeof(S));
      continue;
    }
    const S* r = records + int64_t(b.row[e]) * kRecord;
    const blob<S> one = blob_of(r);
    const blob<P> wide{P(one.mx), P(one.my), P(one.A2), P(one.B2), P(one.C2), P(one.lo)};
    P colour[CH], sum[kSums];
    for (int c = 0; c < CH; ++c) colour[c] = P(r[kRed + c]);
    for (int i = 0; i < kSums; ++i) sum[i] = P(S(0));
    const P zero{S(0)}, one_{S(1)}, limit{S(kAlphaMax)}, A{r[kA]}, B{r[kB]}, C{r[kC]};
    while (todo) {
      const int k = __builtin_ctzll(todo);
      todo &= todo - 1;
      const P dx = s.lane_x + P(s.block_x[k] - one.mx), dy = s.lane_y + P(s.block_y[k] - one.my);
      P T = load<P>(s.transmittance + k * L), raw;
      const auto counts = blob_alpha(wide, dx, dy, T, raw);
      const P alpha = min(raw, limit);
      const P weight = select(counts, alpha * T, zero);
      P h = load<P>(s.channel[0] + k * L) * colour[0];
      for (int c = 1; c < CH; ++c) h = fma(load<P>(s.channel[c] + k * L), colour[c], h);
      const P R = load<P>(s.rest + k * L) - weight * h;
      store(s.rest + k * L, R);
      const P g_alpha = T * h - R * rcp(one_ - alpha);
      const P g = select(counts & (raw <= limit), g_alpha * alpha, zero);  // dL/d log(opacity) at this pixel
      const P gx = g * dx, gy = g * dy;
      sum[0] = sum[0] + g;
      sum[1] = sum[1] + gx;
      sum[2] = sum[2] + gy;
      sum[3] = fma(gx, dx, sum[3]);
      sum[4] = fma(gx, dy, sum[4]);
      sum[5] = fma(gy, dy, sum[5]);
      for (int c = 0; c < CH; ++c) sum[6 + c] = fma(weight, load<P>(s.channel[c] + k * L), sum[6 + c]);
      if (ABS) {
        sum[10] = sum[10] + abs(fma(A, gx, B * gy));
        sum[11] = sum[11] + abs(fma(B, gx, C * gy));
      }
      store(s.transmittance + k * L, T - weight);
    }
    sum_lanes<ABS ? 12 : 6 + CH>(sum, out);
  }
}

// Adds up the instances of each visible Gaussian in fixed order and turns sums into dL/d(record).
// g_records [rows][kRecord] must be zero for rows that are not visible.
template <class S>
void gather_sums(const S* records, const bins& b, const S* slots, S* g_records) {
  parallel_ranges(int64_t(b.order.size()), 4096, [&](int64_t from, int64_t to) {
    for (int64_t i = from; i < to; ++i) {
      S sum[kSums] = {};
      for (uint32_t k = b.slot_begin[i]; k < b.slot_begin[i + 1]; ++k)
        for (int j = 0; j < kSums; ++j) sum[j] += slots[int64_t(k) * kSums + j];
      const S* r = records + int64_t(b.order[i]) * kRecord;
      S* g = g_records + int64_t(b.order[i]) * kRecord;
      g[kMx] = r[kA] * sum[1] + r[kB] * sum[2];
      g[kMy] = r[kB] * sum[1] + r[kC] * sum[2];
      g[kA] = S(-0.5) * sum[3];
      g[kB] = -sum[4];
      g[kC] = S(-0.5) * sum[5];
      g[kOpacity] = sum[0] / r[kOpacity];
      for (int j = 0; j < 4; ++j) g[kRed + j] = sum[6 + j];
      g[kAbsX] = sum[10];
      g[kAbsY] = sum[11];
    }
  });
}

}  // namespace recon
