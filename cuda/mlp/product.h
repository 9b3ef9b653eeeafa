// Matrix products of a small fully connected network in SIMD lanes.
//
// All three products of a layer (forward, gradient of its input, gradient of its weights) are C += A B with rows of B
// and C contiguous and A read number by number, so one register-blocked kernel does them all.
#pragma once

#include <cstdint>

#include "core/pack.h"

namespace recon::mlp {

// C [MR x NR lanes] (+)= A [MR x K] B [K x NR lanes]; a_row and a_column are the strides of A.
template <class P, int MR, int NR>
RECON_HD void tile(int K, const scalar_of<P>* A, int64_t a_row, int64_t a_column, const scalar_of<P>* B, int64_t b_row,
                   scalar_of<P>* C, int64_t c_row, bool add) {
  constexpr int L = traits<P>::lanes;
  P sum[MR][NR];
  for (int i = 0; i < MR; ++i)
    for (int j = 0; j < NR; ++j) sum[i][j] = add ? load<P>(C + i * c_row + j * L) : P(scalar_of<P>(0));
  for (int k = 0; k < K; ++k) {
    P b[NR];
    for (int j = 0; j < NR; ++j) b[j] = load<P>(B + k * b_row + j * L);
    for (int i = 0; i < MR; ++i) {
      const P a(A[i * a_row + k * a_column]);
      for (int j = 0; j < NR; ++j) sum[i][j] = fma(a, b[j], sum[i][j]);
    }
  }
  for (int i = 0; i < MR; ++i)
    for (int j = 0; j < NR; ++j) store(C + i * c_row + j * L, sum[i][j]);
}

template <class P, int NR>
inline void columns(int M, int K, const scalar_of<P>* A, int64_t a_row, int64_t a_column, const scalar_of<P>* B,
                    int64_t b_row, scalar_of<P>* C, int64_t c_row, bool add) {
  constexpr int MR = traits<P>::lanes >= 16 ? 6 : 4;
  int i = 0;
  for (; i + MR <= M; i += MR) tile<P, MR, NR>(K, A + i * a_row, a_row, a_column, B, b_row, C + i * c_row, c_row, add);
  for (; i < M; ++i) tile<P, 1, NR>(K, A + i * a_row, a_row, a_column, B, b_row, C + i * c_row, c_row, add);
}

// C [M x N] (+)= A [M x K] B [K x N]; N is a multiple of the lanes.
template <class P>
inline void product(int M, int N, int K, const scalar_of<P>* A, int64_t a_row, int64_t a_column, const scalar_of<P>* B,
                    int64_t b_row, scalar_of<P>* C, int64_t c_row, bool add) {
  constexpr int L = traits<P>::lanes, WIDE = L >= 16 ? 4 : 2;
  int j = 0;
  for (; j + WIDE * L <= N; j += WIDE * L) columns<P, WIDE>(M, K, A, a_row, a_column, B + j, b_row, C + j, c_row, add);
  for (; j < N; j += L) columns<P, 1>(M, K, A, a_row, a_column, B + j, b_row, C + j, c_row, add);
}

}  // namespace recon::mlp
