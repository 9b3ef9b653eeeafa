// CUDA driver of compositing: a block per tile, a thread per pixel, front to back; a tile ends when all its pixels have.
#include "tile.cuh"

namespace recon::gpu {
namespace {

struct forward_memory {
  entry batch[kBatch];
};

template <int CH>
__global__ void __launch_bounds__(kTilePixels)
    composite_kernel(const float* records, tile_lists lists, int tiles_x, const float* background, float* picture,
                     float* transmittance) {
  forward_memory& memory = block_shared<forward_memory>();
  const int thread = int(threadIdx.x), x0 = int(blockIdx.x) * tile::width, y0 = int(blockIdx.y) * tile::height;
  const int x = x0 + pixel_x(thread), y = y0 + pixel_y(thread);
  const bool inside = x < lists.width && y < lists.height;
  const float px = float(x) + 0.5f, py = float(y) + 0.5f;
  const float left = float(x0 + warp_x(thread)) + 0.5f, top = float(y0 + warp_y(thread)) + 0.5f;
  const int index = int(blockIdx.y) * tiles_x + int(blockIdx.x);
  const uint32_t end = lists.tile_begin[index + 1];
  float T = inside ? 1.0f : 0.0f, colour[CH] = {};
  for (uint32_t at = lists.tile_begin[index]; at < end; at += kBatch) {
    if (!__syncthreads_or(T >= kTransmittanceMin)) break;  // also: nobody reads the last batch any more
    const int count = int(end - at < uint32_t(kBatch) ? end - at : kBatch);
    if (thread < count) memory.batch[thread] = read_entry(records, lists.row[at + thread]);
    __syncthreads();
    for (int group = 0; group < count; group += kWarp) {
      if (!__any_sync(kAllLanes, T >= kTransmittanceMin)) break;
      for (unsigned todo = reaching(memory.batch, group, count, left, top); todo; todo &= todo - 1) {
        const entry& e = memory.batch[group + __ffs(todo) - 1];
        const float weight = blend_weight(e.shape, px - e.shape.mx, py - e.shape.my, T);
        for (int c = 0; c < CH; ++c) colour[c] = fma(weight, e.channel[c], colour[c]);
        T -= weight;
      }
    }
  }
  if (!inside) return;
  const int64_t plane = int64_t(lists.width) * lists.height, pixel = int64_t(y) * lists.width + x;
  for (int c = 0; c < CH; ++c) picture[c * plane + pixel] = c < 3 ? colour[c] + T * background[c] : colour[c];
  transmittance[pixel] = T;
}

}  // namespace

void composite(const float* records, const tile_lists& lists, int channels, const float* background, float* picture,
               float* transmittance, stream_t stream) {
  const int across = tiles_across(lists.width);
  const dim3 grid(unsigned(across), unsigned(tiles_down(lists.height)));
  launch(channels == 3 ? composite_kernel<3> : composite_kernel<4>, grid, kTilePixels, stream, records, lists, across,
         background, picture, transmittance);
}

}  // namespace recon::gpu
