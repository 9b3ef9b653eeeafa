// Rows of a matrix by number. Rows are moved as words of four bytes, whatever they hold.
#pragma once

#include <cstdint>
#include <cstring>

#include "core/host_device.h"

namespace recon::rows {

// W: words of a row where it is known, 0 = `words`.
template <int W>
RECON_HD void move_row(uint32_t* to, const uint32_t* from, int64_t words) {
  if constexpr (W > 0)
    std::memcpy(to, from, W * sizeof(uint32_t));
  else
    std::memcpy(to, from, size_t(words) * sizeof(uint32_t));
}

}  // namespace recon::rows
