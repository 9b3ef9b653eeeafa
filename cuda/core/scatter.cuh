// Adds rows of numbers to rows of a table, where many entries may go to the same row: the backward pass of every lookup.
// In fixed order entries are sorted by their row, stably, and a warp adds up those of one row: the same bits in every
// run, for 16 bytes of scratch memory an entry and a sort. Otherwise by atomics.
//
// A source says what entry e brings:  part read(int64_t e) const  with a member `row` (kNowhere: nothing), and
// float value(const part&, int column) const.
#pragma once

#include "device_sort.h"

namespace recon::gpu {

inline constexpr uint32_t kNowhere = 0xffffffffu;
inline constexpr int kScatterThreads = 256;

template <class Source>
__global__ void scatter_atomic(Source source, int64_t entries, int columns, float* table) {
  const int64_t i = global_thread();
  if (i >= entries * columns) return;
  const auto part = source.read(i / columns);
  const int column = int(i % columns);
  if (part.row != kNowhere) atomicAdd(table + int64_t(part.row) * columns + column, source.value(part, column));
}

template <class Source>
__global__ void scatter_keys(Source source, int64_t entries, uint32_t rows, int columns, uint32_t* keys,
                             uint32_t* ids) {
  const int64_t e = global_thread();
  if (e >= entries) return;
  const auto part = source.read(e);
  int c = 0;  // what brings only zeros (points that weigh nothing) need not be visited
  while (part.row < rows && c < columns && source.value(part, c) == 0) ++c;
  keys[e] = part.row < rows && c < columns ? part.row : rows;  // nowhere goes behind all others
  ids[e] = uint32_t(e);
}

// A warp looks at 32 sorted entries, and for each row that begins among them walks all entries of that row: `group` lanes
// over columns, the others over entries.
template <class Source>
__global__ void scatter_sorted(Source source, const uint32_t* keys, const uint32_t* ids, int64_t entries, uint32_t rows,
                               int columns, int group, float* table) {
  const int lane = lane_of(threadIdx.x), stride = kWarp / group;
  const int64_t first = global_thread() - lane, mine = first + lane;
  const bool begins = mine < entries && keys[mine] < rows && (mine == 0 || keys[mine - 1] != keys[mine]);
  for (unsigned todo = __ballot_sync(kAllLanes, begins); todo; todo &= todo - 1) {
    const int64_t begin = first + __ffs(todo) - 1;
    const uint32_t row = keys[begin];
    for (int c0 = 0; c0 < columns; c0 += group) {
      const int column = c0 + lane % group;
      float sum = 0;
      if (column < columns)
        for (int64_t e = begin + lane / group; e < entries && keys[e] == row; e += stride)
          sum += source.value(source.read(ids[e]), column);
      for (int offset = group; offset < kWarp; offset *= 2) sum += __shfl_xor_sync(kAllLanes, sum, offset);
      if (lane < group && column < columns) table[int64_t(row) * columns + column] += sum;
    }
  }
}

inline size_t scatter_scratch_bytes(int64_t entries) {
  return 4 * pieces::bytes(entries) + sort_scratch_bytes(entries);
}

// table [rows][columns] += what the entries bring. Scratch: scatter_scratch_bytes(entries), or null = by atomics.
template <class Source>
void scatter_add(const Source& source, int64_t entries, int64_t rows, int columns, float* table, void* scratch,
                 stream_t stream) {
  if (!scratch) {
    launch(scatter_atomic<Source>, blocks_for(entries * columns, kScatterThreads), kScatterThreads, stream, source,
           entries, columns, table);
    return;
  }
  pieces memory(scratch);
  uint32_t *keys = memory.take(entries), *sorted = memory.take(entries), *ids = memory.take(entries),
           *order = memory.take(entries);
  const unsigned blocks = blocks_for(entries, kScatterThreads);
  int group = 1;
  while (group < columns && group < kWarp) group *= 2;
  launch(scatter_keys<Source>, blocks, kScatterThreads, stream, source, entries, uint32_t(rows), columns, keys, ids);
  sort_pairs(keys, sorted, ids, order, entries, bits_of(uint32_t(rows)), memory.rest(), sort_scratch_bytes(entries),
             stream);
  launch(scatter_sorted<Source>, blocks, kScatterThreads, stream, source, sorted, order, entries, uint32_t(rows),
         columns, group, table);
}

}  // namespace recon::gpu
