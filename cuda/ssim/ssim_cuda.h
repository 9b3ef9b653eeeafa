// What the CUDA driver of the photometric loss offers to bind.cu; see ssim_cpu.h for the meaning of the arguments.
#pragma once

#include "core/device.h"

namespace recon::gpu {

// Planar images [channels][height][width]; target uint8_t (value / 255) or float; mask [height][width] or null.
template <class T>
struct image_pair {
  const float* image;
  const T* target;
  const uint8_t* mask;
  int channels, height, width;
};

inline constexpr int kSsimTile = 32;  // pixels a block owns, each way
inline int64_t ssim_blocks(int channels, int height, int width) {
  return int64_t(channels) * blocks_for(height, kSsimTile) * blocks_for(width, kSsimTile);
}

// loss [3] = (1 - w) l1 + w (1 - ssim), l1, ssim, and the gradient by the image where it is not null. `terms` [1]: how
// many numbers count (counted pixels x channels), on the device so that nobody waits for a sum over the mask.
// Scratch: `partial` [ssim_blocks][2] and, with a gradient, `adjoints` [3][channels][height][width]. No atomics: the
// same bits in every run.
template <class T>
void photometric(const image_pair<T>& pair, float ssim_weight, const double* terms, double* partial, float* adjoints,
                 float* gradient, double* loss, stream_t stream);

}  // namespace recon::gpu
