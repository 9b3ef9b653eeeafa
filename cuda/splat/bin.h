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
#include "tiles.h"

namespace recon {

// Lists of one rendered picture, reused from step to step so that memory is allocated once.
struct bins {
  int width = 0, height = 0, tiles_x = 0, tiles_y = 0;
  std::vector<uint32_t> keys, order, swap_keys, swap_order;  // order: visible rows, front to back
  std::vector<uint32_t> slot_begin;                          // [rows + 1] instances of a row, next to each other
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
  out.slot_begin.assign(rows + 1, 0);  // how many instances a row has, at first
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
  parallel_for(chunks, [&](int64_t c) {
    auto& list = out.chunk_tiles[c];
    uint32_t* count = out.chunk_counts.data() + c * tiles;
    list.clear();
    for (int64_t r = c * grain; r < std::min(visible, (c + 1) * grain); ++r) {
      if (r + 8 < visible) {
        __builtin_prefetch(records + int64_t(out.order[r + 8]) * kRecord);
        __builtin_prefetch(&out.rects[out.order[r + 8]]);
      }
      const uint32_t row = out.order[r];
      const size_t before = list.size();
      for_each_tile<T>(records + int64_t(row) * kRecord, out.rects[row], height, out.tiles_x, [&](int tile) {
        list.push_back(uint32_t(tile));
        ++count[tile];
      });
      out.slot_begin[row] = uint32_t(list.size() - before);
    }
  });
  uint32_t total = 0;
  out.tile_begin.resize(tiles + 1);
  for (int t = 0; t < tiles; ++t) {
    out.tile_begin[t] = total;
    for (int64_t c = 0; c < chunks; ++c) total += std::exchange(out.chunk_counts[c * tiles + t], total);
  }
  out.tile_begin[tiles] = total;
  uint32_t slots = 0;
  for (uint32_t& n : out.slot_begin) slots += std::exchange(n, slots);
  out.row.resize(total);
  out.slot.resize(total);
  parallel_for(chunks, [&](int64_t c) {
    const uint32_t* tile = out.chunk_tiles[c].data();
    uint32_t* cursor = out.chunk_counts.data() + c * tiles;
    for (int64_t r = c * grain; r < std::min(visible, (c + 1) * grain); ++r) {
      if (r + 16 < visible) __builtin_prefetch(&out.slot_begin[out.order[r + 16]]);
      const uint32_t row = out.order[r];
      for (uint32_t k = out.slot_begin[row]; k < out.slot_begin[row + 1]; ++k) {
        const uint32_t at = cursor[*tile++]++;
        out.row[at] = row;
        out.slot[at] = k;
      }
    }
  });
  out.used.resize(tiles);
}

}  // namespace recon
