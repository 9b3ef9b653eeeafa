// Front-to-back compositing of tiles and its backward, on lanes that cover a small block of pixels.
//
// A tile is cut into 8x8 blocks of one pack each (4x4 pixels at 16 lanes). Per (tile, Gaussian) an exact test marks the
// blocks it reaches; only those are visited. Backward walks front to back too, recomputing alpha with the
// same instructions: with h = g.c and R = what is still to come of g.C, dL/dalpha = T h - R / (1 - alpha).
#pragma once

#include <array>
#include <cstring>

#include "bin.h"
#include "core/pack.h"

namespace recon {

inline constexpr uint32_t kChunk = 256;  // entries of a tile list that are walked block by block
inline constexpr int kAhead = 6;  // entries of a tile list whose records are fetched in advance

template <class P>
struct block_shape {
  static constexpr int lanes = traits<P>::lanes;
  static constexpr int width = lanes >= 8 ? 4 : 2, height = lanes / width;
  static constexpr int per_row = 8, rows = 8, count = per_row * rows;
  using tile = tile_size<width * per_row, height * rows>;
};

template <class S>
RECON_HD blob<S> blob_of(const S* r) {
  return blob_from_splat(r[kMx], r[kMy], r[kA], r[kB], r[kC], r[kLog2Opacity]);
}

// Which blocks of a tile a Gaussian at mx, my, pixels from the tile's corner, reaches. Where rounding lost its ellipse, all.
template <class F, class SHAPE>
struct block_reach : cell_reach<F> {
  using S = scalar_of<F>;
  RECON_HD block_reach(const F& mx, const F& my, const F& A, const F& B, const F& C, const F& log2_opacity)
      : cell_reach<F>(mx, my, A, B, C, log2_opacity, F(S(1e9))) {}
  // Blocks [first, end) of row i, as numbers that are to be rounded down.
  RECON_HD void row(int i, F& first, F& end) const {
    this->cells(F(S(i * SHAPE::height) + S(0.5)), F(S((i + 1) * SHAPE::height) - S(0.5)), SHAPE::width, SHAPE::per_row,
                first, end);
  }
};

template <class P, int CH>
struct tile_state {
  using S = scalar_of<P>;
  using shape = block_shape<P>;
  static constexpr int blocks = shape::count, pixels = blocks * shape::lanes;
  static constexpr int width = shape::tile::width, height = shape::tile::height;
  // kT transmittance   kRest backward: R   kChannel.. forward: colour so far, backward: dL/d(colour)
  enum plane { kT, kRest, kChannel, kPlanes = kChannel + CH };
  alignas(64) S data[kPlanes * pixels];
  alignas(64) S pixel_x[shape::per_row * shape::lanes],
      pixel_y[shape::rows * shape::lanes];  // centres, by block column and row
  int x0, y0, columns, rows;  // of the picture inside this tile

  P x_of(int k) const { return load<P>(pixel_x + k % shape::per_row * shape::lanes); }
  P y_of(int k) const { return load<P>(pixel_y + k / shape::per_row * shape::lanes); }
  S* at(int plane, int k) { return data + plane * pixels + k * shape::lanes; }
  const S* at(int plane, int k) const { return data + plane * pixels + k * shape::lanes; }

  void place(int tile, const bins& b) {
    x0 = (tile % b.tiles_x) * width;
    y0 = (tile / b.tiles_x) * height;
    columns = std::min(width, b.width - x0);
    rows = std::min(height, b.height - y0);
    for (int j = 0; j < shape::rows; ++j)
      for (int i = 0; i < shape::lanes; ++i) {
        pixel_x[j * shape::lanes + i] = S(x0 + j * shape::width + i % shape::width) + S(0.5);
        pixel_y[j * shape::lanes + i] = S(y0 + j * shape::height + i / shape::width) + S(0.5);
      }
    for (int k = 0; k < blocks; ++k)
      for (int i = 0; i < shape::lanes; ++i) at(kT, k)[i] = S(1);
    if (columns == width && rows == height) return;
    for (int k = 0; k < blocks; ++k)  // lanes outside the picture have ended before they begin
      for (int i = 0; i < shape::lanes; ++i)
        if (k % shape::per_row * shape::width + i % shape::width >= columns ||
            k / shape::per_row * shape::height + i / shape::width >= rows)
          at(kT, k)[i] = S(0);
  }

