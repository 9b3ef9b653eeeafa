// CUDA driver that finds the samples of rays: a thread per ray walks it twice, first to count, then to write; nothing
// bounds the number of samples of one ray, and samples of neighbouring rays end up one after another. Compiled without
// joining products and sums, so that both walks find the same.
#include "core/device_sort.h"
#include "march/march_cuda.h"

namespace recon::gpu {
namespace {

constexpr int kThreads = 128;
constexpr int kFarthest = 255;

struct count_one {
  uint32_t& count;
  RECON_HD void operator()(float, const float*) const { ++count; }
};

struct write_one {
  float *position, *t;
  int64_t& at;
  int64_t capacity;
  RECON_HD void operator()(float distance, const float* u) const {
    if (at < capacity) {
      t[at] = distance;
      for (int i = 0; i < 3; ++i) position[3 * at + i] = u[i];
    }
    ++at;
  }
};

template <class Body>
__device__ void walk_one(const ray_set& rays, int64_t r, const march::domain<float>& box, const march::occupancy& grid,
                         const Body& body) {
  march::walk(rays.origin + 3 * r, rays.direction + 3 * r, rays.offset[r], box, grid, rays.near, rays.far, rays.step,
              body);
}

__global__ void count_kernel(ray_set rays, march::domain<float> box, march::occupancy grid, uint32_t* counts) {
  const int64_t r = global_thread();
  if (r >= rays.count) return;
  uint32_t count = 0;
  walk_one(rays, r, box, grid, count_one{count});
  counts[r] = count;
}

__global__ void write_kernel(ray_set rays, march::domain<float> box, march::occupancy grid, const uint32_t* offsets,
                             int64_t capacity, float* position, float* t) {
  const int64_t r = global_thread();
  if (r >= rays.count) return;
  int64_t at = offsets[r];
  walk_one(rays, r, box, grid, write_one{position, t, at, capacity});
}

// Along one axis: the least max(|d|, value) over cells at distance d. In the maximum norm three of these, one per axis,
// are exact. The first reads 1 = occupied.
__global__ void nearest_along(const uint8_t* in, bool occupied, int64_t count, int64_t step, int size, uint8_t* out) {
  const int64_t i = global_thread();
  if (i >= count) return;
  const int at = int(i / step % size);
  int best = kFarthest;
  for (int d = 0; d < best; ++d) {
    if (at - d < 0 && at + d >= size) break;
    for (int side = -1; side <= 1; side += 2) {
      const int there = at + side * d;
      if (there < 0 || there >= size) continue;
      const int value = in[i + int64_t(side) * d * step];
      const int reached = occupied ? (value ? d : kFarthest) : value > d ? value : d;
      if (reached < best) best = reached;
    }
  }
  out[i] = uint8_t(best);
}

}  // namespace

size_t march_scratch_bytes(int64_t rays) { return pieces::bytes(rays) + sum_scratch_bytes(rays); }

void count_samples(const ray_set& rays, const march::domain<float>& box, const march::occupancy& grid,
                   uint32_t* offsets, void* scratch, stream_t stream) {
  pieces memory(scratch);
  uint32_t* counts = memory.take(rays.count);
  launch(count_kernel, blocks_for(rays.count, kThreads), kThreads, stream, rays, box, grid, counts);
  set_zero(offsets, sizeof(uint32_t), stream);
  inclusive_sum(counts, offsets + 1, rays.count, memory.rest(), sum_scratch_bytes(rays.count), stream);
}

void write_samples(const ray_set& rays, const march::domain<float>& box, const march::occupancy& grid,
                   const uint32_t* offsets, int64_t capacity, float* position, float* t, stream_t stream) {
  launch(write_kernel, blocks_for(rays.count, kThreads), kThreads, stream, rays, box, grid, offsets, capacity, position,
         t);
}

void distance_to_occupied(uint8_t* cells, const int* size, uint8_t* scratch, stream_t stream) {
  const int64_t plane = int64_t(size[1]) * size[2], count = size[0] * plane;
  const unsigned blocks = blocks_for(count, kThreads);
  launch(nearest_along, blocks, kThreads, stream, cells, true, count, int64_t(1), size[2], scratch);
  launch(nearest_along, blocks, kThreads, stream, scratch, false, count, int64_t(size[2]), size[1], cells);
  launch(nearest_along, blocks, kThreads, stream, cells, false, count, plane, size[0], scratch);
  copy(cells, scratch, size_t(count), stream);
}

}  // namespace recon::gpu
