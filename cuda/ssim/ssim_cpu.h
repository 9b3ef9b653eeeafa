// The CPU driver's face: what bind.cpp may call.
#pragma once

#include <cstdint>

namespace recon::ssim {

// Planar images [channels, height, width]; S is the number type of the image, T that of the target: S in [0, 1] or
// uint8_t (value / 255). Pixels where mask [height, width] is 0 are treated like the padding outside the image: black
// in both images, without a term of their own.
template <class S, class T>
struct Pair {
  const S* image;
  const T* target;
  const uint8_t* mask;  // or null
  int channels, height, width;
};

struct Loss {
  double value, l1, ssim;  // value = (1 - w) l1 + w (1 - ssim)
  int64_t pixels;          // counted pixels of one channel; 0 gives a loss of 0
};

// Mean loss over the counted pixels; its gradient by the image goes to `gradient` and S per pixel to `map`, both
// shaped like the image, where they are not null. The result does not depend on the number of threads.
template <class S, class T>
Loss photometric(const Pair<S, T>& pair, double ssim_weight, S* gradient, S* map);

}  // namespace recon::ssim
