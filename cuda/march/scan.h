// Running sums and products over the lanes of a pack, moves between neighbouring lanes, and lanes that are chosen.
#pragma once

#include "core/pack.h"

namespace recon::march {

// Lane i takes lane i - K of `a`; the first K lanes take the last ones of `before`.
template <int K, class P>
RECON_HD P from_before(const P& a, const P& before) {
  constexpr int N = traits<P>::lanes;
#if defined(__AVX512F__)
  if constexpr (std::is_same_v<P, p16>)
    return _mm512_castsi512_ps(_mm512_alignr_epi32(_mm512_castps_si512(a.v), _mm512_castps_si512(before.v), 16 - K));
#endif
  scalar_of<P> both[2 * N];
  store(both, before);
  store(both + N, a);
  return load<P>(both + N - K);
}

// Lane i takes lane i + K of `a`; the last K lanes take the first ones of `behind`.
template <int K, class P>
RECON_HD P from_behind(const P& a, const P& behind) {
  constexpr int N = traits<P>::lanes;
#if defined(__AVX512F__)
  if constexpr (std::is_same_v<P, p16>)
    return _mm512_castsi512_ps(_mm512_alignr_epi32(_mm512_castps_si512(behind.v), _mm512_castps_si512(a.v), K));
#endif
  scalar_of<P> both[2 * N];
  store(both, a);
  store(both + N, behind);
  return load<P>(both + K);
}

// Every lane takes the value of the last one; of the first one.
template <class P>
RECON_HD P last_lane(const P& a) {
#if defined(__AVX512F__)
  if constexpr (std::is_same_v<P, p16>) return _mm512_permutexvar_ps(_mm512_set1_epi32(15), a.v);
#endif
  scalar_of<P> all[traits<P>::lanes];
  store(all, a);
  return P(all[traits<P>::lanes - 1]);
}
template <class P>
RECON_HD P first_lane(const P& a) {
#if defined(__AVX512F__)
  if constexpr (std::is_same_v<P, p16>) return _mm512_broadcastss_ps(_mm512_castps512_ps128(a.v));
#endif
  scalar_of<P> all[traits<P>::lanes];
  store(all, a);
  return P(all[0]);
}

// Over lanes 0 .. i, by doubling; the same tree on every machine of as many lanes.
template <class P>
RECON_HD P sums_before(P a) {
  constexpr int N = traits<P>::lanes;
  const P none(0);
  a = a + from_before<1>(a, none);
  a = a + from_before<2>(a, none);
  if constexpr (N > 4) a = a + from_before<4>(a, none);
  if constexpr (N > 8) a = a + from_before<8>(a, none);
  return a;
}
template <class P>
RECON_HD P products_before(P a) {
  constexpr int N = traits<P>::lanes;
  const P one(1);
  a = a * from_before<1>(a, one);
  a = a * from_before<2>(a, one);
  if constexpr (N > 4) a = a * from_before<4>(a, one);
  if constexpr (N > 8) a = a * from_before<8>(a, one);
  return a;
}
// Over lanes i .. last.
template <class P>
RECON_HD P sums_behind(P a) {
  constexpr int N = traits<P>::lanes;
  const P none(0);
  a = a + from_behind<1>(a, none);
  a = a + from_behind<2>(a, none);
  if constexpr (N > 4) a = a + from_behind<4>(a, none);
  if constexpr (N > 8) a = a + from_behind<8>(a, none);
  return a;
}

// Bit i: whether base[at[i]] is zero, of `size` bytes.
template <int N>
inline uint32_t zeros_at(const uint8_t* base, int64_t size, const int32_t* at) {
#if defined(__AVX512F__)
  if constexpr (N == 16)
    if (size >= 4) {  // four bytes at once, the last ones from where they do not reach beyond the end
      const __m512i which = _mm512_loadu_si512(at), from = _mm512_min_epi32(which, _mm512_set1_epi32(int(size) - 4));
      const __m512i bits = _mm512_slli_epi32(_mm512_sub_epi32(which, from), 3);
      const __m512i bytes = _mm512_srlv_epi32(_mm512_i32gather_epi32(from, base, 1), bits);
      return _mm512_testn_epi32_mask(bytes, _mm512_set1_epi32(255));
    }
#endif
  (void)size;
  uint32_t bits = 0;
  for (int i = 0; i < N; ++i) bits |= uint32_t(base[at[i]] == 0) << i;
  return bits;
}

// The lanes whose bit is set, one after another, and how many; there must be room for a whole pack.
template <class P>
inline int store_where(scalar_of<P>* to, const P& a, uint32_t bits) {
#if defined(__AVX512F__)
  if constexpr (std::is_same_v<P, p16>) {
    _mm512_storeu_ps(to, _mm512_maskz_compress_ps(__mmask16(bits), a.v));
    return __builtin_popcount(bits);
  }
#endif
  scalar_of<P> all[traits<P>::lanes];
  store(all, a);
  int count = 0;
  for (int i = 0; i < traits<P>::lanes; ++i) {  // without a branch: what is not kept is written over
    to[count] = all[i];
    count += bits >> i & 1;
  }
  return count;
}

}  // namespace recon::march
