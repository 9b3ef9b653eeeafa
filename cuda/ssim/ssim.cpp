// L1 + SSIM on the CPU: value and gradient in one sweep over tiles that stay in the cache.
//
// A tile is some rows and columns of one channel. Its pixels are copied once, with the window's zero padding around
// them, then (1) the four moments are filtered down the columns, several rows at a time so that each loaded row serves
// all of them, (2) filtered along the rows straight into the SSIM formula, whose three adjoints are kept, and
// (3) the adjoints are filtered the same way into the gradient. Neighbouring tiles recompute a border of five pixels
// instead of waiting for each other.
#include "ssim/ssim_cpu.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <vector>

#include "core/ahead.h"
#include "core/pack.h"
#include "core/parallel.h"
#include "ssim/ssim.h"

namespace recon::ssim {
namespace {

constexpr int kTileRows = 32;
constexpr int kTileColumns = 512;
constexpr int kRowsAhead = 8;  // rows of both pictures that are asked for in advance

template <class S>
struct lanes_of {
  using type = pack<S, 4>;
};
template <>
struct lanes_of<float> {
  using type = lanes;
};

constexpr int round_up(int n, int multiple) { return (n + multiple - 1) / multiple * multiple; }

template <class P>
struct Window {
  P w[kRadius + 1];
  RECON_HD Window() {
    for (int i = 0; i <= kRadius; ++i) w[i] = P(scalar_of<P>(window_tap(i)));
  }
};

// Weighted sum of the numbers around p, which begins a pack in memory.
template <class P>
RECON_HD P along_row(const scalar_of<P>* p, const Window<P>& window) {
  P sum = window.w[kRadius] * load<P>(p);
#if defined(__AVX512F__)
  if constexpr (std::is_same_v<P, p16>) {  // three whole packs: shifted ones would each lie in two cache lines
    const __m512i left = _mm512_loadu_si512(p - 16), here = _mm512_loadu_si512(p), right = _mm512_loadu_si512(p + 16);
    const auto add = [&](auto shift) {
      constexpr int i = decltype(shift)::value;
      const p16 before = _mm512_castsi512_ps(_mm512_alignr_epi32(here, left, 16 - i));
      const p16 behind = _mm512_castsi512_ps(_mm512_alignr_epi32(right, here, i));
      sum = fma(window.w[kRadius - i], before + behind, sum);
    };
    add(std::integral_constant<int, 1>{}), add(std::integral_constant<int, 2>{}), add(std::integral_constant<int, 3>{});
    add(std::integral_constant<int, 4>{}), add(std::integral_constant<int, 5>{});
    static_assert(kRadius == 5);
    return sum;
  }
#endif
#pragma GCC unroll 5
  for (int i = 1; i <= kRadius; ++i) sum = fma(window.w[kRadius - i], load<P>(p - i) + load<P>(p + i), sum);
  return sum;
}

// Memory of one thread, kept between calls: fresh pages for every tile would cost more than the filters.
class Scratch {
 public:
  template <class S>
  S* take(size_t count) {
    const size_t bytes = (count * sizeof(S) + 63) / 64 * 64;
    if (bytes > size_) {
      memory_.reset(static_cast<char*>(std::aligned_alloc(64, bytes)));
      size_ = memory_ ? bytes : 0;
      if (!memory_) throw std::bad_alloc();
    }
    return reinterpret_cast<S*>(memory_.get());
  }

 private:
  struct Free {
    void operator()(char* p) const { std::free(p); }
  };
  std::unique_ptr<char, Free> memory_;
  size_t size_ = 0;
};

template <class S, class T>
struct Job {
  Pair<S, T> pair;
  S* gradient;
  S* map;
  S l1_scale, ssim_scale;  // of one pixel's terms in the gradient
  int tiles_x, tiles_y, tile_columns;
};

struct Sums {
  double l1 = 0, ssim = 0;
};

template <class S, class T>
class Tile {
  using P = typename lanes_of<S>::type;
  static constexpr int L = traits<P>::lanes;
  static constexpr int kBlock = L >= 16 ? 4 : 2;           // rows filtered together: as many as the registers hold
  static constexpr int kMargin = round_up(kRadius, L);     // border of the window, in whole packs
  static constexpr int kRows = kTileRows + 4 * kRadius + kBlock;

