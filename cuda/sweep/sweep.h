// Whether a pixel, taken to lie on a plane, looks the same in another picture: where it falls there, what is seen, and
// the normalised cross-correlation of the windows around both. Collins, "A space-sweep approach to true multi-image
// matching", CVPR 1996.
#pragma once

#include <cstdint>

#include "core/scalar.h"

namespace recon::sweep {

inline constexpr int kMostWindow = 15;  // pixels
inline constexpr float kNothing = -1.0f;  // correlation where a pixel is not seen

// Another picture. 1 + brightness, which is 0..1; negative where it does not count. map [3, 4]: pixel coordinates
// there, homogeneous and times inverse depth, of a pixel (x, y, 1) at an inverse depth: the planes' homographies.
struct Other {
  const float* picture;
  const float* map;
  int32_t height, width;
};

// planes of inverse depth start + k step, start [height, width]; all windows around pixels of `grey` [height, width].
struct Sweep {
  int64_t height, width;
  const float* grey;
  const float* start;
  float step;
  int planes;
  const float* pictures;  // of all others, one after another
  const int32_t* sizes;  // [others, 2]: height, width
  const float* maps;  // [others, 3, 4]
  int others;
  int half;  // pixels of a window to each side
  float texture;  // no window counts as varying less
};

// Pixel coordinates in the other picture; nan where the plane is behind that camera or `inverse` is nan.
template <class F>
RECON_HD void project(const float* map, const F& x, const F& y, const F& inverse, F& px, F& py) {
  const auto row = [&](const float* m) { return fma(inverse, F(m[3]), fma(y, F(m[1]), fma(x, F(m[0]), F(m[2])))); };
  const F z = row(map + 8);
  const F ahead = select(z > F(1e-6f), z, F(__builtin_nanf("")));
  px = row(map) / ahead;
  py = row(map + 4) / ahead;
}

// Brightness at pixel coordinates, between the centres of four pixels, and 1 where all of them count; outside 0 and 0.
RECON_HD float look_up(const float* picture, int32_t height, int32_t width, float px, float py, float& counts) {
  const float u = px - 0.5f, v = py - 0.5f;
  const bool inside = (u >= 0.0f) & (v >= 0.0f) & (u <= float(width - 1)) & (v <= float(height - 1));
  const float x = inside ? u : 0.0f, y = inside ? v : 0.0f;
  const int32_t i = int32_t(x), j = int32_t(y);
  const int32_t right = i + 1 < width ? 1 : 0, below = j + 1 < height ? width : 0;
  const int32_t at = j * width + i;
  const float f = x - float(i), g = y - float(j);
  const float a = picture[at], b = picture[at + right], c = picture[at + below], d = picture[at + below + right];
  const float top = abs(a) + f * (abs(b) - abs(a)), bottom = abs(c) + f * (abs(d) - abs(c));
  counts = inside & (min(min(a, b), min(c, d)) > 0.0f) ? 1.0f : 0.0f;
  return inside ? top + g * (bottom - top) - 1.0f : 0.0f;
}

// Correlation of two windows from their sums over 1 / share pixels: of each, its squares, and products.
template <class F>
RECON_HD F correlation(const F& share, const F& a, const F& aa, const F& b, const F& bb, const F& ab,
                       const F& texture) {
  const F mean_a = a * share, mean_b = b * share;
  const F var_a = max(aa * share - mean_a * mean_a, texture), var_b = max(bb * share - mean_b * mean_b, texture);
  return (ab * share - mean_a * mean_b) / sqrt(var_a * var_b);
}

// The two best of what others say so far: a place may be hidden from the rest.
template <class F>
RECON_HD void keep_best(const F& found, F& best, F& second) {
  second = max(second, min(best, found));
  best = max(best, found);
}
template <class F>
RECON_HD F score(int others, const F& best, const F& second) {
  return others > 1 ? F(scalar_of<F>(0.5)) * (best + second) : best;
}

// Pixels of a window that lie in the picture, along one axis.
RECON_HD int within(int64_t at, int64_t size, int half) {
  const int64_t low = at < half ? at : half, high = size - 1 - at < half ? size - 1 - at : half;
  return int(low + high + 1);
}

}  // namespace recon::sweep
