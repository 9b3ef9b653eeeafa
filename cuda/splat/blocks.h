// Small symmetric systems, one per Gaussian: the block of J^T W J that belongs to its geometry, as a preconditioner.
//
// A block has 11 rows (mean 3, log_scale 3, quaternion 4, logit) and is kept as its lower triangle, row by row. Packs of
// Gaussians are factored and solved together, one per lane.
#pragma once

#include "core/parallel.h"
#include "project.h"

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

template <class P>
inline void load_triangle(const scalar_of<P>* base, int count, P* out) {
  for (int c = 0; c < kTriangle; c += 33) load_rows<P>(base + c, kTriangle, count, 33, out + c);
}

// The 11 numbers of each of `count` rows from `row` on.
template <class P>
inline void load_geometry(const gaussian_rows<scalar_of<P>>& in, int64_t row, int count, P* x) {
  load_rows<P>(in.mean + 3 * row, 3, count, 3, x);
  load_rows<P>(in.log_scale + 3 * row, 3, count, 3, x + 3);
  load_rows<P>(in.quaternion + 4 * row, 4, count, 4, x + 6);
  load_rows<P>(in.logit + row, 1, count, 1, x + 10);
}

// blocks [rows][66] plus a diagonal `added` -> factors, in place.
template <class P>
void factor_rows(const gaussian_rows<scalar_of<P>>& added, int64_t rows, scalar_of<P>* blocks) {
  constexpr int L = traits<P>::lanes;
  parallel_ranges(rows, 2048, [&](int64_t from, int64_t to) {
    for (int64_t i = from; i < to; i += L) {
      const int count = int(to - i < L ? to - i : L);
      P a[kTriangle], x[kBlock];
      load_triangle<P>(blocks + i * kTriangle, count, a);
      load_geometry<P>(added, i, count, x);
      for (int t = 0; t < kBlock; ++t) a[t * (t + 1) / 2 + t] = a[t * (t + 1) / 2 + t] + x[t];
      block_factor(a);
      for (int c = 0; c < kTriangle; c += 33) store_rows<P>(blocks + i * kTriangle + c, kTriangle, count, 33, a + c);
    }
  });
}

// Geometry of `x`, in place, through the factors.
template <class P>
void solve_rows(const scalar_of<P>* factors, int64_t rows, const gaussian_rows<scalar_of<P>>& x) {
  constexpr int L = traits<P>::lanes;
  parallel_ranges(rows, 2048, [&](int64_t from, int64_t to) {
    for (int64_t i = from; i < to; i += L) {
      const int count = int(to - i < L ? to - i : L);
      P a[kTriangle], y[kBlock];
      load_triangle<P>(factors + i * kTriangle, count, a);
      load_geometry<P>(x, i, count, y);
      block_solve(a, y);
      store_rows<P>(x.mean + 3 * i, 3, count, 3, y);
      store_rows<P>(x.log_scale + 3 * i, 3, count, 3, y + 3);
      store_rows<P>(x.quaternion + 4 * i, 4, count, 4, y + 6);
      store_rows<P>(x.logit + i, 1, count, 1, y + 10);
    }
  });
}

}  // namespace recon
