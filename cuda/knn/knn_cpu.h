// The CPU driver's face: what bind.cpp may call. Points are [count, 3], finite, fewer than 2^31.
#pragma once

#include <cstdint>

namespace recon::knn {

bool all_finite(const float* values, int64_t count);

// Squared distances of every point to its k nearest others [count, k], ascending, infinity where there are too few.
void nearest_others(const float* points, int64_t count, int k, float* squared);

// Squared distances and indices of the k points nearest to every query, each [queries, k]; missing: infinity and -1.
void nearest(const float* queries, int64_t query_count, const float* points, int64_t count, int k, float* squared,
             int32_t* index);

}  // namespace recon::knn
