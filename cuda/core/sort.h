// Stable least-significant-digit radix sort of (key, value) pairs.
#pragma once

#include <array>
#include <cstdint>
#include <utility>
#include <vector>

namespace recon {

// Sorts by key, 11 bits a pass; passes in which all keys agree are skipped. `swap_*` is scratch of the same size.
inline void radix_sort(std::vector<uint32_t>& keys, std::vector<uint32_t>& values, std::vector<uint32_t>& swap_keys,
                       std::vector<uint32_t>& swap_values) {
  constexpr int kBits = 11, kBins = 1 << kBits, kPasses = 3;
  const size_t n = keys.size();
  swap_keys.resize(n);
  swap_values.resize(n);
  std::array<std::array<uint32_t, kBins>, kPasses> count{};
  for (uint32_t key : keys)
    for (int p = 0; p < kPasses; ++p) ++count[p][(key >> (kBits * p)) & (kBins - 1)];
  for (int p = 0; p < kPasses; ++p) {
    auto& c = count[p];
    if (n == 0 || c[(keys[0] >> (kBits * p)) & (kBins - 1)] == n) continue;
    uint32_t sum = 0;
    for (uint32_t& x : c) x = std::exchange(sum, sum + x);
    for (size_t i = 0; i < n; ++i) {
      const uint32_t to = c[(keys[i] >> (kBits * p)) & (kBins - 1)]++;
      swap_keys[to] = keys[i];
      swap_values[to] = values[i];
    }
    keys.swap(swap_keys);
    values.swap(swap_values);
  }
}

}  // namespace recon
