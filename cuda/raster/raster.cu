// CUDA driver of mesh rasterization: a few lanes per face, over the pixels of its box; faces with many pixels are listed,
// and all blocks divide each of them. First every pixel finds the depth of its nearest face, then of those at this depth
// the lowest index: both are minima, which come out the same in any order. Numbers are rounded as on the CPU.
#include "raster/raster_cuda.h"

namespace recon::gpu {
namespace {

using raster::Box;
using raster::Scene;

constexpr int kThreads = 128;
constexpr int kLanes = 8;  // threads of a face
constexpr int64_t kLarge = 512;  // pixels of a box that is divided among blocks
constexpr unsigned kShared = 1024;  // blocks for those
constexpr uint64_t kFar = 0x7ff0000000000000;  // infinity; bits of positive numbers are ordered as they are
constexpr int32_t kNone = 0x7fffffff;

// Double precision whose products are never joined with sums, so that a side that two faces share has one sign.
struct exact {
  double v;
  RECON_HD explicit exact(double v = 0) : v(v) {}
};
__device__ inline exact operator+(exact a, exact b) { return exact(__dadd_rn(a.v, b.v)); }
__device__ inline exact operator-(exact a, exact b) { return exact(__dadd_rn(a.v, -b.v)); }
__device__ inline exact operator*(exact a, exact b) { return exact(__dmul_rn(a.v, b.v)); }
__device__ inline exact operator/(exact a, exact b) { return exact(a.v / b.v); }
__device__ inline bool operator<=(exact a, exact b) { return a.v <= b.v; }
__device__ inline bool operator>=(exact a, exact b) { return a.v >= b.v; }
__device__ inline bool operator>(exact a, exact b) { return a.v > b.v; }
__device__ inline bool operator==(exact a, exact b) { return a.v == b.v; }

struct picture {
  unsigned long long* nearest;  // [pixels] depth as bits
  int32_t* face;  // [pixels]
};

__global__ void clear_kernel(picture p, int64_t pixels, int32_t* num_large) {
  const int64_t i = global_thread();
  if (i == 0) *num_large = 0;
  if (i >= pixels) return;
  p.nearest[i] = kFar;
  p.face[i] = kNone;
}

// Pixels first, first + step, ... of a box. `owner`: not the depth is sought but the face that has it.
__device__ inline void draw(const Scene& s, const picture& p, int64_t f, const Box& box, int64_t first, int64_t step,
                            bool owner) {
  const int64_t wide = box.x1 - box.x0 + 1, count = box.pixels();
  if (first >= count) return;
  const auto t = raster::triangle_of<exact>(s, f);
  for (int64_t i = first; i < count; i += step) {
    const int64_t x = box.x0 + i % wide, y = box.y0 + i / wide;
    exact z, share_a, share_b;
    if (!raster::meets(s, t, x, y, z, share_a, share_b)) continue;
    const auto bits = static_cast<unsigned long long>(__double_as_longlong(z.v));
    if (bits >= kFar) continue;
    const int64_t pixel = y * s.width + x;
    if (!owner)
      atomicMin(p.nearest + pixel, bits);
    else if (p.nearest[pixel] == bits)
      atomicMin(p.face + pixel, int32_t(f));
  }
}

__global__ void __launch_bounds__(kThreads)
    faces_kernel(Scene s, picture p, bool owner, int32_t* large, int32_t* num_large) {
  const int64_t f = global_thread() / kLanes;
  if (f >= s.num_faces) return;
  const int lane = int(threadIdx.x % kLanes);
  const Box box = raster::box_of(s, f);
  if (box.pixels() < kLarge)
    draw(s, p, f, box, lane, kLanes, owner);
  else if (!owner && lane == 0)
    large[atomicAdd(num_large, 1)] = int32_t(f);
}

__global__ void __launch_bounds__(kThreads)
    large_kernel(Scene s, picture p, bool owner, const int32_t* large, const int32_t* num_large) {
  const int32_t count = *num_large;
  for (int32_t i = 0; i < count; ++i) {
    const int64_t f = large[i];
    draw(s, p, f, raster::box_of(s, f), global_thread(), int64_t(gridDim.x) * kThreads, owner);
  }
}

__global__ void __launch_bounds__(kThreads) shade_kernel(Scene s, picture p, float* depth, float* shares) {
  const int64_t i = global_thread();
  if (i >= s.width * s.height) return;
  exact z, share_a, share_b;
  const int32_t f = p.face[i];
  if (f == kNone)
    p.face[i] = -1;
  else
    raster::meets(s, raster::triangle_of<exact>(s, f), i % s.width, i / s.width, z, share_a, share_b);
  depth[i] = float(z.v);
  shares[2 * i] = float(share_a.v);
  shares[2 * i + 1] = float(share_b.v);
}

constexpr size_t padded(size_t bytes) { return (bytes + 255) / 256 * 256; }

}  // namespace

size_t rasterize_scratch_bytes(int64_t faces, int64_t pixels) {
  return padded(size_t(pixels) * sizeof(uint64_t)) + padded(sizeof(int32_t)) + padded(size_t(faces) * sizeof(int32_t));
}

void rasterize(const Scene& s, int32_t* face, float* depth, float* shares, void* scratch, stream_t stream) {
  const int64_t pixels = s.width * s.height;
  char* memory = static_cast<char*>(scratch);
  const picture p{reinterpret_cast<unsigned long long*>(memory), face};
  memory += padded(size_t(pixels) * sizeof(uint64_t));
  int32_t* num_large = reinterpret_cast<int32_t*>(memory);
  int32_t* large = reinterpret_cast<int32_t*>(memory + padded(sizeof(int32_t)));
  launch(clear_kernel, blocks_for(pixels, kThreads), kThreads, stream, p, pixels, num_large);
  // A picture is divided among no more blocks than it has work for.
  const unsigned most = blocks_for(pixels, kThreads), shared = pixels < kLarge ? 0 : most < kShared ? most : kShared;
  for (const bool owner : {false, true}) {
    launch(faces_kernel, blocks_for(s.num_faces * kLanes, kThreads), kThreads, stream, s, p, owner, large, num_large);
    launch(large_kernel, shared, kThreads, stream, s, p, owner, large, num_large);
  }
  launch(shade_kernel, blocks_for(pixels, kThreads), kThreads, stream, s, p, depth, shares);
}

}  // namespace recon::gpu
