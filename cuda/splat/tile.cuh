// A tile of 16x16 pixels as a block of 256 threads sees it: each warp owns 8x4 of them. The tile's list is read in
// batches of 256 Gaussians into shared memory; per 32 of them a warp asks at once which reach its pixels.
#pragma once

#include "splat_cuda.h"

namespace recon::gpu {

inline constexpr int kBatch = kTilePixels;
inline constexpr int kBuckets = kBatch / kWarp;
inline constexpr int kWarps = kTilePixels / kWarp;
inline constexpr int kWarpWidth = 8, kWarpHeight = 4;

// Corner of a warp's pixels, and a thread's pixel, inside the tile.
__device__ inline int warp_x(int thread) { return thread / kWarp % (tile::width / kWarpWidth) * kWarpWidth; }
__device__ inline int warp_y(int thread) { return thread / kWarp / (tile::width / kWarpWidth) * kWarpHeight; }
__device__ inline int pixel_x(int thread) { return warp_x(thread) + thread % kWarpWidth; }
__device__ inline int pixel_y(int thread) { return warp_y(thread) + thread % kWarp / kWarpWidth; }

struct entry {
  blob<float> shape;
  float channel[4];
};

__device__ inline entry read_entry(const float* records, uint32_t row) {
  const float* r = records + int64_t(row) * kRecord;
  return {blob_from_splat(r[kMx], r[kMy], r[kA], r[kB], r[kC], r[kLog2Opacity]),
          {r[kRed], r[kGreen], r[kBlue], r[kDepth]}};
}

// Whether a Gaussian may count at one of the warp's pixels, whose centres begin at (x, y); a hair generous.
__device__ inline bool reaches(const blob<float>& b, float x, float y) {
  if (!(4 * b.A2 * b.C2 > b.B2 * b.B2)) return true;  // rounding lost the ellipse
  const float x0 = x - b.mx, y0 = y - b.my, x1 = x0 + (kWarpWidth - 1), y1 = y0 + (kWarpHeight - 1);
  const float least = blob_min_over(b, slopes_of(b), x0, y0, x1, y1);
  const float ex = max(abs(x0), abs(x1)), ey = max(abs(y0), abs(y1));
  const float rounding = 1e-3f + 1e-6f * (b.A2 * ex * ex + b.C2 * ey * ey);  // of terms that cancel in needles
  return b.lo - least >= -float(kLog2Of255) - rounding;
}

// Bit i: whether entry `group` + i of the batch reaches this warp's pixels. All lanes must call it.
template <class Entry>
__device__ inline unsigned reaching(const Entry* batch, int group, int count, float x, float y) {
  const int i = group + lane_of(threadIdx.x);
  return __ballot_sync(kAllLanes, i < count && reaches(batch[i].shape, x, y));
}

// For walks a thread per Gaussian: the pixels that a bucket of 32 Gaussians touches as a list; returns how many. All lanes of the bucket's warp call it.
template <class Memory>
__device__ int list_pixels(Memory& memory, int bucket) {
  const int lane = lane_of(threadIdx.x);
  int n = 0;
  for (int w = 0; w < kWarps; ++w) {
    const unsigned bits = memory.touched[bucket][w];
    if (bits >> lane & 1) memory.list[bucket][n + __popc(bits & ((1u << lane) - 1))] = uint8_t(w * kWarp + lane);
    n += __popc(bits);
  }
  __syncwarp();
  return n;
}

}  // namespace recon::gpu
