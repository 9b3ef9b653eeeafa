// CUDA driver of plane sweeps.
#pragma once

#include "core/device.h"
#include "sweep/sweep.h"

namespace recon::gpu {

void correlate(const sweep::Sweep& s, float* scores, stream_t stream);  // [planes, height, width]

}  // namespace recon::gpu
