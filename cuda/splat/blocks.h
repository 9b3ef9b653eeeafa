// Small symmetric systems, one per Gaussian: the block of J^T W J that belongs to its geometry, as a preconditioner.
//
// A block has 11 rows (mean 3, log_scale 3, quaternion 4, logit) and is kept as its lower triangle, row by row.
#pragma once

#include "core/scalar.h"

namespace recon {

inline constexpr int kBlock = 11, kTriangle = kBlock * (kBlock + 1) / 2;

// Lower triangle a -> its Cholesky factor with inverted diagonal, in place. What rounding makes indefinite is cut at
// `least` of the diagonal that came in.
template <class F>
RECON_HD void block_factor(F* a) {
  using S = scalar_of<F>;
  for (int i = 0; i < kBlock; ++i) {
    F* row = a + i * (i + 1) / 2;
    for (int j = 0; j <= i; ++j) {
      const F* other = a + j * (j + 1) / 2;
      F sum = row[j];
      for (int k = 0; k < j; ++k) sum = sum - row[k] * other[k];
      if (j < i) {
        row[j] = sum * other[j];  // the diagonal of `other` is inverted already
      } else {
        const F least = max(row[i] * F(S(1e-5)), F(S(1e-30)));
        row[i] = F(S(1)) / sqrt(max(sum, least));
      }
    }
  }
}

// x -> (L L^T)^-1 x for a factor of block_factor.
template <class F>
RECON_HD void block_solve(const F* a, F* x) {
  for (int i = 0; i < kBlock; ++i) {
    const F* row = a + i * (i + 1) / 2;
    for (int k = 0; k < i; ++k) x[i] = x[i] - row[k] * x[k];
    x[i] = x[i] * row[i];
  }
  for (int i = kBlock - 1; i >= 0; --i) {
    for (int k = i + 1; k < kBlock; ++k) x[i] = x[i] - a[k * (k + 1) / 2 + i] * x[k];
    x[i] = x[i] * a[i * (i + 1) / 2 + i];
  }
}

}  // namespace recon
