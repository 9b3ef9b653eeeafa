// CPU driver: ranges of rows; each is written by one task.
#include "rows/rows.h"

#include <algorithm>
#include <type_traits>

#include "core/parallel.h"
#include "rows/rows_cpu.h"

namespace recon::rows {

namespace {

constexpr int64_t kGrain = 1 << 14;

// Calls body with the number of words of a row as a compile-time constant where it is a usual one, 0 otherwise.
template <class Body>
void with_words(int64_t words, const Body& body) {
  switch (words) {
#define RECON_CASE(n) \
  case n:             \
    return body(std::integral_constant<int, n>{});
    RECON_CASE(1)
    RECON_CASE(2)
    RECON_CASE(3)
    RECON_CASE(4)
    RECON_CASE(15)
    RECON_CASE(16)
    RECON_CASE(24)
    RECON_CASE(32)
#undef RECON_CASE
    default:
      return body(std::integral_constant<int, 0>{});
  }
}

}  // namespace

int64_t count(const uint8_t* mask, int64_t n) {
  int64_t sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += mask[i] != 0;
  return sum;
}

void where(const uint8_t* mask, int64_t n, int64_t* index) {
  int64_t found = 0, last = n;
  while (last > 0 && !mask[last - 1]) --last;  // behind it there is no room for what is written over
  for (int64_t i = 0; i < last; ++i) {         // without a branch
    index[found] = i;
    found += mask[i] != 0;
  }
}

void gather(const uint32_t* x, int64_t words, const int64_t* index, int64_t count, uint32_t* out) {
  with_words(words, [&](auto fixed) {
    const int64_t w = fixed.value ? fixed.value : words;
    parallel_ranges(count, kGrain, [&](int64_t from, int64_t to) {
      for (int64_t i = from; i < to; ++i) move_row<fixed.value>(out + i * w, x + index[i] * w, w);
    });
  });
}

void scatter(const uint32_t* x, int64_t words, const int64_t* index, int64_t count, int64_t rows, uint32_t* out) {
  with_words(words, [&](auto fixed) {
    const int64_t w = fixed.value ? fixed.value : words;
    parallel_ranges(rows, kGrain, [&](int64_t from, int64_t to) {
      int64_t next = from;
      const int64_t* at = std::lower_bound(index, index + count, from);
      for (; at < index + count && *at < to; next = *at++ + 1) {
        std::fill(out + next * w, out + *at * w, 0u);
        move_row<fixed.value>(out + *at * w, x + (at - index) * w, w);
      }
      std::fill(out + next * w, out + to * w, 0u);
    });
  });
}

}  // namespace recon::rows
