// The CPU driver's face: what bind.cpp may call.
#pragma once

#include <cstdint>

namespace recon::rows {

// How many of mask [n] are not 0, and which: index [count], ascending.
int64_t count(const uint8_t* mask, int64_t n);
void where(const uint8_t* mask, int64_t n, int64_t* index);

// out[i] = x[index[i]] for `count` rows of so many words of four bytes.
void gather(const uint32_t* x, int64_t words, const int64_t* index, int64_t count, uint32_t* out);
// out[index[i]] = x[i], and 0 in all other of the `rows` rows of out; index ascends.
void scatter(const uint32_t* x, int64_t words, const int64_t* index, int64_t count, int64_t rows, uint32_t* out);

}  // namespace recon::rows