 public:
  Tile(const Job<S, T>& job, int64_t index) : job_(job), pair_(job.pair) {
    const int tx = int(index % job.tiles_x), ty = int(index / job.tiles_x % job.tiles_y);
    channel_ = int(index / (int64_t(job.tiles_x) * job.tiles_y));
    row0_ = ty * kTileRows;
    row1_ = std::min(row0_ + kTileRows, pair_.height);
    col0_ = tx * job.tile_columns;
    col1_ = std::min(col0_ + job.tile_columns, pair_.width);
    core_ = round_up(col1_ - col0_, L);
    // SSIM is needed five pixels around the core only for the gradient, and nowhere outside the image.
    const int halo = job.gradient ? kRadius : 0, margin = job.gradient ? kMargin : 0;
    map_row0_ = std::max(row0_ - halo, 0);
    map_row1_ = std::min(row1_ + halo, pair_.height);
    map_begin_ = col0_ > 0 ? -margin : 0;
    map_end_ = col1_ < pair_.width ? core_ + margin : core_;
    pixel_begin_ = col0_ > 0 ? -2 * kMargin : 0;
    pixel_end_ = col1_ < pair_.width ? core_ + 2 * kMargin : core_;
    stride_ = core_ + 4 * kMargin;
    const size_t plane = size_t(kRows) * stride_;
    static thread_local Scratch scratch;
    S* memory = scratch.take<S>(6 * plane + size_t(4) * kBlock * stride_);
    for (S** p : {&x_, &y_, &weight_, &adjoint_[0], &adjoint_[1], &adjoint_[2]}) {
      *p = memory;
      memory += plane;
    }
    column_ = memory;
  }

  Sums run() {
    read_pixels();
    std::memset(column_, 0, sizeof(S) * 4 * kBlock * stride_);
    const Sums sums = similarity_rows();
    if (job_.gradient) gradient_rows();
    return sums;
  }

 private:
  // Address of image pixel (row, col0_ + col) in a padded plane of the tile.
  S* at(S* plane, int row, int col) const {
    return plane + size_t(row - (row0_ - 2 * kRadius)) * stride_ + 2 * kMargin + col;
  }
  S* column(int plane, int row, int col) const {
    return column_ + (plane * kBlock + row) * stride_ + 2 * kMargin + col;
  }
  const S* weights(int row, int col) const { return at(weight_, pair_.mask ? row : row0_, col); }

  void read_pixels() {
    const int first = row0_ - 2 * kRadius, begin = std::max(col0_ - 2 * kRadius, 0) - col0_;
    const int end = std::min(col1_ + 2 * kRadius, pair_.width) - col0_;
    const size_t row_bytes = sizeof(S) * stride_;
    for (int row = first; row < first + kRows; ++row) {
      S* x = at(x_, row, -2 * kMargin);
      S* y = at(y_, row, -2 * kMargin);
      if (row < 0 || row >= pair_.height || row >= row1_ + 2 * kRadius) {
        std::memset(x, 0, row_bytes);
        std::memset(y, 0, row_bytes);
        continue;
      }
      clear_outside(x, begin, end);
      clear_outside(y, begin, end);
      const size_t offset = (size_t(channel_) * pair_.height + row) * pair_.width + col0_;
      const size_t later = offset + size_t(kRowsAhead) * pair_.width + begin;
      ask_for<false>(pair_.image + later, sizeof(S) * (end - begin));
      ask_for<false>(pair_.target + later, sizeof(T) * (end - begin));
      read_row(x + 2 * kMargin, y + 2 * kMargin, pair_.image + offset, pair_.target + offset, begin, end);
      if (pair_.mask) {
        S* w = at(weight_, row, -2 * kMargin);
        clear_outside(w, begin, end);
        apply_mask(x + 2 * kMargin, y + 2 * kMargin, w + 2 * kMargin, pair_.mask + size_t(row) * pair_.width + col0_,
                   begin, end);
      }
    }
    if (!pair_.mask) {  // one row of weights serves all
      S* w = at(weight_, row0_, -2 * kMargin);
      clear_outside(w, begin, end);
      std::fill(w + 2 * kMargin + begin, w + 2 * kMargin + end, S(1));
    }
  }

  void clear_outside(S* row, int begin, int end) const {
    std::memset(row, 0, sizeof(S) * (2 * kMargin + begin));
    std::memset(row + 2 * kMargin + end, 0, sizeof(S) * (stride_ - 2 * kMargin - end));
  }

  static void read_row(S* __restrict x, S* __restrict y, const S* __restrict image, const T* __restrict target,
                       int begin, int end) {
    std::memcpy(x + begin, image + begin, sizeof(S) * (end - begin));
    const S scale = std::is_same_v<T, uint8_t> ? S(1) / S(255) : S(1);
    for (int i = begin; i < end; ++i) y[i] = S(target[i]) * scale;
  }

