// Runs CUDA kernels on the processor, for tests: every thread of a block is a fiber, blocks run one after another.
// It checks what a GPU would leave undefined and reports it as an error: threads that leave before a barrier, lanes that
// wait for different things, shuffles from lanes outside the mask, more than 48 KiB of shared memory. Shared memory
// begins as NaN in every block and lives on the heap, so that an address sanitizer sees its ends. The order in which
// threads run between two barriers is chosen by `set_order`: a result that changes with it has a race.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <tuple>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __restrict__ __restrict
#define __launch_bounds__(...)

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

inline dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace recon::executor {

enum class operation { barrier, barrier_count, warp_sync, shuffle, ballot };

void run(dim3 grid, dim3 block, const std::function<void()>& thread);
// Waits for the other threads of the block or the lanes of `mask`; what comes back depends on the operation.
uint64_t meet(operation what, unsigned mask, uint64_t value, int source);
void* shared(const void* key, size_t bytes);
int lane();
void set_order(unsigned seed);  // 0 forwards, 1 backwards, else shuffled by the seed
[[noreturn]] void fail(const char* what);

template <class T>
T shuffle(unsigned mask, T value, int source) {
  static_assert(sizeof(T) <= 8);
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  bits = meet(operation::shuffle, mask, bits, source);
  std::memcpy(&value, &bits, sizeof(T));
  return value;
}

template <class T>
inline char shared_key = 0;

}  // namespace recon::executor

inline void __syncthreads() { recon::executor::meet(recon::executor::operation::barrier, 0, 0, 0); }
inline int __syncthreads_count(int yes) {
  return int(recon::executor::meet(recon::executor::operation::barrier_count, 0, yes != 0, 0));
}
inline int __syncthreads_or(int yes) { return __syncthreads_count(yes) != 0; }
inline void __syncwarp(unsigned mask = ~0u) {
  recon::executor::meet(recon::executor::operation::warp_sync, mask, 0, 0);
}
template <class T>
T __shfl_sync(unsigned mask, T value, int source) {
  return recon::executor::shuffle(mask, value, source & 31);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int other) {
  return recon::executor::shuffle(mask, value, recon::executor::lane() ^ other);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned by) {
  const int lane = recon::executor::lane(), source = lane - int(by);
  return recon::executor::shuffle(mask, value, source < 0 ? lane : source);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned by) {
  const int lane = recon::executor::lane(), source = lane + int(by);
  return recon::executor::shuffle(mask, value, source > 31 ? lane : source);
}
inline unsigned __ballot_sync(unsigned mask, int yes) {
  return unsigned(recon::executor::meet(recon::executor::operation::ballot, mask, yes != 0, 0));
}
inline int __any_sync(unsigned mask, int yes) { return __ballot_sync(mask, yes) != 0; }
inline int __popc(unsigned bits) { return __builtin_popcount(bits); }
inline int __ffs(unsigned bits) { return __builtin_ffs(int(bits)); }
inline unsigned __float_as_uint(float value) {
  unsigned bits;
  std::memcpy(&bits, &value, 4);
  return bits;
}
template <class T>
T atomicAdd(T* where, T value) {
  const T old = *where;
  *where = old + value;
  return old;
}
template <class T>
T atomicMin(T* where, T value) {
  const T old = *where;
  *where = value < old ? value : old;
  return old;
}
inline long long __double_as_longlong(double value) {
  long long bits;
  std::memcpy(&bits, &value, 8);
  return bits;
}

// Rounded once each, never joined to a fused multiply-add.
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dmul_rn(double a, double b) { return a * b; }

namespace recon {

using stream_t = void*;

template <class... P, class... A>
void launch(void (*kernel)(P...), dim3 grid, dim3 block, stream_t, const A&... arguments) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
  const std::tuple<P...> values(arguments...);
  executor::run(grid, block, [&] { std::apply(kernel, values); });
}

inline void set_bytes(void* memory, int value, size_t bytes, stream_t) {
  if (bytes) std::memset(memory, value, bytes);
}

inline void copy(void* to, const void* from, size_t bytes, stream_t) {
  if (bytes) std::memcpy(to, from, bytes);
}

template <class T>
T& block_shared() {
  return *static_cast<T*>(executor::shared(&executor::shared_key<T>, sizeof(T)));
}

}  // namespace recon
