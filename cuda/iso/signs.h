// Which grid points are inside, and the sign pattern of every cube.
#pragma once

#include <vector>

#include "core/parallel.h"
#include "iso/iso_cpu.h"

namespace recon::iso {

template <class S>
std::vector<uint8_t> insides(const S* values, const Grid& g) {
  std::vector<uint8_t> out(g.points());
  parallel_for(g.nz, [&](int64_t z) {
    for (int64_t i = z * g.nx * g.ny; i < (z + 1) * g.nx * g.ny; ++i) out[i] = values[i] < S(0);
  });
  return out;
}

// Bit c of a cube is flag[corner c]; flags are 0 or 1.
inline std::vector<uint8_t> sign_patterns(const std::vector<uint8_t>& flag, const Grid& g) {
  std::vector<uint8_t> out(g.cubes());
  parallel_for(g.nz - 1, [&](int64_t z) {
    for (int64_t y = 0; y + 1 < g.ny; ++y) {
      const uint8_t* a = flag.data() + (z * g.ny + y) * g.nx;
      const uint8_t *b = a + g.nx, *c = a + g.nx * g.ny, *d = c + g.nx;
      uint8_t* p = out.data() + (z * (g.ny - 1) + y) * (g.nx - 1);
      for (int64_t x = 0; x + 1 < g.nx; ++x)
        p[x] = uint8_t(a[x] | a[x + 1] << 1 | b[x] << 2 | b[x + 1] << 3 | c[x] << 4 | c[x + 1] << 5 | d[x] << 6 |
                       d[x + 1] << 7);
    }
  });
  return out;
}

}  // namespace recon::iso
