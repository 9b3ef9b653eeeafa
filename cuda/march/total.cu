// CUDA driver of sums whose order does not depend on how many zeros follow: a warp per chunk, then one over the chunks.
#include "core/device.h"
#include "march/march_cuda.h"

namespace recon::gpu {
namespace {

constexpr int kThreads = 128;

__global__ void sum_chunks(const float* values, int64_t count, int64_t chunk, float* sums) {
  const int64_t c = global_thread() / kWarp, begin = c * chunk;
  if (begin >= count) return;  // a warp leaves as a whole
  const int lane = lane_of(threadIdx.x);
  const int64_t end = begin + chunk < count ? begin + chunk : count;
  float sum = 0;
  for (int64_t i = begin + lane; i < end; i += kWarp) sum += values[i];
  sum = warp_sum(sum);
  if (lane == 0) sums[c] = sum;
}

}  // namespace

void total(const float* values, int64_t count, float* scratch, float* out, stream_t stream) {
  const int64_t chunks = (count + kChunk - 1) / kChunk;
  set_zero(out, sizeof(float), stream);
  launch(sum_chunks, blocks_for(chunks * kWarp, kThreads), kThreads, stream, values, count, int64_t(kChunk), scratch);
  launch(sum_chunks, blocks_for(kWarp, kThreads), kThreads, stream, scratch, chunks, chunks, out);
}

}  // namespace recon::gpu
