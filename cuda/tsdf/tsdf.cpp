// Layers are handed to the threads; a voxel belongs to one of them.
#include "tsdf/tsdf.h"

#include "core/parallel.h"
#include "tsdf/tsdf_cpu.h"

namespace recon::tsdf {

void fuse(const Volume& v, const Picture& p, const view<double>& camera, double truncation) {
  parallel_for(v.nz, [&](int64_t z) {
    for (int64_t y = 0; y < v.ny; ++y) {
      const row r = row_of(v, camera, y, z);
      const int64_t first = (z * v.ny + y) * v.nx;
      for (int64_t x = 0; x < v.nx; ++x) fuse_voxel(v, p, camera, float(truncation), r, x, first + x);
    }
  });
}

}  // namespace recon::tsdf
