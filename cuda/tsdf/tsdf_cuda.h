// What the CUDA driver of depth fusion offers to bind.cu; see tsdf_cpu.h for the meaning.
#pragma once

#include "core/device.h"
#include "tsdf/tsdf.h"

namespace recon::gpu {

void fuse(const tsdf::Volume& volume, const tsdf::Picture& picture, const tsdf::view<double>& camera, double truncation,
          stream_t stream);

}  // namespace recon::gpu
