// CUDA driver of nearest neighbours: a thread per query, to which all points pass by in shared memory. Without a tree the
// work is queries x points, some ten operations each, which a GPU does for a million of each in about a second.
#include "knn/knn.h"
#include "knn/knn_cuda.h"

namespace recon::gpu {
namespace {

using Point = knn::Point<float>;

constexpr int kThreads = 128;
constexpr float kInfinity = HUGE_VALF;

struct point_tile {
  Point at[kThreads];
};

// K: how many are kept, ascending; the first k of them are written.
template <int K>
__global__ void __launch_bounds__(kThreads)
    nearest_kernel(const float* queries, int64_t query_count, const float* points, int64_t count, int k, bool others,
                   float* squared, int32_t* index) {
  point_tile& tile = block_shared<point_tile>();
  const int64_t i = global_thread();
  const int64_t self = others ? i : -1;
  Point q{0, 0, 0};
  if (i < query_count) q = {queries[3 * i], queries[3 * i + 1], queries[3 * i + 2]};
  float best[K];
  int32_t id[K];
  for (int j = 0; j < K; ++j) best[j] = kInfinity, id[j] = -1;
  for (int64_t first = 0; first < count; first += kThreads) {
    const int64_t mine = first + threadIdx.x;
    __syncthreads();  // nobody reads the last tile any more
    if (mine < count) tile.at[threadIdx.x] = {points[3 * mine], points[3 * mine + 1], points[3 * mine + 2]};
    __syncthreads();
    const int held = int(count - first < kThreads ? count - first : kThreads);
    for (int t = 0; t < held; ++t) {
      float distance = knn::squared_distance(q, tile.at[t]);
      if (!(distance < best[K - 1]) || first + t == self) continue;
      int32_t name = int32_t(first + t);
      for (int j = 0; j < K; ++j) {  // what is further moves on by one place
        const bool nearer = distance < best[j];
        const float passed = nearer ? best[j] : distance;
        const int32_t passed_name = nearer ? id[j] : name;
        best[j] = nearer ? distance : best[j];
        id[j] = nearer ? name : id[j];
        distance = passed, name = passed_name;
      }
    }
  }
  if (i >= query_count) return;
  for (int j = 0; j < K; ++j) {
    if (j >= k) break;
    squared[i * k + j] = best[j];
    if (index) index[i * k + j] = id[j];
  }
}

}  // namespace

void nearest(const float* queries, int64_t query_count, const float* points, int64_t count, int k, bool others,
             float* squared, int32_t* index, stream_t stream) {
  const auto kernel = k <= 1    ? nearest_kernel<1>
                      : k <= 4  ? nearest_kernel<4>
                      : k <= 16 ? nearest_kernel<16>
                                : nearest_kernel<kMaxNeighbours>;
  launch(kernel, blocks_for(query_count, kThreads), kThreads, stream, queries, query_count, points, count, k, others,
         squared, index);
}

}  // namespace recon::gpu