  // copy(where in block order, where in the picture, how many) for every row of every block that is inside the picture.
  template <class Copy>
  void for_runs(int64_t stride, const Copy& copy) const {
    const bool whole = columns == width && rows == height;
    for (int y = 0; y < rows; ++y)
      for (int bx = 0; bx < shape::per_row; ++bx) {
        const int k = y / shape::height * shape::per_row + bx, x = bx * shape::width;
        const int inside = whole ? shape::width : std::min(std::max(columns - x, 0), shape::width);
        copy(k * shape::lanes + y % shape::height * shape::width, (y0 + y) * stride + x0 + x, inside);
      }
  }
  void gather(const S* picture, int64_t stride, S* to) const {  // 0 outside
    if (columns < width || rows < height) std::memset(to, 0, pixels * sizeof(S));
    for_runs(stride, [&](int lane, int64_t at, int n) {
      if (n == shape::width)
        std::memcpy(to + lane, picture + at, sizeof(S) * shape::width);
      else
        std::copy_n(picture + at, n, to + lane);
    });
  }
  void scatter(const S* from, S* picture, int64_t stride) const {
    for_runs(stride, [&](int lane, int64_t at, int n) {
      if (n == shape::width)
        std::memcpy(picture + at, from + lane, sizeof(S) * shape::width);
      else
        std::copy_n(from + lane, n, picture + at);
    });
  }

  // Blocks with a pixel centre inside the ellipse, as bits row by row.
  uint64_t reach(const S* r) const {
    const block_reach<S, shape> of(r[kMx] - S(x0), r[kMy] - S(y0), r[kA], r[kB], r[kC], r[kLog2Opacity]);
    uint64_t mask = 0;
    for (int i = 0; i < shape::rows; ++i) {
      S first, end;
      of.row(i, first, end);
      mask |= uint64_t((1u << int(end)) - (1u << int(first))) << (8 * i);
    }
    return mask;
  }
};

#if defined(__AVX2__)
// Positions of the bits that are set in a byte, lowest first, a byte each.
inline constexpr auto kSetBits = [] {
  std::array<uint64_t, 256> table{};
  for (int byte = 0; byte < 256; ++byte)
    for (int bit = 0, n = 0; bit < 8; ++bit)
      if (byte >> bit & 1) table[byte] |= uint64_t(bit) << (8 * n++);
  return table;
}();
#endif

// The entries of one chunk of a tile list, copied together: block after block walks them in the first-level cache.
template <class P>
struct tile_chunk {
  using S = scalar_of<P>;
  static constexpr int blocks = block_shape<P>::count, most = int(kChunk);
  struct entry {
    blob<S> shape;
    S channel[4];
  };
  alignas(64) entry entries[most];
  alignas(64) S ellipse[6][most];  // mx, my from the tile's corner, A, B, C, log2(opacity)
  alignas(64) uint32_t mask[2][most + 16];  // block masks, low and high half
  alignas(64) uint32_t lists[2][most + 16];

  // bits |= ones from first to end, moved up.
  static void add_run(const P& first, const P& end, int up, uint32_t* bits) {
#if defined(__AVX512F__)
    if constexpr (std::is_same_v<P, p16>) {
      const auto below = [](__m512 x) { return _mm512_sllv_epi32(_mm512_set1_epi32(1), _mm512_cvttps_epi32(x)); };
      const __m512i run = _mm512_sub_epi32(below(end.v), below(first.v));
      _mm512_store_si512(bits, _mm512_or_si512(_mm512_load_si512(bits), _mm512_slli_epi32(run, up)));
      return;
    }
#endif
#if defined(__AVX2__)
    if constexpr (std::is_same_v<P, p8>) {
      const auto below = [](__m256 x) { return _mm256_sllv_epi32(_mm256_set1_epi32(1), _mm256_cvttps_epi32(x)); };
      const __m256i run = _mm256_sub_epi32(below(end.v), below(first.v));
      auto* at = reinterpret_cast<__m256i*>(bits);
      _mm256_store_si256(at, _mm256_or_si256(_mm256_load_si256(at), _mm256_slli_epi32(run, up)));
      return;
    }
#endif
    S from[traits<P>::lanes], to[traits<P>::lanes];
    store(from, first);
    store(to, end);
    for (int l = 0; l < traits<P>::lanes; ++l) bits[l] |= ((1u << int(to[l])) - (1u << int(from[l]))) << up;
  }

