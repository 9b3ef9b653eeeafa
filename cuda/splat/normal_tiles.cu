// CUDA driver of the products with the Jacobian, the part of the tiles. J v is a forward pass that carries derivatives
// along, a thread per pixel; the sums for the diagonal walk a tile as composite_backward.cu does, a thread per Gaussian.
#include "jacobian.h"
#include "tile.cuh"

namespace recon::gpu {
namespace {

struct entry_change {
  float k[6], colour[3];  // derivatives of the exponent and the colour
};
struct tangent_memory {
  entry batch[kBatch];
  entry_change change[kBatch];
};

__device__ inline entry_change read_change(const float* records, const float* tangents, uint32_t row) {
  const float *r = records + int64_t(row) * kRecord, *t = tangents + int64_t(row) * kRecord;
  entry_change e{{}, {t[kRed], t[kGreen], t[kBlue]}};
  exponent_tangent(r[kA], r[kB], r[kC], r[kOpacity], t, e.k);
  return e;
}

__global__ void __launch_bounds__(kTilePixels)
    tangent_kernel(const float* records, const float* tangents, tile_lists lists, int tiles_x, const float* background,
                   const float* weights, float* out) {
  tangent_memory& memory = block_shared<tangent_memory>();
  const int thread = int(threadIdx.x);
  const int x0 = int(blockIdx.x) * tile::width, y0 = int(blockIdx.y) * tile::height;
  const int x = x0 + pixel_x(thread), y = y0 + pixel_y(thread);
  const bool inside = x < lists.width && y < lists.height;
  const float px = float(x) + 0.5f, py = float(y) + 0.5f;
  const float left = float(x0 + warp_x(thread)) + 0.5f, top = float(y0 + warp_y(thread)) + 0.5f;
  const int index = int(blockIdx.y) * tiles_x + int(blockIdx.x);
  const uint32_t end = lists.tile_begin[index + 1];
  float T = inside ? 1.0f : 0.0f, T_change = 0, u[3] = {0, 0, 0};
  for (uint32_t at = lists.tile_begin[index]; at < end; at += kBatch) {
    if (!__syncthreads_or(T >= kTransmittanceMin)) break;  // also: nobody reads the last batch any more
    const int count = int(end - at < uint32_t(kBatch) ? end - at : kBatch);
    if (thread < count) {
      const uint32_t row = lists.row[at + thread];
      memory.batch[thread] = read_entry(records, row);
      memory.change[thread] = read_change(records, tangents, row);
    }
    __syncthreads();
    for (int group = 0; group < count; group += kWarp)
      for (unsigned todo = reaching(memory.batch, group, count, left, top); todo; todo &= todo - 1) {
        const int i = group + __ffs(todo) - 1;
        const entry& e = memory.batch[i];
        const entry_change& d = memory.change[i];
        blend_tangent(e.shape, px - e.shape.mx, py - e.shape.my, d.k, e.channel, d.colour, T, T_change, u);
      }
  }
  if (!inside) return;
  const int64_t plane = int64_t(lists.width) * lists.height, pixel = int64_t(y) * lists.width + x;
  for (int c = 0; c < 3; ++c) {
    const float value = u[c] + T_change * background[c];
    out[c * plane + pixel] = weights ? value * weights[c * plane + pixel] : value;
  }
}

struct moments_memory {
  entry batch[kBatch];
  float start_T[kBuckets][kTilePixels], start_still[kBuckets][3][kTilePixels];  // of each pixel, before a bucket
  float W[3][kTilePixels];
  unsigned touched[kBuckets][kWarps];
  uint8_t list[kBuckets][kTilePixels];
};

// First walk: a thread per pixel; leaves each bucket's starting state and its pixels, moves T and still on.
__device__ void find_states(moments_memory& memory, int count, int x0, int y0, float& T, float (&still)[3]) {
  const int thread = int(threadIdx.x), warp = thread / kWarp;
  const float px = float(x0 + pixel_x(thread)) + 0.5f, py = float(y0 + pixel_y(thread)) + 0.5f;
  const float left = float(x0 + warp_x(thread)) + 0.5f, top = float(y0 + warp_y(thread)) + 0.5f;
  for (int group = 0; group < count; group += kWarp) {
    const int bucket = group / kWarp;
    memory.start_T[bucket][thread] = T;
    for (int c = 0; c < 3; ++c) memory.start_still[bucket][c][thread] = still[c];
    bool touched = false;
    for (unsigned todo = reaching(memory.batch, group, count, left, top); todo; todo &= todo - 1) {
      const entry& e = memory.batch[group + __ffs(todo) - 1];
      const float weight = blend_weight(e.shape, px - e.shape.mx, py - e.shape.my, T);
      for (int c = 0; c < 3; ++c) still[c] -= weight * e.channel[c];
      T -= weight;
      touched |= weight > 0;
    }
    const unsigned bits = __ballot_sync(kAllLanes, touched);
    if (lane_of(threadIdx.x) == 0) memory.touched[bucket][warp] = bits;
  }
}

// Second walk: lane l holds Gaussian l of the bucket and meets pixel s - l at step s.
__device__ void sum_moments(const moments_memory& memory, int bucket, int pixels, bool mine, int x0, int y0,
                            float (&sum)[kDiagonalSums]) {
  const int lane = lane_of(threadIdx.x);
  entry e{};
  if (mine) e = memory.batch[bucket * kWarp + lane];
  float T = 0, still[3] = {0, 0, 0};
  for (int s = 0; s < pixels + kWarp - 1; ++s) {
    T = __shfl_up_sync(kAllLanes, T, 1);
    for (int c = 0; c < 3; ++c) still[c] = __shfl_up_sync(kAllLanes, still[c], 1);
    const int at = s - lane;
    if (at < 0 || at >= pixels) continue;
    const int pixel = memory.list[bucket][at];
    if (lane == 0) {
      T = memory.start_T[bucket][pixel];
      for (int c = 0; c < 3; ++c) still[c] = memory.start_still[bucket][c][pixel];
    }
    if (!mine) continue;
    const float dx = float(x0 + pixel_x(pixel)) + 0.5f - e.shape.mx,
                dy = float(y0 + pixel_y(pixel)) + 0.5f - e.shape.my;
    const float W[3] = {memory.W[0][pixel], memory.W[1][pixel], memory.W[2][pixel]};
    float of[kMoments];
    moments_of(blend_energy(e.shape, dx, dy, e.channel, W, T, still, sum + kMoments), dx, dy, of);
    for (int j = 0; j < kMoments; ++j) sum[j] += of[j];
  }
}

__global__ void __launch_bounds__(kTilePixels)
    moments_kernel(const float* records, tile_lists lists, int tiles_x, const float* picture, const float* weights,
                   float* moments) {
  moments_memory& memory = block_shared<moments_memory>();
  const int thread = int(threadIdx.x), x0 = int(blockIdx.x) * tile::width, y0 = int(blockIdx.y) * tile::height;
  const int x = x0 + pixel_x(thread), y = y0 + pixel_y(thread);
  const bool inside = x < lists.width && y < lists.height;
  const int64_t plane = int64_t(lists.width) * lists.height, pixel = int64_t(y) * lists.width + x;
  float T = inside ? 1.0f : 0.0f, still[3];
  for (int c = 0; c < 3; ++c) {
    still[c] = inside ? picture[c * plane + pixel] : 0.0f;
    memory.W[c][thread] = inside ? weights[c * plane + pixel] : 0.0f;
  }
  const int index = int(blockIdx.y) * tiles_x + int(blockIdx.x);
  const uint32_t end = lists.tile_begin[index + 1];
  bool open = true;
  for (uint32_t at = lists.tile_begin[index]; at < end; at += kBatch) {
    const int count = int(end - at < uint32_t(kBatch) ? end - at : kBatch);
    open = open && __syncthreads_or(T >= kTransmittanceMin);  // also: nobody reads the last batch any more
    float sum[kDiagonalSums] = {};
    if (open) {
      if (thread < count) memory.batch[thread] = read_entry(records, lists.row[at + thread]);
      __syncthreads();
      find_states(memory, count, x0, y0, T, still);
      __syncthreads();
      const int bucket = thread / kWarp;
      if (bucket * kWarp < count) {
        const int pixels = list_pixels(memory, bucket);
        sum_moments(memory, bucket, pixels, thread < count, x0, y0, sum);
      }
    }
    if (thread >= count) continue;
    float* out = moments + int64_t(lists.slot[at + thread]) * kDiagonalSums;
    for (int j = 0; j < kDiagonalSums; ++j) out[j] = sum[j];
  }
}

dim3 tiles_of(const tile_lists& lists) {
  return dim3(unsigned(tiles_across(lists.width)), unsigned(tiles_down(lists.height)));
}

}  // namespace

void composite_tangent(const float* records, const float* tangents, const tile_lists& lists, const float* background,
                       const float* weights, float* out, stream_t stream) {
  launch(tangent_kernel, tiles_of(lists), kTilePixels, stream, records, tangents, lists, tiles_across(lists.width),
         background, weights, out);
}

void composite_moments(const float* records, const tile_lists& lists, const float* picture, const float* weights,
                       float* moments, stream_t stream) {
  launch(moments_kernel, tiles_of(lists), kTilePixels, stream, records, lists, tiles_across(lists.width), picture,
         weights, moments);
}

}  // namespace recon::gpu
