// CUDA driver of depth fusion: a thread per voxel, x fastest, so that a warp reads and writes neighbours.
#include "tsdf/tsdf_cuda.h"

namespace recon::gpu {
namespace {

constexpr int kThreads = 128;

__global__ void __launch_bounds__(kThreads)
    fuse_kernel(tsdf::Volume v, tsdf::Picture p, tsdf::view<double> camera, float truncation) {
  const int64_t i = global_thread();
  if (i >= v.nx * v.ny * v.nz) return;
  const int64_t x = i % v.nx, y = i / v.nx % v.ny, z = i / (v.nx * v.ny);
  tsdf::fuse_voxel(v, p, camera, truncation, tsdf::row_of(v, camera, y, z), x, i);
}

}  // namespace

void fuse(const tsdf::Volume& v, const tsdf::Picture& p, const tsdf::view<double>& camera, double truncation,
          stream_t stream) {
  launch(fuse_kernel, blocks_for(v.nx * v.ny * v.nz, kThreads), kThreads, stream, v, p, camera, float(truncation));
}

}  // namespace recon::gpu
