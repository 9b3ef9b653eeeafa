// CUB under nvcc, compiled once here for all drivers; the plainest stand-in under the executor.
#include "core/device_sort.h"

#if defined(__CUDACC__)
#include <cub/device/device_radix_sort.cuh>
#include <cub/device/device_scan.cuh>
#else
#include <cstring>
#include <numeric>
#include <vector>
#endif

namespace recon {
namespace {

struct sum_up_to_full {
  __host__ __device__ uint32_t operator()(uint32_t a, uint32_t b) const {
    return a >= kFull || b >= kFull - a ? kFull : a + b;
  }
};

}  // namespace

#if defined(__CUDACC__)
size_t sort_scratch_bytes(int64_t count) {
  size_t bytes = 0;
  const uint32_t* in = nullptr;
  uint32_t* out = nullptr;
  expect_success(cub::DeviceRadixSort::SortPairs(nullptr, bytes, in, out, in, out, count), "sort");
  return bytes;
}
size_t sum_scratch_bytes(int64_t count) {
  size_t bytes = 0;
  const uint32_t* in = nullptr;
  uint32_t* out = nullptr;
  expect_success(cub::DeviceScan::InclusiveScan(nullptr, bytes, in, out, sum_up_to_full{}, count), "prefix sum");
  return bytes;
}

void sort_pairs(const uint32_t* keys, uint32_t* sorted_keys, const uint32_t* values, uint32_t* sorted_values,
                int64_t count, int bits, void* scratch, size_t scratch_bytes, stream_t stream) {
  if (count == 0) return;
  expect_success(cub::DeviceRadixSort::SortPairs(scratch, scratch_bytes, keys, sorted_keys, values, sorted_values,
                                                 count, 0, bits, stream),
                 "sort");
}
void inclusive_sum(const uint32_t* in, uint32_t* out, int64_t count, void* scratch, size_t scratch_bytes,
                   stream_t stream) {
  if (count == 0) return;
  expect_success(cub::DeviceScan::InclusiveScan(scratch, scratch_bytes, in, out, sum_up_to_full{}, count, stream),
                 "prefix sum");
}
#else
size_t sort_scratch_bytes(int64_t count) { return 64 + size_t(count) * 8; }
size_t sum_scratch_bytes(int64_t) { return 64; }

void sort_pairs(const uint32_t* keys, uint32_t* sorted_keys, const uint32_t* values, uint32_t* sorted_values,
                int64_t count, int bits, void* scratch, size_t scratch_bytes, stream_t) {
  std::memset(scratch, 0xff, scratch_bytes);  // CUB writes there too
  const uint32_t mask = bits >= 32 ? ~0u : (1u << bits) - 1;
  std::vector<uint32_t> order(static_cast<size_t>(count));
  std::iota(order.begin(), order.end(), 0u);
  std::stable_sort(order.begin(), order.end(),
                   [&](uint32_t a, uint32_t b) { return (keys[a] & mask) < (keys[b] & mask); });
  for (int64_t i = 0; i < count; ++i) {
    sorted_keys[i] = keys[order[i]];
    sorted_values[i] = values[order[i]];
  }
}
void inclusive_sum(const uint32_t* in, uint32_t* out, int64_t count, void* scratch, size_t scratch_bytes, stream_t) {
  std::memset(scratch, 0xff, scratch_bytes);
  std::partial_sum(in, in + count, out, sum_up_to_full{});
}
#endif

}  // namespace recon
