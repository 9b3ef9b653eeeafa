// Which Gaussians touch which tile, in depth order: one depth sort of the visible Gaussians, then a stable counting
// scatter into tiles. Everything is laid out by fixed chunks, so the result does not depend on the thread count.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "core/parallel.h"
#include "core/sort.h"
#include "record.h"
#include "splat.h"

namespace recon {

// A tile is 8x8 blocks of one pack each, so that the blocks a Gaussian reaches are one 64-bit mask: 32x32 pixels at 16
// lanes. Large tiles cost fewer entries; what a Gaussian does not reach inside them is skipped block by block.
template <int W, int H>
struct tile_size {
  static constexpr int width = W, height = H;
};

// Tiles whose pixel centres the bounding box of a Gaussian's alpha >= 1/255 ellipse covers; empty if x0 > x1 or y0 > y1.
struct tile_rect {
  int16_t x0, y0, x1, y1;
};

// Lists of one rendered picture, reused from step to step so that memory is allocated once.
struct bins {
  int width = 0, height = 0, tiles_x = 0, tiles_y = 0;
  std::vector<uint32_t> keys, order, swap_keys, swap_order;  // order: visible rows, front to back
  std::vector<uint32_t> slot_begin;                          // [visible + 1] instances of order[r], splat major
  std::vector<uint32_t> tile_begin;                          // [tiles + 1] into row / slot
  std::vector<uint32_t> row, slot;                           // per tile entry: Gaussian and its instance
  std::vector<uint32_t> used;                                // [tiles] entries looked at before every pixel ended
  std::vector<uint64_t> block_mask;                          // per tile entry: pixel blocks it contributes to
  std::vector<tile_rect> rects;                              // per row
  std::vector<std::vector<uint32_t>> chunk_tiles;            // scratch
  std::vector<uint32_t> chunk_counts;
  size_t instances() const { return row.size(); }
  // (Gaussian, pixel block) pairs that the last picture visited.
  size_t block_visits() const {
    size_t n = 0;
    for (size_t t = 0; t < used.size(); ++t)
      for (uint32_t e = tile_begin[t]; e < tile_begin[t] + used[t]; ++e) n += __builtin_popcountll(block_mask[e]);
    return n;
  }
  size_t bytes() const {
    size_t b = 0;
    for (const auto* v :
         {&keys, &order, &swap_keys, &swap_order, &slot_begin, &tile_begin, &row, &slot, &used, &chunk_counts})
      b += v->capacity() * 4;
    for (const auto& v : chunk_tiles) b += v.capacity() * 4;
    return b + block_mask.capacity() * 8 + rects.capacity() * sizeof(tile_rect);
  }
};

// Bins may hold too much, never too little: the pixel test decides.
inline constexpr float kSlack = 2e-3f;

inline float reach_of(float log2_opacity) {  // t: the ellipse is d^T K d <= t
  return float(2 * kLn2) * (log2_opacity + float(kLog2Of255)) * 1.0001f + 1e-4f;
}

template <class T, class S>
inline tile_rect rect_of(const S* r, int width, int height) {
  const float A = float(r[kA]), B = float(r[kB]), C = float(r[kC]), mx = float(r[kMx]), my = float(r[kMy]);
  const float det = A * C - B * B, t = reach_of(float(r[kLog2Opacity]));
  float hx = float(r[kRadius]), hy = hx;  // where rounding lost the ellipse: the box of the radius
  if (det > 0) {
    const float scale = t / det;
    hx = std::sqrt(scale * C);
    hy = std::sqrt(scale * A);
  }
  // first tile with a centre w i + w - 0.5 >= left, last tile with a centre w i + 0.5 <= right
  constexpr float across = 1.0f / T::width, down = 1.0f / T::height;
  const auto low = [](float v) { return v <= 0 ? 0.0f : std::min(v, 32000.0f); };
  const float left = low((mx - hx - kSlack + 0.5f) * across), right = (mx + hx + kSlack - 0.5f) * across;
  const float top = low((my - hy - kSlack + 0.5f) * down), bottom = (my + hy + kSlack - 0.5f) * down;
  const float last_x = float((width - 1) / T::width), last_y = float((height - 1) / T::height);
  if (right < 0 || bottom < 0) return {1, 1, 0, 0};
  return {int16_t(left), int16_t(top), int16_t(std::min(right, last_x)), int16_t(std::min(bottom, last_y))};
}

// Calls visit(tile) for every tile that has a pixel centre inside the ellipse. A box of one row or one column is exact;
// else, per tile row, the x-extent of ellipse and row strip gives a contiguous run of tiles.
template <class T, class S, class Visit>
inline void for_each_tile(const S* record, const tile_rect& rect, int height, int tiles_x, const Visit& visit) {
  if (rect.x0 >= rect.x1 || rect.y0 >= rect.y1) {
    for (int ty = rect.y0; ty <= rect.y1; ++ty)
      for (int tx = rect.x0; tx <= rect.x1; ++tx) visit(ty * tiles_x + tx);
    return;
  }
  const float A = float(record[kA]), B = float(record[kB]), C = float(record[kC]);
  const float mx = float(record[kMx]), my = float(record[kMy]);
  const float det = A * C - B * B, t = reach_of(float(record[kLog2Opacity]));
  if (!(det > 0)) {
    for (int ty = rect.y0; ty <= rect.y1; ++ty)
      for (int tx = rect.x0; tx <= rect.x1; ++tx) visit(ty * tiles_x + tx);
    return;
  }
  const float inverse_a = 1.0f / A, hx = std::sqrt(t * C / det), hy = std::sqrt(t * A / det) + kSlack;
  const float y_of_extreme_x = -B / C * hx, ta = t * A;
  constexpr float across = 1.0f / T::width;
  for (int ty = rect.y0; ty <= rect.y1; ++ty) {
    const float u0 = std::max(ty * T::height + 0.5f - my, -hy);
    const float u1 = std::min(std::min(ty * T::height + T::height - 0.5f, height - 0.5f) - my, hy);
    if (u0 > u1) continue;
    const float ur = std::min(std::max(y_of_extreme_x, u0), u1), ul = std::min(std::max(-y_of_extreme_x, u0), u1);
    const float right = mx + (-B * ur + std::sqrt(std::max(ta - det * ur * ur, 0.0f))) * inverse_a + kSlack;
    const float left = mx + (-B * ul - std::sqrt(std::max(ta - det * ul * ul, 0.0f))) * inverse_a - kSlack;
    if (right < 0.5f) continue;
    const int x0 = std::max<int>(rect.x0, int(std::max(left + 0.5f, 0.0f) * across));
    const int x1 = std::min<int>(rect.x1, int((right - 0.5f) * across));
    for (int tx = x0; tx <= x1; ++tx) visit(ty * tiles_x + tx);
  }
}

template <class T, class S>
void bin_splats(const S* records, int64_t rows, int width, int height, bins& out) {
  out.width = width;
  out.height = height;
  out.tiles_x = (width + T::width - 1) / T::width;
  out.tiles_y = (height + T::height - 1) / T::height;
  const int tiles = out.tiles_x * out.tiles_y;

  // Visible rows with their depth keys, by fixed pieces, then joined.
  constexpr int64_t kPiece = 8192;
  const int64_t pieces = (rows + kPiece - 1) / kPiece;
  out.rects.resize(rows);
  out.keys.resize(rows);
  out.order.resize(rows);
  std::vector<int64_t> found(pieces, 0);
  parallel_for(pieces, [&](int64_t p) {
    int64_t at = p * kPiece;
    for (int64_t i = at; i < std::min(rows, (p + 1) * kPiece); ++i) {
      const S* r = records + i * kRecord;
      if (!(r[kRadius] > S(0))) continue;
      out.rects[i] = rect_of<T>(r, width, height);
      const float z = float(r[kDepth]);  // positive, so its bits order like the number
      std::memcpy(&out.keys[at], &z, 4);
      out.order[at++] = uint32_t(i);
    }
    found[p] = at - p * kPiece;
  });
  int64_t visible = 0;
  for (int64_t p = 0; p < pieces; ++p) {
    std::memmove(&out.keys[visible], &out.keys[p * kPiece], found[p] * 4);
    std::memmove(&out.order[visible], &out.order[p * kPiece], found[p] * 4);
    visible += found[p];
  }
  out.keys.resize(visible);
  out.order.resize(visible);
  radix_sort(out.keys, out.order, out.swap_keys, out.swap_order);

  const int64_t chunks = std::min<int64_t>(std::max<int64_t>(visible / 2048, 1), 32);
  const int64_t grain = std::max<int64_t>((visible + chunks - 1) / chunks, 1);
  out.chunk_tiles.resize(chunks);
  out.chunk_counts.assign(size_t(chunks) * tiles, 0);
  out.slot_begin.resize(visible + 1);
  parallel_for(chunks, [&](int64_t c) {
    auto& list = out.chunk_tiles[c];
    uint32_t* count = out.chunk_counts.data() + c * tiles;
    list.clear();
    for (int64_t r = c * grain; r < std::min(visible, (c + 1) * grain); ++r) {
      out.slot_begin[r] = uint32_t(list.size());
      if (r + 8 < visible) {
        __builtin_prefetch(records + int64_t(out.order[r + 8]) * kRecord);
        __builtin_prefetch(&out.rects[out.order[r + 8]]);
      }
      const uint32_t row = out.order[r];
      for_each_tile<T>(records + int64_t(row) * kRecord, out.rects[row], height, out.tiles_x, [&](int tile) {
        list.push_back(uint32_t(tile));
        ++count[tile];
      });
    }
  });
  uint32_t total = 0;
  out.tile_begin.resize(tiles + 1);
  for (int t = 0; t < tiles; ++t) {
    out.tile_begin[t] = total;
    for (int64_t c = 0; c < chunks; ++c) total += std::exchange(out.chunk_counts[c * tiles + t], total);
  }
  out.tile_begin[tiles] = total;
  out.row.resize(total);
  out.slot.resize(total);
  std::vector<uint32_t> chunk_slot(chunks + 1, 0);
  for (int64_t c = 0; c < chunks; ++c) chunk_slot[c + 1] = chunk_slot[c] + uint32_t(out.chunk_tiles[c].size());
  out.slot_begin[visible] = total;
  parallel_for(chunks, [&](int64_t c) {
    const auto& list = out.chunk_tiles[c];
    uint32_t* cursor = out.chunk_counts.data() + c * tiles;
    const int64_t end = std::min(visible, (c + 1) * grain);
    for (int64_t r = c * grain; r < end; ++r) {
      const uint32_t first = out.slot_begin[r], last = r + 1 < end ? out.slot_begin[r + 1] : uint32_t(list.size());
      for (uint32_t i = first; i < last; ++i) {
        const uint32_t at = cursor[list[i]]++;
        out.row[at] = out.order[r];
        out.slot[at] = chunk_slot[c] + i;
      }
      out.slot_begin[r] += chunk_slot[c];  // from here on global; the next row still reads its own local value
    }
  });
  out.used.resize(tiles);
}

}  // namespace recon
