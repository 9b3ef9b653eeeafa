// What the CUDA drivers may use of the machine: launches, shared memory, warp and block operations. Under nvcc these are
// CUDA's own; elsewhere the including build must offer an executor with the same names (tests/executor), which runs
// blocks and threads on the processor so that indices, barriers and tails are tested without a GPU.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(__CUDACC__)
#include <cuda_runtime.h>

#include <stdexcept>
#include <string>
#else
#include "executor.h"
#endif

namespace recon {

inline constexpr int kWarp = 32;
inline constexpr unsigned kAllLanes = 0xffffffffu;

#if defined(__CUDACC__)
using stream_t = cudaStream_t;

inline void expect_success(cudaError_t error, const char* what) {
  if (error != cudaSuccess) throw std::runtime_error(std::string(what) + ": " + cudaGetErrorString(error));
}

// kernel<<<grid, block, 0, stream>>>(arguments); nothing is launched for an empty grid.
template <class... P, class... A>
void launch(void (*kernel)(P...), dim3 grid, dim3 block, stream_t stream, const A&... arguments) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
  kernel<<<grid, block, 0, stream>>>(arguments...);
  expect_success(cudaGetLastError(), "CUDA launch");
}

inline void set_bytes(void* memory, int value, size_t bytes, stream_t stream) {
  if (bytes) expect_success(cudaMemsetAsync(memory, value, bytes, stream), "CUDA memset");
}

inline void copy(void* to, const void* from, size_t bytes, stream_t stream) {
  if (bytes) expect_success(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream), "CUDA copy");
}

// The shared memory of a block as one plain struct; a kernel has one type of its own.
template <class T>
__device__ __forceinline__ T& block_shared() {
  __shared__ T memory;
  return memory;
}
#endif

inline void set_zero(void* memory, size_t bytes, stream_t stream) { set_bytes(memory, 0, bytes, stream); }

// Blocks of `size` that cover `count` items.
inline unsigned blocks_for(int64_t count, int64_t size) { return unsigned((count + size - 1) / size); }

__device__ inline int64_t global_thread() { return int64_t(blockIdx.x) * blockDim.x + threadIdx.x; }
__device__ inline int lane_of(unsigned thread) { return int(thread % kWarp); }

// Sum over the lanes of a warp in fixed order; every lane gets it.
template <class T>
__device__ inline T warp_sum(T value) {
  for (int offset = kWarp / 2; offset > 0; offset /= 2) value += __shfl_xor_sync(kAllLanes, value, offset);
  return value;
}

}  // namespace recon
