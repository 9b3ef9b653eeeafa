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

inline constexpr int kTile = 16;

// Lists of one rendered picture, reused from step to step so that memory is allocated once.
struct bins {
  int width = 0, height = 0, tiles_x = 0, tiles_y = 0;
  std::vector<uint32_t> keys, order, swap_keys, swap_order;  // order: visible rows, front to back
  std::vector<uint32_t> slot_begin;                          // [visible + 1] instances of order[r], splat major
  std::vector<uint32_t> tile_begin;                          // [tiles + 1] into row / slot
  std::vector<uint32_t> row, slot;                           // per tile entry: Gaussian and its instance
  std::vector<uint32_t> used;                                // [tiles] entries looked at before every pixel ended
  std::vector<uint64_t> block_mask;                          // per tile entry: pixel blocks it contributes to
  std::vector<std::vector<uint32_t>> chunk_tiles;            // scratch
  std::vector<uint32_t> chunk_counts;
  size_t instances() const { return row.size(); }
  size_t bytes() const {
    size_t b = 0;
    for (const auto* v : {&keys, &order, &swap_keys, &swap_order, &slot_begin, &tile_begin, &row, &slot, &used,
                          &chunk_counts})
      b += v->capacity() * 4;
    for (const auto& v : chunk_tiles) b += v.capacity() * 4;
    return b + block_mask.capacity() * 8;
  }
};

// Calls visit(tile) for every tile that has a pixel centre inside the alpha >= 1/255 ellipse of a record.
// Per tile row the exact x-extent of ellipse and row strip gives a contiguous run of tiles.
template <class S, class Visit>
inline void for_each_tile(const S* record, int width, int height, int tiles_x, const Visit& visit) {
  const float A = float(record[kA]), B = float(record[kB]), C = float(record[kC]);
  const float mx = float(record[kMx]), my = float(record[kMy]);
  const float t = float(2 * kLn2) * (float(record[kLog2Opacity]) + float(kLog2Of255)) * 1.0001f + 1e-4f;
  const float det = A * C - B * B;
  if (!(det > 0) || !(t > 0)) {  // rounding lost the ellipse: take the whole box of the radius
    const float r = float(record[kRadius]);
    const int x0 = std::max(0, int((mx - r) / kTile)), x1 = std::min(tiles_x - 1, int((mx + r) / kTile));
    const int y0 = std::max(0, int((my - r) / kTile)), y1 = std::min((height - 1) / kTile, int((my + r) / kTile));
    for (int ty = y0; ty <= y1; ++ty)
      for (int tx = x0; tx <= x1; ++tx) visit(ty * tiles_x + tx);
    return;
  }
  constexpr float kSlack = 2e-3f;  // bins may hold too much, never too little; the pixel test decides
  const float hx = std::sqrt(t * C / det) + kSlack, hy = std::sqrt(t * A / det) + kSlack;
  const float top = std::max(my - hy, 0.5f), bottom = std::min(my + hy, height - 0.5f);
  if (top > bottom) return;
  const float inverse_a = 1.0f / A, y_of_extreme_x = -B / C * hx;
  const int row0 = int((top - 0.5f) / kTile), row1 = int((bottom - 0.5f) / kTile);
  const int last_tile = (width - 1) / kTile;
  for (int ty = row0; ty <= row1; ++ty) {
    const float u0 = std::max(ty * kTile + 0.5f, top) - my, u1 = std::min(ty * kTile + kTile - 0.5f, bottom) - my;
    if (u0 > u1) continue;
    const float ur = std::min(std::max(y_of_extreme_x, u0), u1), ul = std::min(std::max(-y_of_extreme_x, u0), u1);
    const float right = mx + (-B * ur + std::sqrt(std::max(t * A - det * ur * ur, 0.0f))) * inverse_a + kSlack;
    const float left = mx + (-B * ul - std::sqrt(std::max(t * A - det * ul * ul, 0.0f))) * inverse_a - kSlack;
    if (right < 0.5f || left > width - 0.5f) continue;
    const int x0 = std::max(0, int(std::ceil((left - (kTile - 0.5f)) / kTile)));
    const int x1 = std::min(last_tile, int((right - 0.5f) / kTile));
    for (int tx = x0; tx <= x1; ++tx) visit(ty * tiles_x + tx);
  }
}

template <class S>
void bin_splats(const S* records, int64_t rows, int width, int height, bins& out) {
  out.width = width;
  out.height = height;
  out.tiles_x = (width + kTile - 1) / kTile;
  out.tiles_y = (height + kTile - 1) / kTile;
  const int tiles = out.tiles_x * out.tiles_y;

  out.keys.clear();
  out.order.clear();
  for (int64_t i = 0; i < rows; ++i) {
    const S* r = records + i * kRecord;
    if (!(r[kRadius] > S(0))) continue;
    const float z = float(r[kDepth]);  // positive, so its bits order like the number
    uint32_t key;
    std::memcpy(&key, &z, 4);
    out.keys.push_back(key);
    out.order.push_back(uint32_t(i));
  }
  radix_sort(out.keys, out.order, out.swap_keys, out.swap_order);

  const int64_t visible = int64_t(out.order.size());
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
      for_each_tile(records + int64_t(out.order[r]) * kRecord, width, height, out.tiles_x, [&](int tile) {
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
