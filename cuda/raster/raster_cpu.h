// Rasterization of a triangle mesh on the CPU.
#pragma once

#include <cstdint>

#include "raster/raster.h"

namespace recon::raster {

// face [height][width]: index or -1; depth [height][width] along z, 0 where there is none; shares [height][width][2]:
// barycentric coordinates of the face's first two corners. Faces that reach behind `near` are left out.
void rasterize(const Scene& scene, int32_t* face, float* depth, float* shares);

}  // namespace recon::raster