  // Fills the masks of `count` entries, lanes over entries; only with blocks of `live`.
  void find_blocks(int count, uint64_t live) {
    constexpr int L = traits<P>::lanes;
    using shape = block_shape<P>;
    for (int at = 0; at < count; at += L) {
      const auto of = [&](int i) { return load<P>(ellipse[i] + at); };
      const block_reach<P, shape> reach(of(0), of(1), of(2), of(3), of(4), of(5));
      for (int half = 0; half < 2; ++half) {
        alignas(64) uint32_t bits[L] = {};
        for (int i = 0; i < 4; ++i) {
          P first, end;
          reach.row(4 * half + i, first, end);
          add_run(first, end, 8 * i, bits);
        }
        const uint32_t wanted = uint32_t(live >> (32 * half));
        for (int l = 0; l < L; ++l) mask[half][at + l] = bits[l] & wanted;
      }
    }
    for (int i = count; i < (count + 15) / 16 * 16; ++i) mask[0][i] = mask[1][i] = 0;
  }

  // Entries of this chunk that reach block k, front to back -> list; returns how many.
  int list_block(int k, int count, uint32_t* list) const {
    const uint32_t* m = mask[k >> 5];
    const uint32_t bit = 1u << (k & 31);
    int n = 0;
#if defined(__AVX512F__)
    const __m512i wanted = _mm512_set1_epi32(int(bit)), step = _mm512_set1_epi32(16);
    __m512i index = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    for (int i = 0; i < count; i += 16, index = _mm512_add_epi32(index, step)) {
      const __mmask16 hit = _mm512_test_epi32_mask(_mm512_load_si512(m + i), wanted);
      _mm512_storeu_si512(list + n, _mm512_maskz_compress_epi32(hit, index));
      n += __builtin_popcount(hit);
    }
#elif defined(__AVX2__)
    const __m256i wanted = _mm256_set1_epi32(int(bit));
    for (int i = 0; i < count; i += 8) {
      const __m256i found = _mm256_and_si256(_mm256_load_si256(reinterpret_cast<const __m256i*>(m + i)), wanted);
      const int hit = _mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpeq_epi32(found, wanted)));
      const __m256i which = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(int64_t(kSetBits[hit])));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(list + n), _mm256_add_epi32(which, _mm256_set1_epi32(i)));
      n += __builtin_popcount(hit);
    }
#else
    for (int i = 0; i < count; ++i) {  // without a branch: whether an entry reaches the block cannot be predicted
      list[n] = uint32_t(i);
      n += (m[i] & bit) != 0;
    }
#endif
    return n;
  }
};

// A block whose transmittance and colour stay in registers while the Gaussians of its list pass by.
template <class P, int CH>
struct block_walk {
  using S = scalar_of<P>;
  using state = tile_state<P, CH>;
  P x, y, T, colour[CH];
  const uint32_t* list;
  int k, i = 0, n;
  bool open = true;

