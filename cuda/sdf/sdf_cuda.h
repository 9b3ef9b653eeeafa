// What the CUDA driver of distances to triangles offers to bind.cu. The tree is built on the CPU.
#pragma once

#include "core/device.h"
#include "sdf/tree.h"

namespace recon::gpu {

void closest(const sdf::Tree& tree, const float* points, int64_t count, float* nearest, int32_t* face, stream_t stream);
void winding(const sdf::Tree& tree, const float* points, int64_t count, float* number, stream_t stream);

}  // namespace recon::gpu
