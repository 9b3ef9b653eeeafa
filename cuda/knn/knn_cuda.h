// What the CUDA driver of nearest neighbours offers to bind.cu; see knn_cpu.h for the meaning.
#pragma once

#include <cstdint>

#include "core/device.h"

namespace recon::gpu {

inline constexpr int kMaxNeighbours = 64;

// Every query meets every point. `others`: queries are the points, and none is its own neighbour; `index` may be null.
// Of points at one distance the first are taken.
void nearest(const float* queries, int64_t query_count, const float* points, int64_t count, int k, bool others,
             float* squared, int32_t* index, stream_t stream);

}  // namespace recon::gpu