  RECON_HD block_walk(const state& s, int k, const uint32_t* list, int n)
      : x(s.x_of(k)), y(s.y_of(k)), T(load<P>(s.at(state::kT, k))), list(list), k(k), n(n) {
    for (int c = 0; c < CH; ++c) colour[c] = load<P>(s.at(state::kChannel + c, k));
  }
  // The Gaussian that is so many behind the next one.
  RECON_HD void visit(const tile_chunk<P>& chunk, int behind) {
    const auto& entry = chunk.entries[list[i + behind]];
    const blob<S>& one = entry.shape;
    const blob<P> wide{P(one.mx), P(one.my), P(one.A2), P(one.B2), P(one.C2), P(one.lo)};
    const P weight = blend_weight(wide, x - wide.mx, y - wide.my, T);
    for (int c = 0; c < CH; ++c) colour[c] = fma(weight, P(entry.channel[c]), colour[c]);
    T = T - weight;
  }
  // By fours where there are as many: whether a block has ended need not be asked after every Gaussian.
  bool fours() const { return open && i + 4 <= n; }
  RECON_HD void advance(int by) {
    i += by;
    open = any(T >= P(S(kTransmittanceMin)));
  }
  void store_to(state& s) const {
    store(s.at(state::kT, k), T);
    for (int c = 0; c < CH; ++c) store(s.at(state::kChannel + c, k), colour[c]);
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
  std::memset(s.at(state::kChannel, 0), 0, CH * state::pixels * sizeof(S));
  uint64_t live = 0;
  for (int k = 0; k < state::blocks; ++k)
    for (int i = 0; i < L; ++i) live |= uint64_t(s.at(state::kT, k)[i] > S(0)) << k;
  const uint32_t begin = b.tile_begin[tile], end = b.tile_begin[tile + 1];
  tile_chunk<P> chunk;
  uint32_t at = begin;
  while (at < end && live) {
    const int count = int(std::min(end - at, kChunk));
    for (int i = 0; i < count; ++i) {
      if (at + i + kAhead < end) __builtin_prefetch(records + int64_t(b.row[at + i + kAhead]) * kRecord);
      const S* r = records + int64_t(b.row[at + i]) * kRecord;
      auto& entry = chunk.entries[i];
      entry.shape = blob_of(r);
      for (int c = 0; c < CH; ++c) entry.channel[c] = r[kRed + c];
      const S ellipse[6] = {r[kMx] - S(s.x0), r[kMy] - S(s.y0), r[kA], r[kB], r[kC], r[kLog2Opacity]};
      for (int j = 0; j < 6; ++j) chunk.ellipse[j][i] = ellipse[j];
    }
    chunk.find_blocks(count, live);
    using walk = block_walk<P, CH>;
    const auto begin_walk = [&](uint64_t& todo, uint32_t* list) {
      const int k = __builtin_ctzll(todo);
      todo &= todo - 1;
      return walk(s, k, list, chunk.list_block(k, count, list));
    };
    const auto end_walk = [&](walk& w) {
      while (w.fours()) {
        for (int j = 0; j < 4; ++j) w.visit(chunk, j);
        w.advance(4);
      }
      if (w.open && w.i < w.n) {
        for (int j = 0; j < w.n - w.i; ++j) w.visit(chunk, j);
        w.advance(w.n - w.i);
      }
      w.store_to(s);
      if (w.open) return;
      live &= ~(uint64_t(1) << w.k);
      for (int i = w.i; i < w.n; ++i)  // backward will not visit them
        chunk.mask[w.k >> 5][w.list[i]] &= ~(1u << (w.k & 31));
    };
    for (uint64_t todo = live; todo;) {
      walk one = begin_walk(todo, chunk.lists[0]);
      if (todo) {  // two blocks at a time: in one of them, a Gaussian waits for the one before it
        walk other = begin_walk(todo, chunk.lists[1]);
        while (one.fours() && other.fours()) {
          for (int j = 0; j < 4; ++j) one.visit(chunk, j), other.visit(chunk, j);
          one.advance(4), other.advance(4);
        }
        end_walk(other);
      }
      end_walk(one);
    }
    for (int i = 0; i < count; ++i) b.block_mask[at + i] = chunk.mask[0][i] | uint64_t(chunk.mask[1][i]) << 32;
    at += count;
  }
  b.used[tile] = at - begin;
  const int64_t plane = int64_t(b.width) * b.height;
  for (int c = 0; c < CH; ++c) {
    const S behind = c < 3 ? background[c] : S(0);
    S *colour = s.at(state::kChannel + c, 0), *T = s.at(state::kT, 0);
    for (int i = 0; i < state::pixels; ++i) colour[i] += T[i] * behind;
    s.scatter(colour, picture + c * plane, b.width);
  }
  s.scatter(s.at(state::kT, 0), transmittance, b.width);
}

// Writes for every entry of the tile its sums over pixels to slots[slot][kSums].
template <class P, int CH, bool ABS>
void composite_tile_backward(int tile, const scalar_of<P>* records, const bins& b, const scalar_of<P>* picture,
                             const scalar_of<P>* transmittance, const scalar_of<P>* g_picture,
                             const scalar_of<P>* g_transmittance, scalar_of<P>* slots) {
  using S = scalar_of<P>;
  using state = tile_state<P, CH>;
  const uint32_t begin = b.tile_begin[tile], end = b.tile_begin[tile + 1], stop = begin + b.used[tile];
  for (uint32_t e = stop; e < end; ++e) std::memset(slots + int64_t(b.slot[e]) * kSums, 0, kSums * sizeof(S));
  if (begin == stop) return;
  state s;
  s.place(tile, b);
  const int64_t plane = int64_t(b.width) * b.height;
  alignas(64) S other[state::pixels];
  S* rest = s.at(state::kRest, 0);
  std::memset(rest, 0, state::pixels * sizeof(S));
  const auto add_product = [&](const S* factor) {
    for (int i = 0; i < state::pixels; ++i) rest[i] += factor[i] * other[i];
  };
  if (g_transmittance) {  // the first channel's plane holds g for a moment
    s.gather(g_transmittance, b.width, s.at(state::kChannel, 0));
    s.gather(transmittance, b.width, other);
    add_product(s.at(state::kChannel, 0));
  }
  for (int c = 0; c < CH; ++c) {  // R starts as g.C with the background as a last layer
    s.gather(g_picture + c * plane, b.width, s.at(state::kChannel + c, 0));
    s.gather(picture + c * plane, b.width, other);
    add_product(s.at(state::kChannel + c, 0));
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
    const P A{r[kA]}, B{r[kB]}, C{r[kC]};
    while (todo) {
      const int k = __builtin_ctzll(todo);
      todo &= todo - 1;
      const P dx = s.x_of(k) - wide.mx, dy = s.y_of(k) - wide.my;
      P h = load<P>(s.at(state::kChannel, k)) * colour[0];
      for (int c = 1; c < CH; ++c) h = fma(load<P>(s.at(state::kChannel + c, k)), colour[c], h);
      P T = load<P>(s.at(state::kT, k)), R = load<P>(s.at(state::kRest, k)), weight;
      const P g = blend_backward(wide, dx, dy, h, T, R, weight);  // dL/d log(opacity) at this pixel
      store(s.at(state::kRest, k), R);
      const P gx = g * dx, gy = g * dy;
      sum[0] = sum[0] + g;
      sum[1] = sum[1] + gx;
      sum[2] = sum[2] + gy;
      sum[3] = fma(gx, dx, sum[3]);
      sum[4] = fma(gx, dy, sum[4]);
      sum[5] = fma(gy, dy, sum[5]);
      for (int c = 0; c < CH; ++c) sum[6 + c] = fma(weight, load<P>(s.at(state::kChannel + c, k)), sum[6 + c]);
      if (ABS) {
        sum[10] = sum[10] + abs(fma(A, gx, B * gy));
        sum[11] = sum[11] + abs(fma(B, gx, C * gy));
      }
      store(s.at(state::kT, k), T);
    }
    sum_lanes<ABS ? 12 : 6 + CH>(sum, out);
  }
}

// Adds up the instances of each Gaussian in fixed order and turns sums into dL/d(record), zero where there are none.
template <class S>
void gather_sums(const S* records, const bins& b, const S* slots, S* g_records) {
  parallel_ranges(int64_t(b.slot_begin.size()) - 1, 1024, [&](int64_t from, int64_t to) {
    for (int64_t i = from; i < to; ++i) {
      S* g = g_records + i * kRecord;
      const uint32_t first = b.slot_begin[i], end = b.slot_begin[i + 1];
      if (first == end) {
        std::memset(g, 0, kRecord * sizeof(S));
        continue;
      }
      S sum[kSums] = {};
      for (uint32_t k = first; k < end; ++k)
        for (int j = 0; j < kSums; ++j) sum[j] += slots[int64_t(k) * kSums + j];
      record_gradient(records + i * kRecord, sum, g);
    }
  });
}

}  // namespace recon
