// Stable least-significant-digit radix sort.
#pragma once

#include <array>
#include <cstdint>
#include <utility>
#include <vector>

namespace recon {

// Sorts by the upper half of the numbers, 11 bits a pass; passes in which all agree are skipped. `spare` is scratch.
inline void radix_sort(std::vector<uint64_t>& items, std::vector<uint64_t>& spare) {
  constexpr int kBits = 11, kBins = 1 << kBits, kPasses = 3;
  const auto digit = [](uint64_t item, int pass) { return item >> (32 + kBits * pass) & (kBins - 1); };
  const size_t n = items.size();
  spare.resize(n);
  std::array<std::array<uint32_t, kBins>, kPasses> count{};
  for (uint64_t item : items)
    for (int p = 0; p < kPasses; ++p) ++count[p][digit(item, p)];
  for (int p = 0; p < kPasses; ++p) {
    auto& c = count[p];
    if (n == 0 || c[digit(items[0], p)] == n) continue;
    uint32_t sum = 0;
    for (uint32_t& x : c) x = std::exchange(sum, sum + x);
    for (uint64_t item : items) spare[c[digit(item, p)]++] = item;
    items.swap(spare);
  }
}

}  // namespace recon
