// CUDA driver of distances to triangles: a thread per point walks the tree.
#include "sdf/sdf_cuda.h"

namespace recon::gpu {
namespace {

constexpr int kThreads = 128;

__global__ void __launch_bounds__(kThreads)
    closest_kernel(sdf::Tree tree, const float* points, int64_t count, float* nearest, int32_t* face) {
  const int64_t i = global_thread();
  if (i < count) sdf::closest_on_tree(tree, points + 3 * i, nearest + 3 * i, face[i]);
}

__global__ void __launch_bounds__(kThreads)
    winding_kernel(sdf::Tree tree, const float* points, int64_t count, float* number) {
  const int64_t i = global_thread();
  if (i < count) number[i] = sdf::winding_of_tree(tree, points + 3 * i);
}

}  // namespace

void closest(const sdf::Tree& tree, const float* points, int64_t count, float* nearest, int32_t* face,
             stream_t stream) {
  launch(closest_kernel, blocks_for(count, kThreads), kThreads, stream, tree, points, count, nearest, face);
}

void winding(const sdf::Tree& tree, const float* points, int64_t count, float* number, stream_t stream) {
  launch(winding_kernel, blocks_for(count, kThreads), kThreads, stream, tree, points, count, number);
}

}  // namespace recon::gpu
