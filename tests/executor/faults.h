// Kernels with a mistake each, to see that the executor notices, and some without.
#pragma once

#include <stdexcept>
#include <string>
#include <vector>

#include "core/device.h"

namespace recon::faults {

struct memory {
  int value[96];
};

inline void leaves_early(int*) {
  if (threadIdx.x < 5) return;
  __syncthreads();
}
inline void one_sided_barrier(int* out) {
  if (threadIdx.x % 2)
    __syncthreads();
  else
    out[0] += __syncthreads_count(1);
}
inline void shuffle_from_outside(int* out) {
  if (threadIdx.x < 8) out[threadIdx.x] = __shfl_sync(0xffu, int(threadIdx.x), 20);
}
inline void lane_is_gone(int*) {
  if (threadIdx.x == 3) return;
  __syncwarp();
}
inline void mixed_operations(int*) {
  if (threadIdx.x < 16)
    __syncwarp();
  else
    __ballot_sync(kAllLanes, 1);
}
// Reads a neighbour's number without a barrier: right or wrong by the order of threads.
inline void race(int* out) {
  memory& shared = block_shared<memory>();
  const int t = int(threadIdx.x);
  shared.value[t] = t;
  out[t] = shared.value[(t + 1) % 96];
}
inline void no_race(int* out) {
  memory& shared = block_shared<memory>();
  const int t = int(threadIdx.x);
  shared.value[t] = t;
  __syncthreads();
  out[t] = shared.value[(t + 1) % 96] + __popc(__ballot_sync(kAllLanes, t % 3 == 0)) + __shfl_up_sync(kAllLanes, t, 1) +
           warp_sum(t) + __syncthreads_count(t < 10);
}

// One past the end, of a device array and of shared memory: for the address sanitizer.
inline void past_the_end(int* out) { out[threadIdx.x + 1] = 1; }
inline void past_shared(int* out) {
  memory& shared = block_shared<memory>();
  shared.value[threadIdx.x] = 1;
  __syncthreads();
  out[threadIdx.x] = (&shared.value[0])[threadIdx.x + 1];
}

// Sum of the 96 outputs, weighted by their place.
inline long run(const std::string& name) {
  void (*kernel)(int*) = nullptr;
  if (name == "leaves_early") kernel = leaves_early;
  if (name == "one_sided_barrier") kernel = one_sided_barrier;
  if (name == "shuffle_from_outside") kernel = shuffle_from_outside;
  if (name == "lane_is_gone") kernel = lane_is_gone;
  if (name == "mixed_operations") kernel = mixed_operations;
  if (name == "race") kernel = race;
  if (name == "no_race") kernel = no_race;
  if (name == "past_the_end") kernel = past_the_end;
  if (name == "past_shared") kernel = past_shared;
  if (!kernel) throw std::invalid_argument("no such kernel");
  std::vector<int> out(96, 0);
  launch(kernel, 1, 96, nullptr, out.data());
  long sum = 0;
  for (int i = 0; i < 96; ++i) sum += long(i + 1) * out[i];
  return sum;
}

}  // namespace recon::faults
