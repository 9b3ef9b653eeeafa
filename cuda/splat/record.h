// The packed record of a Gaussian on the screen: 12 numbers, 48 bytes in float, as tensors of shape [n, 12] hold it.
#pragma once

#include "core/scalar.h"

namespace recon {

enum record_column { kMx, kMy, kA, kB, kC, kOpacity, kRed, kGreen, kBlue, kDepth, kLog2Opacity, kRadius };
inline constexpr int kRecord = 12;
// In a gradient record the last two columns hold sum over pixels of |dL/d mx| and |dL/d my| (AbsGS, arXiv 2404.10484).
inline constexpr int kAbsX = kLog2Opacity, kAbsY = kRadius;

// What the backward pass sums over the pixels of a Gaussian; g = dL/d log(opacity) at a pixel, d = pixel - centre.
inline constexpr int kSums = 12;  // 0 g, 1-2 g d, 3-5 g d d, 6-8 colour, 9 depth, 10-11 |position gradient|

// Sums over pixels -> dL/d(record).
template <class S>
RECON_HD void record_gradient(const S* r, const S* sum, S* g) {
  g[kMx] = r[kA] * sum[1] + r[kB] * sum[2];
  g[kMy] = r[kB] * sum[1] + r[kC] * sum[2];
  g[kA] = S(-0.5) * sum[3];
  g[kB] = -sum[4];
  g[kC] = S(-0.5) * sum[5];
  g[kOpacity] = sum[0] / r[kOpacity];
  for (int j = 0; j < 4; ++j) g[kRed + j] = sum[6 + j];
  g[kAbsX] = sum[10];
  g[kAbsY] = sum[11];
}

}  // namespace recon
