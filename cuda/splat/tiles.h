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

// Tiles whose pixel centres the bounding box of a Gaussian's alpha >= 1/255 ellipse covers; empty if x0 > x1 or y0 > y1.
struct tile_rect {
  int16_t x0, y0, x1, y1;
};

// Bins may hold too much, never too little: the pixel test decides.
inline constexpr float kSlack = 2e-3f;

RECON_HD float reach_of(float log2_opacity) {  // t: the ellipse is d^T K d <= t
  return float(2 * kLn2) * (log2_opacity + float(kLog2Of255)) * 1.0001f + 1e-4f;
}

template <class T, class S>
RECON_HD tile_rect rect_of(const S* r, int width, int height) {
  const float A = float(r[kA]), B = float(r[kB]), C = float(r[kC]), mx = float(r[kMx]), my = float(r[kMy]);
  const float det = A * C - B * B, t = reach_of(float(r[kLog2Opacity]));
  float hx = float(r[kRadius]), hy = hx;  // where rounding lost the ellipse: the box of the radius
  if (det > 0) {
    const float scale = t / det;
    hx = sqrt(scale * C);
    hy = sqrt(scale * A);
  }
  // first tile with a centre w i + w - 0.5 >= left, last tile with a centre w i + 0.5 <= right
  constexpr float across = 1.0f / T::width, down = 1.0f / T::height;
  const auto low = [](float v) { return v <= 0 ? 0.0f : min(v, 32000.0f); };
  const float left = low((mx - hx - kSlack + 0.5f) * across), right = (mx + hx + kSlack - 0.5f) * across;
  const float top = low((my - hy - kSlack + 0.5f) * down), bottom = (my + hy + kSlack - 0.5f) * down;
  const float last_x = float((width - 1) / T::width), last_y = float((height - 1) / T::height);
  if (right < 0 || bottom < 0) return {1, 1, 0, 0};
  return {int16_t(left), int16_t(top), int16_t(min(right, last_x)), int16_t(min(bottom, last_y))};
}

// Calls visit(tile) for every tile that has a pixel centre inside the ellipse. A box of one row or one column is exact;
// else, per tile row, the x-extent of ellipse and row strip gives a contiguous run of tiles.
template <class T, class S, class Visit>
RECON_HD void for_each_tile(const S* record, const tile_rect& rect, int height, int tiles_x, const Visit& visit) {
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
  const float inverse_a = 1.0f / A, hx = sqrt(t * C / det), hy = sqrt(t * A / det) + kSlack;
  const float y_of_extreme_x = -B / C * hx, ta = t * A;
  constexpr float across = 1.0f / T::width;
  for (int ty = rect.y0; ty <= rect.y1; ++ty) {
    const float u0 = max(ty * T::height + 0.5f - my, -hy);
    const float u1 = min(min(ty * T::height + T::height - 0.5f, height - 0.5f) - my, hy);
    if (u0 > u1) continue;
    const float ur = min(max(y_of_extreme_x, u0), u1), ul = min(max(-y_of_extreme_x, u0), u1);
    const float right = mx + (-B * ur + sqrt(max(ta - det * ur * ur, 0.0f))) * inverse_a + kSlack;
    const float left = mx + (-B * ul - sqrt(max(ta - det * ul * ul, 0.0f))) * inverse_a - kSlack;
    if (right < 0.5f) continue;
    const int first = int(max(left + 0.5f, 0.0f) * across), last = int((right - 0.5f) * across);
    const int x0 = first > rect.x0 ? first : rect.x0, x1 = last < rect.x1 ? last : rect.x1;
    for (int tx = x0; tx <= x1; ++tx) visit(ty * tiles_x + tx);
  }
}

}  // namespace recon
