// Which tiles of a picture a Gaussian reaches: exact for its alpha >= 1/255 ellipse, a hair generous for rounding.
// Row extents as in Hanson et al., "Speedy-Splat", CVPR 2025, arXiv 2412.00578.
#pragma once

#include <cstdint>

#include "record.h"
#include "splat.h"

namespace recon {

// CPU: a tile is 8x8 blocks of one pack each, so that the blocks a Gaussian reaches are one 64-bit mask: 32x32 pixels at
// 16 lanes. Large tiles cost fewer entries; what a Gaussian does not reach inside them is skipped block by block.
// CUDA: 16x16 pixels, a thread each.
template <int W, int H>
struct tile_size {
  static constexpr int width = W, height = H;
};

// Reach may be too far, never too short: the pixel test decides.
inline constexpr float kSlack = 2e-3f;

// Which cells of a grid have a pixel centre inside the alpha >= 1/255 ellipse d^T K d <= t of a Gaussian. Per row of
// cells, the extent in x of ellipse and strip gives a run of cells.
template <class F>
struct cell_reach {
  using S = scalar_of<F>;
  F mx, my, radius, B, det, ta, inverse_a, hy, extreme;  // extreme: y where x is largest
  mask_of<F> exact;  // false: rounding lost the ellipse, the square of `radius` counts

  RECON_HD cell_reach(const F& mx, const F& my, const F& A, const F& B, const F& C, const F& log2_opacity,
                      const F& radius)
      : mx(mx), my(my), radius(radius), B(B), det(A * C - B * B), exact(det > F(S(0))) {
    const F t = fma(log2_opacity + F(S(kLog2Of255)), F(S(2 * kLn2 * 1.0001)), F(S(1e-4)));
    const F scale = t / det;
    ta = t * A;
    inverse_a = F(S(1)) / A;
    hy = select(exact, sqrt(scale * A), radius) + F(S(kSlack));
    extreme = -(B / C) * sqrt(scale * C);
  }

  // Rows [first, end) of the `most` rows of cells, `height` pixels each, as numbers that are to be rounded down.
  RECON_HD void rows(int height, int most, F& first, F& end) const {
    const F down{S(1) / S(height)}, half{S(0.5) / S(height)}, zero{S(0)}, last{S(most)};
    first = min(max(fma(my - hy, down, half), zero), last);
    end = min(max(fma(my + hy, down, F(S(1)) - half), zero), last);
  }

  // Cells [first, end) of the `most` cells, `width` pixels each, of a row of pixel centres y = top .. bottom; the same.
  RECON_HD void cells(const F& top, const F& bottom, int width, int most, F& first, F& end) const {
    const F across{S(1) / S(width)}, half{S(0.5) / S(width)}, zero{S(0)}, last{S(most)}, slack{S(kSlack)};
    const F low = max(top - my, -hy), high = min(bottom - my, hy);
    const F ur = min(max(extreme, low), high), ul = min(max(-extreme, low), high);
    const F right = fma(sqrt(max(ta - det * ur * ur, zero)) - B * ur, inverse_a, mx + slack);
    const F left = fnma(sqrt(max(ta - det * ul * ul, zero)) + B * ul, inverse_a, mx - slack);
    first = min(max(fma(select(exact, left, mx - radius), across, half), zero), last);
    end = max(min(fma(select(exact, right, mx + radius), across, F(S(1)) - half), last), first);
    end = select(low <= high, end, first);
  }
};

template <class F>
RECON_HD cell_reach<F> reach_of(const F* r) {
  return {r[kMx], r[kMy], r[kA], r[kB], r[kC], r[kLog2Opacity], r[kRadius]};
}

// Calls visit(tile) for every tile that a Gaussian reaches.
template <class T, class Visit>
RECON_HD void for_each_tile(const float* record, int width, int height, const Visit& visit) {
  const cell_reach<float> reach = reach_of(record);
  const int tiles_x = (width + T::width - 1) / T::width, tiles_y = (height + T::height - 1) / T::height;
  float first, end;
  reach.rows(T::height, tiles_y, first, end);
  const int end_y = int(end);
  for (int ty = int(first); ty < end_y; ++ty) {
    const float top = float(ty * T::height) + 0.5f;
    reach.cells(top, min(top + (T::height - 1), float(height) - 0.5f), T::width, tiles_x, first, end);
    const int end_x = int(end);
    for (int tx = int(first); tx < end_x; ++tx) visit(ty * tiles_x + tx);
  }
}

}  // namespace recon
