// CUDA driver of the robust depth: a block per tile, a thread per pixel, front to back as in composite.cu; a tile ends
// when all its rays have come to the low end of the middle.
#include "middle.h"
#include "tile.cuh"

namespace recon::gpu {
namespace {

struct plane_entry {
  blob<float> shape;
  depth_plane<float> plane;
};
struct depth_memory {
  plane_entry batch[kBatch];
};

__global__ void __launch_bounds__(kTilePixels)
    depth_kernel(const float* records, const float* slopes, tile_lists lists, int tiles_x, float low, float high,
                 float* depth, float* spread) {
  depth_memory& memory = block_shared<depth_memory>();
  const int thread = int(threadIdx.x), x0 = int(blockIdx.x) * tile::width, y0 = int(blockIdx.y) * tile::height;
  const int x = x0 + pixel_x(thread), y = y0 + pixel_y(thread);
  const bool inside = x < lists.width && y < lists.height;
  const float px = float(x) + 0.5f, py = float(y) + 0.5f;
  const float left = float(x0 + warp_x(thread)) + 0.5f, top = float(y0 + warp_y(thread)) + 0.5f;
  const int index = int(blockIdx.y) * tiles_x + int(blockIdx.x);
  const uint32_t end = lists.tile_begin[index + 1];
  float T = inside ? 1.0f : 0.0f;
  middle_sums<float> sums{0.0f, 0.0f, 0.0f};
  for (uint32_t at = lists.tile_begin[index]; at < end; at += kBatch) {
    if (!__syncthreads_or(T > low)) break;  // also: nobody reads the last batch any more
    const int count = int(end - at < uint32_t(kBatch) ? end - at : kBatch);
    if (thread < count) {
      const uint32_t row = lists.row[at + thread];
      const entry e = read_entry(records, row);
      const float* s = slopes + int64_t(row) * kSlopes;
      memory.batch[thread] = {e.shape, {e.channel[3], s[0], s[1], s[2]}};
    }
    __syncthreads();
    for (int group = 0; group < count; group += kWarp) {
      if (!__any_sync(kAllLanes, T > low)) break;
      for (unsigned todo = reaching(memory.batch, group, count, left, top); todo; todo &= todo - 1) {
        const plane_entry& e = memory.batch[group + __ffs(todo) - 1];
        const float dx = px - e.shape.mx, dy = py - e.shape.my;
        const float after = T - blend_weight(e.shape, dx, dy, T);
        add_to_middle(e.plane, dx, dy, T, after, low, high, sums);
        T = after;
      }
    }
  }
  if (!inside) return;
  finish_middle(sums.weight, sums.mean, sums.squares);
  const int64_t pixel = int64_t(y) * lists.width + x;
  depth[pixel] = sums.mean;
  spread[pixel] = sums.squares;
}

}  // namespace

void composite_depth(const float* records, const float* slopes, const tile_lists& lists, float low, float high,
                     float* depth, float* spread, stream_t stream) {
  const int across = tiles_across(lists.width);
  launch(depth_kernel, dim3(unsigned(across), unsigned(tiles_down(lists.height))), kTilePixels, stream, records, slopes,
         lists, across, low, high, depth, spread);
}

}  // namespace recon::gpu
