// CUDA driver of plane sweeps: a thread per pixel; a block looks up its square of pixels and those around it once per
// plane and other picture, into shared memory, and each thread sums its window there.
#include "sweep/sweep_cuda.h"

namespace recon::gpu {
namespace {

constexpr int kSide = 16;
constexpr int kThreads = kSide * kSide;
constexpr int kMostHalf = sweep::kMostWindow / 2;
constexpr int kRoom = kSide + 2 * kMostHalf;

struct square {
  float own[kRoom * kRoom], other[kRoom * kRoom];
};

// blockIdx.z: plane
__global__ void __launch_bounds__(kThreads) correlate_kernel(sweep::Sweep s, float* scores) {
  square& shared = block_shared<square>();
  const int across = kSide + 2 * s.half;
  const int64_t left = int64_t(blockIdx.x) * kSide - s.half, top = int64_t(blockIdx.y) * kSide - s.half;
  const int tx = int(threadIdx.x) % kSide, ty = int(threadIdx.x) / kSide;
  const int64_t x = left + s.half + tx, y = top + s.half + ty;
  const bool mine = x < s.width && y < s.height;
  const float offset = float(blockIdx.z) * s.step;
  float best = sweep::kNothing, second = sweep::kNothing;
  const float* picture = s.pictures;
  for (int k = 0; k < s.others; ++k) {
    const sweep::Other other{picture, s.maps + 12 * k, s.sizes[2 * k], s.sizes[2 * k + 1]};
    __syncthreads();  // nobody reads the last picture any more
    for (int i = int(threadIdx.x); i < across * across; i += kThreads) {
      const int64_t u = left + i % across, v = top + i / across;
      float own = 0, there = 0;
      if (u >= 0 && v >= 0 && u < s.width && v < s.height) {
        float px, py;
        float counts;
        sweep::project(other.map, float(u) + 0.5f, float(v) + 0.5f, s.start[v * s.width + u] + offset, px, py);
        own = s.grey[v * s.width + u];
        there = sweep::look_up(other.picture, other.height, other.width, px, py, counts);
      }
      shared.own[i] = own, shared.other[i] = there;
    }
    __syncthreads();
    if (mine) {
      float px, py, counts;
      sweep::project(other.map, float(x) + 0.5f, float(y) + 0.5f, s.start[y * s.width + x] + offset, px, py);
      sweep::look_up(other.picture, other.height, other.width, px, py, counts);
      float a = 0, aa = 0, b = 0, bb = 0, ab = 0;
      for (int j = 0; j <= 2 * s.half; ++j) {  // along rows, then down columns, as on the CPU
        float row[5] = {0, 0, 0, 0, 0};
        for (int i = 0; i <= 2 * s.half; ++i) {
          const int at = (ty + j) * across + tx + i;
          const float own = shared.own[at], there = shared.other[at];
          row[0] += own, row[1] = fma(own, own, row[1]);
          row[2] += there, row[3] = fma(there, there, row[3]), row[4] = fma(own, there, row[4]);
        }
        a += row[0], aa += row[1], b += row[2], bb += row[3], ab += row[4];
      }
      const float share = 1.0f / float(sweep::within(x, s.width, s.half) * sweep::within(y, s.height, s.half));
      float found = sweep::kNothing;
      if (counts > 0) found = sweep::correlation(share, a, aa, b, bb, ab, s.texture);
      sweep::keep_best(found, best, second);
    }
    picture += int64_t(other.height) * other.width;
  }
  if (mine) scores[(int64_t(blockIdx.z) * s.height + y) * s.width + x] = sweep::score(s.others, best, second);
}

}  // namespace

void correlate(const sweep::Sweep& s, float* scores, stream_t stream) {
  const dim3 grid(blocks_for(s.width, kSide), blocks_for(s.height, kSide), unsigned(s.planes));
  launch(correlate_kernel, grid, dim3(kThreads), stream, s, scores);
}

}  // namespace recon::gpu
