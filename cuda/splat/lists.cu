// CUDA driver of the tile lists, sorted in two passes: the Gaussians once by depth (32-bit keys), then their tile entries,
// written in that order, stably by tile number alone (as few bits as the picture needs). Compiled without joining
// products and sums: the kernel that counts and the one that writes must find the same tiles.
#include "core/device_sort.h"
#include "splat_cuda.h"

namespace recon::gpu {
namespace {

constexpr int kThreads = 256;
constexpr uint32_t kBehindAll = 0xffffffffu;

struct count_entries {
  uint32_t& count;
  RECON_HD void operator()(int) const { ++count; }
};

struct write_entries {
  uint32_t *tile, *slot, *row_of_slot;
  uint32_t row, room;
  uint32_t& at;
  RECON_HD void operator()(int where) const {
    if (at < room) {
      tile[at] = uint32_t(where);
      slot[at] = at;
      row_of_slot[at] = row;
    }
    ++at;
  }
};

__global__ void depth_keys(const float* records, int64_t rows, int width, int height, uint32_t* keys, uint32_t* ids,
                           uint32_t* counts) {
  const int64_t i = global_thread();
  if (i >= rows) return;
  const float* r = records + i * kRecord;
  uint32_t count = 0;
  const bool drawn = r[kRadius] > 0;
  if (drawn) for_each_tile<tile>(r, width, height, count_entries{count});
  keys[i] = drawn ? __float_as_uint(r[kDepth]) : kBehindAll;  // depth is positive: its bits order like the number
  ids[i] = uint32_t(i);
  counts[i] = count;
}

__global__ void counts_in_order(const uint32_t* counts, const uint32_t* order, int64_t rows, uint32_t* sorted) {
  const int64_t i = global_thread();
  if (i < rows) sorted[i] = counts[order[i]];
}

__global__ void write_tiles(const float* records, int64_t rows, int width, int height, const uint32_t* order,
                            const uint32_t* begin, uint32_t room, uint32_t* tiles, uint32_t* slots,
                            uint32_t* row_of_slot) {
  const int64_t i = global_thread();
  if (i >= rows || begin[i] == begin[i + 1]) return;
  const uint32_t row = order[i];
  const float* r = records + int64_t(row) * kRecord;
  uint32_t at = begin[i];
  for_each_tile<tile>(r, width, height, write_entries{tiles, slots, row_of_slot, row, room, at});
}

// Room beyond the entries goes behind the last tile.
__global__ void fill_rest(const uint32_t* entries, int64_t room, uint32_t tiles, uint32_t* tile, uint32_t* slot) {
  const int64_t e = global_thread();
  if (e < *entries || e >= room) return;
  tile[e] = tiles;
  slot[e] = uint32_t(e);
}

__global__ void find_tiles(const uint32_t* sorted_tiles, const uint32_t* slot, const uint32_t* row_of_slot,
                           int64_t room, uint32_t tiles, uint32_t* tile_begin, uint32_t* row) {
  const int64_t e = global_thread();
  if (e >= room) return;
  const uint32_t here = sorted_tiles[e];
  if (here < tiles) row[e] = row_of_slot[slot[e]];
  for (uint32_t t = e ? sorted_tiles[e - 1] + 1 : 0; t <= here; ++t) tile_begin[t] = uint32_t(e);
  if (e + 1 == room)
    for (uint32_t t = here + 1; t <= tiles; ++t) tile_begin[t] = uint32_t(room);
}

}  // namespace

size_t depth_scratch_bytes(int64_t rows) {
  const size_t sort = sort_scratch_bytes(rows), sum = sum_scratch_bytes(rows);
  return 4 * pieces::bytes(rows) + (sort > sum ? sort : sum);
}

void sort_by_depth(const float* records, int64_t rows, int width, int height, uint32_t* order, uint32_t* begin,
                   void* scratch, stream_t stream) {
  pieces memory(scratch);
  uint32_t *keys = memory.take(rows), *ids = memory.take(rows), *counts = memory.take(rows),
           *sorted = memory.take(rows);
  const unsigned blocks = blocks_for(rows, kThreads);
  launch(depth_keys, blocks, kThreads, stream, records, rows, width, height, keys, ids, counts);
  sort_pairs(keys, sorted, ids, order, rows, 32, memory.rest(), sort_scratch_bytes(rows), stream);
  launch(counts_in_order, blocks, kThreads, stream, counts, order, rows, sorted);
  set_zero(begin, sizeof(uint32_t), stream);
  inclusive_sum(sorted, begin + 1, rows, memory.rest(), sum_scratch_bytes(rows), stream);
}

size_t tile_scratch_bytes(int64_t room) { return 4 * pieces::bytes(room) + sort_scratch_bytes(room); }

void sort_by_tile(const float* records, int64_t rows, int width, int height, const uint32_t* order,
                  const uint32_t* begin, int64_t room, uint32_t* tile_begin, uint32_t* row, uint32_t* slot,
                  void* scratch, stream_t stream) {
  pieces memory(scratch);
  uint32_t *tiles = memory.take(room), *slots = memory.take(room), *row_of_slot = memory.take(room),
           *sorted = memory.take(room);
  const int across = tiles_across(width), count = across * tiles_down(height);
  launch(write_tiles, blocks_for(rows, kThreads), kThreads, stream, records, rows, width, height, order, begin,
         uint32_t(room), tiles, slots, row_of_slot);
  launch(fill_rest, blocks_for(room, kThreads), kThreads, stream, begin + rows, room, uint32_t(count), tiles, slots);
  sort_pairs(tiles, sorted, slots, slot, room, bits_of(uint32_t(count)), memory.rest(), sort_scratch_bytes(room),
             stream);
  set_zero(tile_begin, sizeof(uint32_t) * (size_t(count) + 1), stream);  // all that is needed where nothing is drawn
  launch(find_tiles, blocks_for(room, kThreads), kThreads, stream, sorted, slot, row_of_slot, room, uint32_t(count),
         tile_begin, row);
}

}  // namespace recon::gpu
