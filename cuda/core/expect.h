// What bindings say of a wrong argument; Python sees a ValueError.
#pragma once

#include <stdexcept>

namespace recon {

inline void expect(bool condition, const char* what) {
  if (!condition) throw std::invalid_argument(what);
}

}  // namespace recon
