// Which Gaussians touch which tile, in depth order. Rows of tiles ("bands") are independent: a Gaussian is a run of tiles
// in each band that it reaches, every band sorts its runs by depth and puts them into its tiles. Everything is laid out by
// fixed pieces of the rows, so the result does not depend on the thread count.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

#include "core/ahead.h"
#include "core/lane_rows.h"
#include "core/parallel.h"
#include "core/sort.h"
#include "tiles.h"

namespace recon {

// Neighbouring tiles of one band that a Gaussian reaches, and the first of their instances.
struct tile_run {
  uint32_t row, slot, depth;  // depth is positive, so its bits order like the number
  uint16_t first, count;
};

// Lists of one rendered picture, reused from step to step so that memory is allocated once.
struct bins {
  // Runs of some neighbouring rows, band by band.
  struct piece {
    std::vector<tile_run> runs;
    std::vector<uint32_t> band_begin, entries;  // [bands + 1] into runs, [bands] tile entries
    uint32_t slots, visible;
  };
  int width = 0, height = 0, tiles_x = 0, tiles_y = 0;
  size_t visible = 0;
  std::vector<piece> pieces;
  std::vector<uint32_t> slot_begin;  // [rows + 1] instances of a row, next to each other
  std::vector<uint32_t> tile_begin;  // [tiles + 1] into row / slot
  std::vector<uint32_t> row, slot;  // per tile entry: Gaussian and its instance
  std::vector<uint32_t> used;  // [tiles] entries looked at before every pixel ended
  std::vector<uint64_t> block_mask;  // per tile entry: pixel blocks it contributes to
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
    for (const auto* v : {&slot_begin, &tile_begin, &row, &slot, &used}) b += v->capacity() * 4;
    for (const auto& p : pieces)
      b += p.runs.capacity() * sizeof(tile_run) + (p.band_begin.capacity() + p.entries.capacity()) * 4;
    return b + block_mask.capacity() * 8 + pieces.capacity() * sizeof(piece);
  }
};

// Memory of one thread, kept between calls.
struct bin_scratch {
  std::vector<tile_run> runs;
  std::vector<uint16_t> bands;
  std::vector<int32_t> spans;
  std::vector<uint64_t> items, spare;
  std::vector<uint32_t> cursor;
  static bin_scratch& here() {
    thread_local bin_scratch scratch;
    return scratch;
  }
};

// Finds the runs of rows [from, to). Writes slot_begin of these rows, counted from the beginning of the piece.
template <class T, class P>
void find_runs(const scalar_of<P>* records, int64_t from, int64_t to, const bins& b, uint32_t* slot_begin,
               bins::piece& out) {
  using S = scalar_of<P>;
  constexpr int L = traits<P>::lanes;
  bin_scratch& scratch = bin_scratch::here();
  scratch.spans.resize(size_t(b.tiles_y) * 2 * L);
  int32_t* const spans = scratch.spans.data();  // [rows of tiles][first, end][lanes]
  out.band_begin.assign(b.tiles_y + 1, 0);
  out.entries.assign(b.tiles_y, 0);
  uint32_t *const runs_of = out.band_begin.data(), *const entries_of = out.entries.data();
  uint32_t slots = 0, visible = 0;
  size_t n = 0;
  for (int64_t i = from; i < to; i += L) {
    const int count = int(to - i < L ? to - i : L);
    ask_for_rows<false>(records, i + L, L, kRecord);
    P r[kRecord], first, end;
    load_rows<P>(records + i * kRecord, kRecord, count, kRecord, r);
    const uint32_t drawn = to_bits(r[kRadius] > P(S(0))) & ((1u << count) - 1);
    if (!drawn) {
      std::fill_n(slot_begin + i, count, slots);
      continue;
    }
    visible += __builtin_popcount(drawn);
    const cell_reach<P> reach = reach_of(r);
    reach.rows(T::height, b.tiles_y, first, end);
    S low[L], high[L], depth[L];
    store(low, first), store(high, end), store(depth, r[kDepth]);
    int begin[L], rows[L], most = 0;
    for (int l = 0; l < L; ++l) {
      begin[l] = int(low[l]), rows[l] = drawn >> l & 1 ? int(high[l]) - begin[l] : 0;
      most = std::max(most, rows[l]);
      low[l] = S(begin[l] * T::height) + S(0.5);
    }
    for (int k = 0; k < most; ++k) {
      const P top = load<P>(low) + P(S(k * T::height));
      reach.cells(top, min(top + P(S(T::height - 1)), P(S(b.height) - S(0.5))), T::width, b.tiles_x, first, end);
      S x0[L], x1[L];
      store(x0, first), store(x1, end);
      int32_t* span = spans + 2 * k * L;
      for (int l = 0; l < L; ++l) span[l] = int32_t(x0[l]), span[L + l] = k < rows[l] ? int32_t(x1[l]) - span[l] : 0;
    }
    const size_t needed = n + size_t(L) * most;
    if (scratch.bands.size() < needed) scratch.bands.resize(2 * needed);
    if (scratch.runs.size() < needed) scratch.runs.resize(2 * needed);
    tile_run* const runs = scratch.runs.data();
    uint16_t* const bands = scratch.bands.data();
    for (int l = 0; l < count; ++l) {
      slot_begin[i + l] = slots;
      const float z = float(depth[l]);
      uint32_t key;
      std::memcpy(&key, &z, 4);
      const auto add = [&](int k) {  // without a branch: how many tiles it is cannot be predicted
        const int at = spans[2 * k * L + l], tiles = spans[(2 * k + 1) * L + l], band = begin[l] + k;
        runs[n] = {uint32_t(i + l), slots, key, uint16_t(at), uint16_t(tiles)};
        bands[n] = uint16_t(band);
        n += tiles > 0;
        runs_of[band] += tiles > 0;
        entries_of[band] += tiles;
        slots += tiles;
      };
      for (int k = 0; k < rows[l]; ++k) add(k);
    }
  }
  uint32_t sum = 0;
  for (uint32_t& m : out.band_begin) sum += std::exchange(m, sum);
  out.runs.resize(n);
  for (size_t i = 0; i < n; ++i) out.runs[runs_of[scratch.bands[i]]++] = scratch.runs[i];
  for (int band = b.tiles_y; band > 0; --band) runs_of[band] = runs_of[band - 1];
  runs_of[0] = 0;
  out.slots = slots, out.visible = visible;
}

