// Asking for memory before it is needed, so that it comes while something else is computed. The processor foresees one
// array that is read in order; many at once, or a pause for arithmetic between two pieces, it does not.
#pragma once

#include <cstdint>

#include "core/host_device.h"

namespace recon {

// Asks for the line of memory that holds *p, to be read or to be written. It need not exist.
template <bool Write>
RECON_HD void ask_for_line(const void* p) {
  asm volatile("");  // without it, gcc takes a function that only asks for one without effect, and drops its calls
  __builtin_prefetch(p, Write);
}

// The same for bytes [p, p + bytes).
template <bool Write>
RECON_HD void ask_for(const void* p, int64_t bytes) {
  asm volatile("");
  const char* at = static_cast<const char*>(p);
  for (int64_t i = 0; i < bytes; i += 64) __builtin_prefetch(at + i, Write);
  __builtin_prefetch(at + bytes - 1, Write);
}

// The same for rows [row, row + count) of `width` numbers.
template <bool Write, class S>
RECON_HD void ask_for_rows(const S* base, int64_t row, int count, int64_t width) {
  if (width > 0) ask_for<Write>(base + row * width, int64_t(sizeof(S)) * count * width);
}

}  // namespace recon
