// Stable radix sort of pairs and prefix sums on the device.
// Scratch memory is the caller's; ask for its size first, and divide it with `pieces`.
#pragma once

#include "device.h"

namespace recon {

size_t sort_scratch_bytes(int64_t count);
size_t sum_scratch_bytes(int64_t count);
// Sorts by the lowest `bits` of the keys.
void sort_pairs(const uint32_t* keys, uint32_t* sorted_keys, const uint32_t* values, uint32_t* sorted_values,
                int64_t count, int bits, void* scratch, size_t scratch_bytes, stream_t stream);
// Sums stop at kFull, so that too many entries for 32 bits are negative for the host and never wrap around.
inline constexpr uint32_t kFull = 0x80000000u;
void inclusive_sum(const uint32_t* in, uint32_t* out, int64_t count, void* scratch, size_t scratch_bytes,
                   stream_t stream);

// Arrays of `count` numbers one behind the other, each on a 256-byte boundary.
class pieces {
 public:
  explicit pieces(void* memory) : at_(static_cast<char*>(memory)) {}
  uint32_t* take(int64_t count) {
    uint32_t* out = reinterpret_cast<uint32_t*>(at_);
    at_ += bytes(count);
    return out;
  }
  void* rest() const { return at_; }
  static size_t bytes(int64_t count) { return (size_t(count) * sizeof(uint32_t) + 255) / 256 * 256; }

 private:
  char* at_;
};

// Bits that numbers up to `largest` need.
inline int bits_of(uint32_t largest) {
  int bits = 1;
  while (bits < 32 && largest >> bits) ++bits;
  return bits;
}

}  // namespace recon