// The tile lists of one band, whose entries begin at `begin`; first_slot: of each piece.
inline void fill_band(int band, uint32_t begin, const std::vector<uint32_t>& first_slot, bins& b) {
  bin_scratch& scratch = bin_scratch::here();
  size_t n = 0;
  for (const auto& p : b.pieces) n += p.band_begin[band + 1] - p.band_begin[band];
  if (scratch.runs.size() < n) scratch.runs.resize(n);
  scratch.items.resize(n);  // depth and number of a run
  scratch.cursor.assign(b.tiles_x + 1, 0);
  tile_run* const runs = scratch.runs.data();
  uint32_t* const cursor = scratch.cursor.data();
  n = 0;
  for (size_t p = 0; p < b.pieces.size(); ++p) {
    const tile_run* from = b.pieces[p].runs.data();
    for (uint32_t i = b.pieces[p].band_begin[band]; i < b.pieces[p].band_begin[band + 1]; ++i) {
      tile_run run = from[i];
      run.slot += first_slot[p];
      ++cursor[run.first], --cursor[run.first + run.count];
      scratch.items[n] = uint64_t(run.depth) << 32 | n;
      runs[n++] = run;
    }
  }
  radix_sort(scratch.items, scratch.spare);
  uint32_t here = 0;  // entries of a tile: runs that have begun and not ended
  for (int t = 0; t < b.tiles_x; ++t) {
    here += cursor[t];
    b.tile_begin[band * b.tiles_x + t] = cursor[t] = begin;
    begin += here;
  }
  uint32_t *const row = b.row.data(), *const slot = b.slot.data();
  for (const uint64_t item : scratch.items) {
    const tile_run run = runs[uint32_t(item)];
    for (uint32_t k = 0; k < run.count; ++k) {
      const uint32_t at = cursor[run.first + k]++;
      row[at] = run.row;
      slot[at] = run.slot + k;
    }
  }
}

template <class T, class P>
void bin_splats(const scalar_of<P>* records, int64_t rows, int width, int height, bins& out) {
  out.width = width;
  out.height = height;
  out.tiles_x = (width + T::width - 1) / T::width;
  out.tiles_y = (height + T::height - 1) / T::height;
  constexpr int64_t kPiece = 1024;
  out.pieces.resize((rows + kPiece - 1) / kPiece);
  out.slot_begin.resize(rows + 1);
  parallel_ranges(rows, kPiece, [&](int64_t from, int64_t to) {
    find_runs<T, P>(records, from, to, out, out.slot_begin.data(), out.pieces[from / kPiece]);
  });
  std::vector<uint32_t> first_slot, band_begin(out.tiles_y, 0);
  uint32_t slots = 0, entries = 0;
  out.visible = 0;
  for (const auto& p : out.pieces) {
    first_slot.push_back(slots);
    slots += p.slots;
    out.visible += p.visible;
    for (int band = 0; band < out.tiles_y; ++band) band_begin[band] += p.entries[band];
  }
  for (uint32_t& n : band_begin) entries += std::exchange(n, entries);
  out.slot_begin[rows] = slots;
  out.row.resize(slots);
  out.slot.resize(slots);
  out.tile_begin.resize(out.tiles_x * out.tiles_y + 1);
  out.tile_begin.back() = slots;
  out.used.resize(out.tiles_x * out.tiles_y);
  parallel_for(out.tiles_y, [&](int64_t band) { fill_band(int(band), band_begin[band], first_slot, out); });
  parallel_ranges(rows, kPiece, [&](int64_t from, int64_t to) {
    for (int64_t i = from; i < to; ++i) out.slot_begin[i] += first_slot[from / kPiece];
  });
}

}  // namespace recon
