// Faces are listed per band of rows; a band belongs to one thread. Nearest wins, of equals the lower index.
#include "raster/raster.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "core/parallel.h"
#include "raster/raster_cpu.h"

namespace recon::raster {
namespace {

constexpr int64_t kBand = 16;  // rows

struct Box {
  int32_t x0, x1, y0, y1;  // pixels whose centres may be inside; empty if x0 > x1 or y0 > y1
};

Box box_of(const Scene& s, int64_t f) {
  double low[2] = {1e30, 1e30}, high[2] = {-1e30, -1e30};
  for (int i = 0; i < 3; ++i) {
    const float* p = s.vertices + 3 * int64_t(s.faces[3 * f + i]);
    if (!(double(p[2]) > s.near)) return {0, -1, 0, -1};
    const double at[2] = {s.fx * p[0] / p[2] + s.cx, s.fy * p[1] / p[2] + s.cy};
    for (int k = 0; k < 2; ++k) {
      low[k] = std::min(low[k], at[k]);
      high[k] = std::max(high[k], at[k]);
    }
  }
  const auto within = [](double v, int64_t size) { return int32_t(std::min(std::max(v, -1.0), double(size))); };
  if (!(high[0] >= low[0] && high[1] >= low[1])) return {0, -1, 0, -1};
  return {std::max(within(std::ceil(low[0] - 0.5 - 1e-6), s.width), 0),
          std::min(within(std::floor(high[0] - 0.5 + 1e-6), s.width), int32_t(s.width - 1)),
          std::max(within(std::ceil(low[1] - 0.5 - 1e-6), s.height), 0),
          std::min(within(std::floor(high[1] - 0.5 + 1e-6), s.height), int32_t(s.height - 1))};
}

}  // namespace

void rasterize(const Scene& s, int32_t* face, float* depth, float* shares) {
  const int64_t bands = (s.height + kBand - 1) / kBand;
  std::vector<Box> boxes(size_t(s.num_faces));
  parallel_ranges(s.num_faces, 4096, [&](int64_t begin, int64_t end) {
    for (int64_t f = begin; f < end; ++f) boxes[size_t(f)] = box_of(s, f);
  });
  std::vector<std::vector<int32_t>> lists(static_cast<size_t>(bands));
  for (int64_t f = 0; f < s.num_faces; ++f) {
    const Box& b = boxes[size_t(f)];
    if (b.x0 > b.x1 || b.y0 > b.y1) continue;
    for (int64_t band = b.y0 / kBand; band <= b.y1 / kBand; ++band) lists[size_t(band)].push_back(int32_t(f));
  }
  parallel_for(bands, [&](int64_t band) {
    const int64_t top = band * kBand, bottom = std::min(top + kBand, s.height);
    std::vector<double> nearest(size_t((bottom - top) * s.width), std::numeric_limits<double>::infinity());
    std::fill(face + top * s.width, face + bottom * s.width, -1);
    std::fill(depth + top * s.width, depth + bottom * s.width, 0.0f);
    std::fill(shares + 2 * top * s.width, shares + 2 * bottom * s.width, 0.0f);
    for (const int32_t f : lists[size_t(band)]) {
      double corner[3][3];
      for (int i = 0; i < 3; ++i)
        for (int k = 0; k < 3; ++k) corner[i][k] = s.vertices[3 * int64_t(s.faces[3 * int64_t(f) + i]) + k];
      const triangle<double> t = triangle_of(corner[0], corner[1], corner[2]);
      const Box& b = boxes[size_t(f)];
      for (int64_t y = std::max<int64_t>(b.y0, top); y <= std::min<int64_t>(b.y1, bottom - 1); ++y)
        for (int64_t x = b.x0; x <= b.x1; ++x) {
          double z, share_a, share_b;
          if (!meets(t, (double(x) + 0.5 - s.cx) / s.fx, (double(y) + 0.5 - s.cy) / s.fy, z, share_a, share_b))
            continue;
          double& best = nearest[size_t((y - top) * s.width + x)];
          if (!(z < best)) continue;
          best = z;
          const int64_t pixel = y * s.width + x;
          face[pixel] = f;
          depth[pixel] = float(z);
          shares[2 * pixel] = float(share_a);
          shares[2 * pixel + 1] = float(share_b);
        }
    }
  });
}

}  // namespace recon::raster
