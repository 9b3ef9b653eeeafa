// CUDA driver of the backward pass of compositing, a thread per Gaussian: its sums over pixels stay in registers, and
// pixels travel through the lanes of a warp, from each Gaussian to the one behind it (Mallick et al., "Taming 3DGS",
// SIGGRAPH Asia 2024, arXiv 2406.15643). The state of the pixels at every 32nd Gaussian is not stored by the forward
// pass, as there, but found again here: a block first walks a batch of 256 Gaussians a thread per pixel, keeping
// transmittance and rest of each pixel at every 32nd in shared memory, then its 8 warps take 32 Gaussians each. That
// saves 128 bytes of memory per tile entry for one more evaluation of alpha. Pixels that none of the 32 touches are
// not sent through.
#include "tile.cuh"

namespace recon::gpu {
namespace {

template <int CH>
struct backward_memory {
  entry batch[kBatch];
  float start_T[kBuckets][kTilePixels], start_rest[kBuckets][kTilePixels];  // of each pixel, before a bucket
  float g[CH][kTilePixels];                                                 // dL/d(picture)
  unsigned touched[kBuckets][kWarps];                                       // pixels with which a bucket has to do
  uint8_t list[kBuckets][kTilePixels];                                      // the same, one after another
};

// First walk: a thread per pixel; leaves each bucket's starting state and its pixels, moves T and rest on.
template <int CH>
__device__ void find_states(backward_memory<CH>& memory, int count, int x0, int y0, float& T, float& rest) {
  const int thread = int(threadIdx.x), warp = thread / kWarp;
  const float px = float(x0 + pixel_x(thread)) + 0.5f, py = float(y0 + pixel_y(thread)) + 0.5f;
  const float left = float(x0 + warp_x(thread)) + 0.5f, top = float(y0 + warp_y(thread)) + 0.5f;
  for (int group = 0; group < count; group += kWarp) {
    const int bucket = group / kWarp;
    memory.start_T[bucket][thread] = T;
    memory.start_rest[bucket][thread] = rest;
    bool touched = false;
    if (__any_sync(kAllLanes, T >= kTransmittanceMin)) {
      for (unsigned todo = reaching(memory.batch, group, count, left, top); todo; todo &= todo - 1) {
        const entry& e = memory.batch[group + __ffs(todo) - 1];
        const float weight = blend_weight(e.shape, px - e.shape.mx, py - e.shape.my, T);
        float h = memory.g[0][thread] * e.channel[0];
        for (int c = 1; c < CH; ++c) h = fma(memory.g[c][thread], e.channel[c], h);
        rest -= weight * h;
        T -= weight;
        touched |= weight > 0;
      }
    }
    const unsigned bits = __ballot_sync(kAllLanes, touched);
    if (lane_of(threadIdx.x) == 0) memory.touched[bucket][warp] = bits;
  }
}

// Second walk: lane l holds Gaussian l of the bucket and meets pixel s - l at step s.
template <int CH, bool ABS>
__device__ void sum_pixels(const backward_memory<CH>& memory, int bucket, int pixels, bool mine, int x0, int y0,
                           float (&sum)[kSums]) {
  const int lane = lane_of(threadIdx.x);
  entry e{};
  if (mine) e = memory.batch[bucket * kWarp + lane];
  float T = 0, rest = 0;
  for (int s = 0; s < pixels + kWarp - 1; ++s) {
    T = __shfl_up_sync(kAllLanes, T, 1);
    rest = __shfl_up_sync(kAllLanes, rest, 1);
    const int at = s - lane;
    if (at < 0 || at >= pixels) continue;
    const int pixel = memory.list[bucket][at];
    if (lane == 0) {
      T = memory.start_T[bucket][pixel];
      rest = memory.start_rest[bucket][pixel];
    }
    if (!mine) continue;
    const float dx = float(x0 + pixel_x(pixel)) + 0.5f - e.shape.mx,
                dy = float(y0 + pixel_y(pixel)) + 0.5f - e.shape.my;
    float h = memory.g[0][pixel] * e.channel[0], weight;
    for (int c = 1; c < CH; ++c) h = fma(memory.g[c][pixel], e.channel[c], h);
    const float g = blend_backward(e.shape, dx, dy, h, T, rest, weight);
    const float gx = g * dx, gy = g * dy;
    sum[0] += g;
    sum[1] += gx;
    sum[2] += gy;
    sum[3] = fma(gx, dx, sum[3]);
    sum[4] = fma(gx, dy, sum[4]);
    sum[5] = fma(gy, dy, sum[5]);
    for (int c = 0; c < CH; ++c) sum[6 + c] = fma(weight, memory.g[c][pixel], sum[6 + c]);
    if (ABS) {
      sum[10] += abs(fma(e.shape.A2, gx + gx, e.shape.B2 * gy));
      sum[11] += abs(fma(e.shape.B2, gx, e.shape.C2 * (gy + gy)));
    }
  }
  if (ABS)  // back from base 2
    for (int j = 10; j < 12; ++j) sum[j] *= float(kLn2);
}

template <int CH, bool ABS, bool FIXED_ORDER>
__global__ void __launch_bounds__(kTilePixels)
    backward_kernel(const float* records, tile_lists lists, int tiles_x, backward_inputs in, float* sums) {
  backward_memory<CH>& memory = block_shared<backward_memory<CH>>();
  const int thread = int(threadIdx.x), x0 = int(blockIdx.x) * tile::width, y0 = int(blockIdx.y) * tile::height;
  const int x = x0 + pixel_x(thread), y = y0 + pixel_y(thread);
  const bool inside = x < lists.width && y < lists.height;
  const int64_t plane = int64_t(lists.width) * lists.height, pixel = int64_t(y) * lists.width + x;
  float rest = inside && in.g_transmittance ? in.g_transmittance[pixel] * in.transmittance[pixel] : 0.0f;
  for (int c = 0; c < CH; ++c) {  // rest starts as g . picture: the background is the last layer
    const float g = inside ? in.g_picture[c * plane + pixel] : 0.0f;
    memory.g[c][thread] = g;
    if (inside) rest += g * in.picture[c * plane + pixel];
  }
  float T = inside ? 1.0f : 0.0f;
  const int index = int(blockIdx.y) * tiles_x + int(blockIdx.x);
  const uint32_t end = lists.tile_begin[index + 1];
  bool open = true;
  for (uint32_t at = lists.tile_begin[index]; at < end; at += kBatch) {
    const int count = int(end - at < uint32_t(kBatch) ? end - at : kBatch);
    open = open && __syncthreads_or(T >= kTransmittanceMin);  // also: nobody reads the last batch any more
    float sum[kSums] = {};
    if (open) {
      if (thread < count) memory.batch[thread] = read_entry(records, lists.row[at + thread]);
      __syncthreads();
      find_states(memory, count, x0, y0, T, rest);
      __syncthreads();
      const int bucket = thread / kWarp;
      if (bucket * kWarp < count) {
        const int pixels = list_pixels(memory, bucket);
        sum_pixels<CH, ABS>(memory, bucket, pixels, thread < count, x0, y0, sum);
      }
    }
    if (thread >= count) continue;
    if (FIXED_ORDER) {
      float* out = sums + int64_t(lists.slot[at + thread]) * kSums;
      for (int j = 0; j < kSums; ++j) out[j] = sum[j];
    } else if (open) {
      float* out = sums + int64_t(lists.row[at + thread]) * kSums;
      for (int j = 0; j < (ABS ? kSums : 6 + CH); ++j) atomicAdd(out + j, sum[j]);
    }
  }
}

// Sums of a Gaussian's entries, eight lanes a Gaussian in fixed order -> its gradient.
constexpr int kGatherLanes = 8, kGatherThreads = 256;

__global__ void __launch_bounds__(kGatherThreads)
    gather_entries(const float* records, const uint32_t* order, const uint32_t* begin, uint32_t room, int64_t rows,
                   const float* slots, float* g_records) {
  const int64_t i = global_thread() / kGatherLanes;
  const int part = int(threadIdx.x % kGatherLanes);
  float sum[kSums] = {};
  const uint32_t end = i < rows ? (begin[i + 1] < room ? begin[i + 1] : room) : 0;
  if (i < rows)
    for (uint32_t k = begin[i] + part; k < end; k += kGatherLanes)
      for (int j = 0; j < kSums; ++j) sum[j] += slots[int64_t(k) * kSums + j];
  for (int offset = kGatherLanes / 2; offset > 0; offset /= 2)
    for (int j = 0; j < kSums; ++j) sum[j] += __shfl_xor_sync(kAllLanes, sum[j], offset);
  if (i >= rows || part != 0) return;
  const uint32_t row = order[i];
  float g[kRecord] = {};
  if (begin[i] < end) record_gradient(records + int64_t(row) * kRecord, sum, g);
  for (int j = 0; j < kRecord; ++j) g_records[int64_t(row) * kRecord + j] = g[j];
}

__global__ void __launch_bounds__(kGatherThreads)
    gradients_of_sums(const float* records, int64_t rows, const float* sums, float* g_records) {
  const int64_t i = global_thread();
  if (i >= rows) return;
  float sum[kSums], g[kRecord] = {};
  for (int j = 0; j < kSums; ++j) sum[j] = sums[i * kSums + j];
  if (records[i * kRecord + kRadius] > 0) record_gradient(records + i * kRecord, sum, g);
  for (int j = 0; j < kRecord; ++j) g_records[i * kRecord + j] = g[j];
}

template <int CH, bool ABS>
void launch_backward(const float* records, const tile_lists& lists, const backward_inputs& in, float* sums,
                     stream_t stream) {
  const int across = tiles_across(lists.width);
  const dim3 grid(unsigned(across), unsigned(tiles_down(lists.height)));
  launch(in.fixed_order ? backward_kernel<CH, ABS, true> : backward_kernel<CH, ABS, false>, grid, kTilePixels, stream,
         records, lists, across, in, sums);
}

}  // namespace

void composite_backward(const float* records, int64_t rows, const tile_lists& lists, const backward_inputs& in,
                        const uint32_t* order, const uint32_t* begin, float* sums, float* g_records, stream_t stream) {
  if (!in.fixed_order) set_zero(sums, size_t(rows) * kSums * sizeof(float), stream);
  const auto run = in.channels == 3 ? (in.absolute ? launch_backward<3, true> : launch_backward<3, false>)
                                    : (in.absolute ? launch_backward<4, true> : launch_backward<4, false>);
  run(records, lists, in, sums, stream);
  if (in.fixed_order)
    launch(gather_entries, blocks_for(rows * kGatherLanes, kGatherThreads), kGatherThreads, stream, records, order,
           begin, lists.room, rows, sums, g_records);
  else
    launch(gradients_of_sums, blocks_for(rows, kGatherThreads), kGatherThreads, stream, records, rows, sums, g_records);
}

}  // namespace recon::gpu