  static void apply_mask(S* __restrict x, S* __restrict y, S* __restrict w, const uint8_t* __restrict mask, int begin,
                         int end) {
    for (int i = begin; i < end; ++i) {
      w[i] = mask[i] ? S(1) : S(0);
      x[i] = mask[i] ? x[i] : S(0);
      y[i] = mask[i] ? y[i] : S(0);
    }
  }

  Sums similarity_rows() {
    if (job_.gradient) {  // rows and columns outside the image have no SSIM term
      for (int row = row0_ - kRadius; row < row1_ + kRadius + kBlock; ++row)
        if (row < map_row0_ || row >= map_row1_)
          for (S* plane : adjoint_) std::memset(at(plane, row, -2 * kMargin), 0, sizeof(S) * stride_);
    }
    Sums sums;
    for (int row = map_row0_; row < map_row1_; row += kBlock) {
      filter_moments(row);
      for (int b = 0; b < kBlock && row + b < map_row1_; ++b) similarity_row(row + b, b, sums);
    }
    return sums;
  }

  void filter_moments(int row) {
    const Window<P> window;
    for (int col = pixel_begin_; col < pixel_end_; col += L) {
      const S* px = at(x_, row - kRadius, col);
      const S* py = at(y_, row - kRadius, col);
      P sum[4][kBlock];
#pragma GCC unroll 4
      for (int k = 0; k < 4; ++k)
#pragma GCC unroll 4
        for (int b = 0; b < kBlock; ++b) sum[k][b] = P(S(0));
#pragma GCC unroll 16
      for (int t = 0; t < kTaps + kBlock - 1; ++t) {
        const P x = load<P>(px + size_t(t) * stride_), y = load<P>(py + size_t(t) * stride_);
        const P square = fma(x, x, y * y), product = x * y;
#pragma GCC unroll 4
        for (int b = 0; b < kBlock; ++b) {
          const int tap = t - b;
          if (tap < 0 || tap >= kTaps) continue;
          const P& w = window.w[tap <= kRadius ? tap : kTaps - 1 - tap];
          sum[0][b] = fma(w, x, sum[0][b]);
          sum[1][b] = fma(w, y, sum[1][b]);
          sum[2][b] = fma(w, square, sum[2][b]);
          sum[3][b] = fma(w, product, sum[3][b]);
        }
      }
#pragma GCC unroll 4
      for (int k = 0; k < 4; ++k)
#pragma GCC unroll 4
        for (int b = 0; b < kBlock; ++b) store<P>(column(k, b, col), sum[k][b]);
    }
  }

  void similarity_row(int row, int b, Sums& sums) {
    const Window<P> window;
    const bool in_core = row >= row0_ && row < row1_;
    P ssim_sum{S(0)}, l1_sum{S(0)};
    for (int col = map_begin_; col < map_end_; col += L) {
      const Moments<P> m{along_row<P>(column(0, b, col), window), along_row<P>(column(1, b, col), window),
                         along_row<P>(column(2, b, col), window), along_row<P>(column(3, b, col), window)};
      const Factors<P> f = factors(m);
      const P w = load<P>(weights(row, col));
      if (job_.gradient) {
        const Derivative<P> g = derivative(m, f);
        store<P>(at(adjoint_[0], row, col), g.mean_x * w);
        store<P>(at(adjoint_[1], row, col), g.square * w);
        store<P>(at(adjoint_[2], row, col), g.product * w);
      }
      if (in_core && col >= 0 && col < core_) {
        const P s = similarity(f) * w;
        ssim_sum = ssim_sum + s;
        l1_sum = fma(abs(load<P>(at(x_, row, col)) - load<P>(at(y_, row, col))), w, l1_sum);
        if (job_.map) write(job_.map, row, col, s);
      }
    }
    if (in_core) {
      sums.ssim += double(hsum(ssim_sum));
      sums.l1 += double(hsum(l1_sum));
    }
    if (!job_.gradient) return;
    // Columns between the computed ones and the padding's edge stand for pixels outside the image.
    for (S* plane : adjoint_) {
      std::memset(at(plane, row, -2 * kMargin), 0, sizeof(S) * (2 * kMargin + map_begin_));
      std::memset(at(plane, row, map_end_), 0, sizeof(S) * (stride_ - 2 * kMargin - map_end_));
    }
  }

  void gradient_rows() {
    for (int row = row0_; row < row1_; row += kBlock) {
      filter_adjoints(row);
      for (int b = 0; b < kBlock && row + b < row1_; ++b) gradient_row(row + b, b);
    }
  }

