// Faces are listed per band of rows; a band belongs to one thread. Nearest wins, of equals the lower index.
#include "raster/raster.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "core/parallel.h"
#include "raster/raster_cpu.h"

namespace recon::raster {
namespace {

constexpr int64_t kBand = 16;  // rows

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
    if (b.empty()) continue;
    for (int64_t band = b.y0 / kBand; band <= b.y1 / kBand; ++band) lists[size_t(band)].push_back(int32_t(f));
  }
  parallel_for(bands, [&](int64_t band) {
    const int64_t top = band * kBand, bottom = std::min(top + kBand, s.height);
    std::vector<double> nearest(size_t((bottom - top) * s.width), std::numeric_limits<double>::infinity());
    std::fill(face + top * s.width, face + bottom * s.width, -1);
    std::fill(depth + top * s.width, depth + bottom * s.width, 0.0f);
    std::fill(shares + 2 * top * s.width, shares + 2 * bottom * s.width, 0.0f);
    for (const int32_t f : lists[size_t(band)]) {
      const triangle<double> t = triangle_of<double>(s, f);
      const Box& b = boxes[size_t(f)];
      for (int64_t y = std::max<int64_t>(b.y0, top); y <= std::min<int64_t>(b.y1, bottom - 1); ++y)
        for (int64_t x = b.x0; x <= b.x1; ++x) {
          double z, share_a, share_b;
          if (!meets(s, t, x, y, z, share_a, share_b)) continue;
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
