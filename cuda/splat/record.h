// The packed record of a Gaussian on the screen: 12 numbers, 48 bytes in float, as tensors of shape [n, 12] hold it.
#pragma once

namespace recon {

enum record_column { kMx, kMy, kA, kB, kC, kOpacity, kRed, kGreen, kBlue, kDepth, kLog2Opacity, kRadius };
inline constexpr int kRecord = 12;
// In a gradient record the last two columns hold sum over pixels of |dL/d mx| and |dL/d my| (AbsGS, arXiv 2404.10484).
inline constexpr int kAbsX = kLog2Opacity, kAbsY = kRadius;

}  // namespace recon