  void filter_adjoints(int row) {
    const Window<P> window;
    for (int col = map_begin_; col < map_end_; col += L) {
      P sum[3][kBlock];
#pragma GCC unroll 3
      for (int k = 0; k < 3; ++k)
#pragma GCC unroll 4
        for (int b = 0; b < kBlock; ++b) sum[k][b] = P(S(0));
#pragma GCC unroll 16
      for (int t = 0; t < kTaps + kBlock - 1; ++t) {
#pragma GCC unroll 3
        for (int k = 0; k < 3; ++k) {
          const P value = load<P>(at(adjoint_[k], row - kRadius + t, col));
#pragma GCC unroll 4
          for (int b = 0; b < kBlock; ++b) {
            const int tap = t - b;
            if (tap < 0 || tap >= kTaps) continue;
            sum[k][b] = fma(window.w[tap <= kRadius ? tap : kTaps - 1 - tap], value, sum[k][b]);
          }
        }
      }
#pragma GCC unroll 3
      for (int k = 0; k < 3; ++k)
#pragma GCC unroll 4
        for (int b = 0; b < kBlock; ++b) store<P>(column(k, b, col), sum[k][b]);
    }
    // The moments left their values beyond the adjoints' columns; there the filter along the row must see zeros.
    for (int k = 0; k < 3; ++k)
      for (int b = 0; b < kBlock; ++b) {
        std::memset(column(k, b, -2 * kMargin), 0, sizeof(S) * (2 * kMargin + map_begin_));
        std::memset(column(k, b, map_end_), 0, sizeof(S) * (stride_ - 2 * kMargin - map_end_));
      }
  }

  void gradient_row(int row, int b) {
    const Window<P> window;
    const P l1_scale{job_.l1_scale}, ssim_scale{job_.ssim_scale};
    for (int col = 0; col < core_; col += L) {
      const P x = load<P>(at(x_, row, col)), y = load<P>(at(y_, row, col));
      const Derivative<P> g{along_row<P>(column(0, b, col), window), along_row<P>(column(1, b, col), window),
                            along_row<P>(column(2, b, col), window)};
      const P total = fma(ssim_scale, pixel_gradient(x, y, g), l1_scale * sign(x - y));
      write(job_.gradient, row, col, total * load<P>(weights(row, col)));
    }
  }

  void write(S* plane, int row, int col, const P& value) const {
    S* out = plane + (size_t(channel_) * pair_.height + row) * pair_.width + col0_ + col;
    const int count = col1_ - col0_ - col;
    if (count >= L)
      store<P>(out, value);
    else
      store_part<P>(out, value, count);
  }

  const Job<S, T>& job_;
  const Pair<S, T>& pair_;
  int channel_, row0_, row1_, col0_, col1_, core_, stride_;
  int map_row0_, map_row1_, map_begin_, map_end_, pixel_begin_, pixel_end_;
  S *x_, *y_, *weight_, *adjoint_[3], *column_;
};

}  // namespace

template <class S, class T>
Loss photometric(const Pair<S, T>& pair, double ssim_weight, S* gradient, S* map) {
  int64_t pixels = int64_t(pair.height) * pair.width;
  if (pair.mask) {
    const uint8_t* end = pair.mask + pixels;
    pixels = std::count_if(pair.mask, end, [](uint8_t m) { return m != 0; });
  }
  const double terms = double(std::max<int64_t>(pixels, 1)) * pair.channels;
  // Tiles are cut by the size of the image alone, so that no sum depends on the number of threads.
  Job<S, T> job{pair, gradient, map, S((1 - ssim_weight) / terms), S(-ssim_weight / terms), 1, 1, pair.width};
  job.tiles_x = (pair.width + kTileColumns - 1) / kTileColumns;
  job.tile_columns = round_up((pair.width + job.tiles_x - 1) / job.tiles_x, 16);
  job.tiles_x = (pair.width + job.tile_columns - 1) / job.tile_columns;
  job.tiles_y = (pair.height + kTileRows - 1) / kTileRows;
  const int64_t tiles = int64_t(job.tiles_x) * job.tiles_y * pair.channels;
  std::vector<Sums> sums(tiles);
  parallel_for(tiles, [&](int64_t i) { sums[i] = Tile<S, T>(job, i).run(); });
  Sums total;
  for (const Sums& s : sums) {
    total.l1 += s.l1;
    total.ssim += s.ssim;
  }
  if (pixels == 0) return {0, 0, 1, 0};
  const double l1 = total.l1 / terms, ssim = total.ssim / terms;
  return {(1 - ssim_weight) * l1 + ssim_weight * (1 - ssim), l1, ssim, pixels};
}

template Loss photometric(const Pair<float, uint8_t>&, double, float*, float*);
template Loss photometric(const Pair<float, float>&, double, float*, float*);
template Loss photometric(const Pair<double, double>&, double, double*, double*);

}  // namespace recon::ssim
