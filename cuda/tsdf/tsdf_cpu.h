// Fusion of depth pictures into a voxel grid on the CPU.
#pragma once

#include "tsdf/tsdf.h"

namespace recon::tsdf {

void fuse(const Volume& volume, const Picture& picture, const view<double>& camera, double truncation);

}  // namespace recon::tsdf
