// What the CUDA driver of mesh rasterization offers to bind.cu; see raster_cpu.h for the meaning.
#pragma once

#include "core/device.h"
#include "raster/raster.h"

namespace recon::gpu {

size_t rasterize_scratch_bytes(int64_t faces, int64_t pixels);

// The same faces, depths and shares as on the CPU to the bit, in every run.
void rasterize(const raster::Scene& scene, int32_t* face, float* depth, float* shares, void* scratch, stream_t stream);

}  // namespace recon::gpu
