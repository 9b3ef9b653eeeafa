// SIMD lanes with the vocabulary of scalar.h: pack<S, N> is N numbers that move together.
// The general template is plain loops (portable, any width, also double); AVX2 and AVX-512 floats use intrinsics,
// because with gcc's generic vectors comparisons and selects at 16 lanes were slower than at 8.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "scalar.h"

#if defined(__AVX2__) || defined(__AVX512F__)
#include <immintrin.h>
#endif

namespace recon {

template <class S, int N>
struct lane_mask {
  uint32_t bits;
};
template <class S, int N>
RECON_HD bool any(lane_mask<S, N> m) {
  return m.bits != 0;
}
template <class S, int N>
RECON_HD uint32_t to_bits(lane_mask<S, N> m) {
  return m.bits;
}
template <class S, int N>
RECON_HD lane_mask<S, N> operator&(lane_mask<S, N> a, lane_mask<S, N> b) {
  return {a.bits & b.bits};
}
template <class S, int N>
RECON_HD lane_mask<S, N> operator|(lane_mask<S, N> a, lane_mask<S, N> b) {
  return {a.bits | b.bits};
}

// ---------------------------------------------------------------- portable lanes
template <class S, int N>
struct pack {
  S v[N];
  pack() = default;
  RECON_HD explicit pack(S s) {
    for (int i = 0; i < N; ++i) v[i] = s;
  }
};
template <class S, int N>
struct traits<pack<S, N>> {
  using scalar = S;
  using mask = lane_mask<S, N>;
  static constexpr int lanes = N;
};

#define RECON_PACK_BINARY(op)                                                 \
  template <class S, int N>                                                   \
  RECON_HD pack<S, N> operator op(const pack<S, N>& a, const pack<S, N>& b) { \
    pack<S, N> r;                                                             \
    for (int i = 0; i < N; ++i) r.v[i] = a.v[i] op b.v[i];                    \
    return r;                                                                 \
  }
RECON_PACK_BINARY(+)
RECON_PACK_BINARY(-)
RECON_PACK_BINARY(*)
RECON_PACK_BINARY(/)
#undef RECON_PACK_BINARY
#define RECON_PACK_COMPARE(op)                                                     \
  template <class S, int N>                                                        \
  RECON_HD lane_mask<S, N> operator op(const pack<S, N>& a, const pack<S, N>& b) { \
    uint32_t m = 0;                                                                \
    for (int i = 0; i < N; ++i) m |= uint32_t(a.v[i] op b.v[i]) << i;              \
    return {m};                                                                    \
  }
RECON_PACK_COMPARE(<)
RECON_PACK_COMPARE(<=)
RECON_PACK_COMPARE(>)
RECON_PACK_COMPARE(>=)
#undef RECON_PACK_COMPARE
#define RECON_PACK_MAP(name, expression)             \
  template <class S, int N>                          \
  RECON_HD pack<S, N> name(const pack<S, N>& a) {    \
    pack<S, N> r;                                    \
    for (int i = 0; i < N; ++i) r.v[i] = expression; \
    return r;                                        \
  }
RECON_PACK_MAP(operator-, -a.v[i])
RECON_PACK_MAP(sqrt, recon::sqrt(a.v[i]))
RECON_PACK_MAP(abs, recon::abs(a.v[i]))
RECON_PACK_MAP(exp2, recon::exp2(a.v[i]))
RECON_PACK_MAP(log2, recon::log2(a.v[i]))
RECON_PACK_MAP(rcp, S(1) / a.v[i])
#undef RECON_PACK_MAP
template <class S, int N>
RECON_HD pack<S, N> min(const pack<S, N>& a, const pack<S, N>& b) {
  pack<S, N> r;
  for (int i = 0; i < N; ++i) r.v[i] = recon::min(a.v[i], b.v[i]);
  return r;
}
template <class S, int N>
RECON_HD pack<S, N> max(const pack<S, N>& a, const pack<S, N>& b) {
  pack<S, N> r;
  for (int i = 0; i < N; ++i) r.v[i] = recon::max(a.v[i], b.v[i]);
  return r;
}
template <class S, int N>
RECON_HD pack<S, N> fma(const pack<S, N>& a, const pack<S, N>& b, const pack<S, N>& c) {
  pack<S, N> r;
  for (int i = 0; i < N; ++i) r.v[i] = a.v[i] * b.v[i] + c.v[i];
  return r;
}
template <class S, int N>
RECON_HD pack<S, N> select(lane_mask<S, N> m, const pack<S, N>& a, const pack<S, N>& b) {
  pack<S, N> r;
  for (int i = 0; i < N; ++i) r.v[i] = (m.bits >> i) & 1u ? a.v[i] : b.v[i];
  return r;
}
template <class P>
struct io {  // memory <-> lanes
  using S = scalar_of<P>;
  static RECON_HD P load(const S* p) {
    P r;
    std::memcpy(r.v, p, sizeof r.v);
    return r;
  }
  static RECON_HD void store(S* p, const P& a) { std::memcpy(p, a.v, sizeof a.v); }
};
template <class S, int N>
RECON_HD S hsum(const pack<S, N>& a) {
  S s = 0;
  for (int i = 0; i < N; ++i) s += a.v[i];
  return s;
}

// exp2 on lanes: 2^n by exponent bits, 2^f by a degree-5 minimax polynomial on [-0.5, 0.5] (relative error 7.5e-8).
namespace detail {
template <class P>
RECON_HD P exp2_fraction(const P& f) {
  P p = fma(P(0.0013276f), f, P(0.0096755f));
  p = fma(p, f, P(0.0555071f));
  p = fma(p, f, P(0.2402212f));
  p = fma(p, f, P(0.6931470f));
  return fma(p, f, P(1.0000001f));
}
// log2(m) for m in [sqrt(1/2), sqrt(2)): odd series in (m-1)/(m+1); relative error below 2e-7.
template <class P>
RECON_HD P log2_mantissa(const P& m) {
  const P t = (m - P(1.0f)) / (m + P(1.0f));
  const P t2 = t * t;
  P p = fma(P(0.3205989f), t2, P(0.4121986f));
  p = fma(p, t2, P(0.5770780f));
  p = fma(p, t2, P(0.9617967f));
  p = fma(p, t2, P(2.8853900f));
  return p * t;
}
}  // namespace detail

// ---------------------------------------------------------------- AVX-512
#if defined(__AVX512F__)
template <>
struct pack<float, 16> {
  __m512 v;
  pack() = default;
  RECON_HD explicit pack(float s) : v(_mm512_set1_ps(s)) {}
  RECON_HD pack(__m512 x) : v(x) {}
};
using p16 = pack<float, 16>;
using m16 = lane_mask<float, 16>;
RECON_HD p16 operator+(const p16& a, const p16& b) { return _mm512_add_ps(a.v, b.v); }
RECON_HD p16 operator-(const p16& a, const p16& b) { return _mm512_sub_ps(a.v, b.v); }
RECON_HD p16 operator*(const p16& a, const p16& b) { return _mm512_mul_ps(a.v, b.v); }
RECON_HD p16 operator/(const p16& a, const p16& b) { return _mm512_div_ps(a.v, b.v); }
RECON_HD p16 operator-(const p16& a) { return _mm512_xor_ps(a.v, _mm512_set1_ps(-0.0f)); }
RECON_HD m16 operator<(const p16& a, const p16& b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ)}; }
RECON_HD m16 operator<=(const p16& a, const p16& b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LE_OQ)}; }
RECON_HD m16 operator>(const p16& a, const p16& b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_GT_OQ)}; }
RECON_HD m16 operator>=(const p16& a, const p16& b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_GE_OQ)}; }
RECON_HD p16 min(const p16& a, const p16& b) { return _mm512_min_ps(a.v, b.v); }
RECON_HD p16 max(const p16& a, const p16& b) { return _mm512_max_ps(a.v, b.v); }
RECON_HD p16 fma(const p16& a, const p16& b, const p16& c) { return _mm512_fmadd_ps(a.v, b.v, c.v); }
RECON_HD p16 fnma(const p16& a, const p16& b, const p16& c) { return _mm512_fnmadd_ps(a.v, b.v, c.v); }
RECON_HD p16 sqrt(const p16& a) { return _mm512_sqrt_ps(a.v); }
RECON_HD p16 abs(const p16& a) { return _mm512_abs_ps(a.v); }
RECON_HD p16 select(m16 m, const p16& a, const p16& b) { return _mm512_mask_blend_ps(__mmask16(m.bits), b.v, a.v); }
RECON_HD float hsum(const p16& a) { return _mm512_reduce_add_ps(a.v); }
RECON_HD p16 rcp(const p16& a) {  // 14 bits, then one Newton step
  const __m512 r = _mm512_rcp14_ps(a.v);
  return _mm512_mul_ps(r, _mm512_fnmadd_ps(a.v, r, _mm512_set1_ps(2.0f)));
}
RECON_HD p16 exp2(const p16& a) {
  const __m512 x = _mm512_max_ps(_mm512_min_ps(a.v, _mm512_set1_ps(127.0f)), _mm512_set1_ps(-126.0f));
  const __m512 n = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  return _mm512_scalef_ps(detail::exp2_fraction(p16(_mm512_sub_ps(x, n))).v, n);
}
RECON_HD p16 exp2_near(const p16& a) {  // 2^(i/16) from a table, the rest by a parabola; relative error 5e-7
  const __m512 table = _mm512_setr_ps(
      1.0f, 1.0442737824274138f, 1.0905077326652577f, 1.1387886347566916f, 1.189207115002721f, 1.241857812073484f,
      1.2968395546510096f, 1.3542555469368927f, 1.4142135623730951f, 1.4768261459394993f, 1.5422108254079407f,
      1.6104903319492543f, 1.681792830507429f, 1.7562521603732995f, 1.8340080864093424f, 1.9152065613971474f);
  const __m512 shift = _mm512_set1_ps(786432.0f);  // 1.5 * 2^19: sixteenths are the last bits of the sum
  const __m512 t = _mm512_add_ps(a.v, shift), n = _mm512_sub_ps(t, shift), f = _mm512_sub_ps(a.v, n);
  const __m512 root = _mm512_permutexvar_ps(_mm512_castps_si512(t), table);
  const __m512 p = _mm512_fmadd_ps(_mm512_set1_ps(0.24022643f), f, _mm512_set1_ps(0.69318772f));
  return _mm512_scalef_ps(_mm512_fmadd_ps(_mm512_mul_ps(root, f), p, root), n);
}
RECON_HD p16 log2(const p16& a) {
  __m512 m = _mm512_getmant_ps(a.v, _MM_MANT_NORM_p75_1p5, _MM_MANT_SIGN_src);
  const __m512 e = _mm512_getexp_ps(_mm512_div_ps(a.v, m));
  return p16(e) + detail::log2_mantissa(p16(m));
}
template <>
struct io<p16> {
  static RECON_HD p16 load(const float* p) { return _mm512_loadu_ps(p); }
  static RECON_HD void store(float* p, const p16& a) { _mm512_storeu_ps(p, a.v); }
};
#endif

// ---------------------------------------------------------------- AVX2
#if defined(__AVX2__)
template <>
struct lane_mask<float, 8> {
  __m256 v;
};
using m8 = lane_mask<float, 8>;
RECON_HD uint32_t to_bits(m8 m) { return uint32_t(_mm256_movemask_ps(m.v)); }
RECON_HD bool any(m8 m) { return _mm256_movemask_ps(m.v) != 0; }
RECON_HD m8 operator&(m8 a, m8 b) { return {_mm256_and_ps(a.v, b.v)}; }
RECON_HD m8 operator|(m8 a, m8 b) { return {_mm256_or_ps(a.v, b.v)}; }
template <>
struct pack<float, 8> {
  __m256 v;
  pack() = default;
  RECON_HD explicit pack(float s) : v(_mm256_set1_ps(s)) {}
  RECON_HD pack(__m256 x) : v(x) {}
};
using p8 = pack<float, 8>;
RECON_HD p8 operator+(const p8& a, const p8& b) { return _mm256_add_ps(a.v, b.v); }
RECON_HD p8 operator-(const p8& a, const p8& b) { return _mm256_sub_ps(a.v, b.v); }
RECON_HD p8 operator*(const p8& a, const p8& b) { return _mm256_mul_ps(a.v, b.v); }
RECON_HD p8 operator/(const p8& a, const p8& b) { return _mm256_div_ps(a.v, b.v); }
RECON_HD p8 operator-(const p8& a) { return _mm256_xor_ps(a.v, _mm256_set1_ps(-0.0f)); }
RECON_HD m8 operator<(const p8& a, const p8& b) { return {_mm256_cmp_ps(a.v, b.v, _CMP_LT_OQ)}; }
RECON_HD m8 operator<=(const p8& a, const p8& b) { return {_mm256_cmp_ps(a.v, b.v, _CMP_LE_OQ)}; }
RECON_HD m8 operator>(const p8& a, const p8& b) { return {_mm256_cmp_ps(a.v, b.v, _CMP_GT_OQ)}; }
RECON_HD m8 operator>=(const p8& a, const p8& b) { return {_mm256_cmp_ps(a.v, b.v, _CMP_GE_OQ)}; }
RECON_HD p8 min(const p8& a, const p8& b) { return _mm256_min_ps(a.v, b.v); }
RECON_HD p8 max(const p8& a, const p8& b) { return _mm256_max_ps(a.v, b.v); }
RECON_HD p8 fma(const p8& a, const p8& b, const p8& c) { return _mm256_fmadd_ps(a.v, b.v, c.v); }
RECON_HD p8 fnma(const p8& a, const p8& b, const p8& c) { return _mm256_fnmadd_ps(a.v, b.v, c.v); }
RECON_HD p8 sqrt(const p8& a) { return _mm256_sqrt_ps(a.v); }
RECON_HD p8 abs(const p8& a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a.v); }
RECON_HD p8 select(m8 m, const p8& a, const p8& b) { return _mm256_blendv_ps(b.v, a.v, m.v); }
RECON_HD float hsum(const p8& a) {
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}
RECON_HD p8 rcp(const p8& a) {  // 12 bits, then one Newton step
  const __m256 r = _mm256_rcp_ps(a.v);
  return _mm256_mul_ps(r, _mm256_fnmadd_ps(a.v, r, _mm256_set1_ps(2.0f)));
}
RECON_HD p8 exp2(const p8& a) {
  const __m256 x = _mm256_max_ps(_mm256_min_ps(a.v, _mm256_set1_ps(127.0f)), _mm256_set1_ps(-126.0f));
  const __m256 n = _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  const __m256i shift = _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
  return _mm256_mul_ps(detail::exp2_fraction(p8(_mm256_sub_ps(x, n))).v, _mm256_castsi256_ps(shift));
}
RECON_HD p8 exp2_near(const p8& a) {
  const __m256 n = _mm256_round_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  const __m256i shift = _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
  return _mm256_mul_ps(detail::exp2_fraction(p8(_mm256_sub_ps(a.v, n))).v, _mm256_castsi256_ps(shift));
}
RECON_HD p8 log2(const p8& a) {  // split so that the mantissa lies in [sqrt(1/2), sqrt(2))
  const __m256i bits = _mm256_castps_si256(a.v);
  const __m256i shifted = _mm256_sub_epi32(bits, _mm256_set1_epi32(0x3f3504f3));
  const __m256i e = _mm256_srai_epi32(shifted, 23);
  const __m256i m = _mm256_sub_epi32(bits, _mm256_slli_epi32(e, 23));
  return p8(_mm256_cvtepi32_ps(e)) + detail::log2_mantissa(p8(_mm256_castsi256_ps(m)));
}
template <>
struct io<p8> {
  static RECON_HD p8 load(const float* p) { return _mm256_loadu_ps(p); }
  static RECON_HD void store(float* p, const p8& a) { _mm256_storeu_ps(p, a.v); }
};
#endif

// As many rows as a pack has lanes -> their columns, in registers.
#if defined(__AVX512F__)
RECON_HD void transpose(p16* r) {
  __m512 t[16];
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_ps(r[i].v, r[i + 1].v);
    t[i + 1] = _mm512_unpackhi_ps(r[i].v, r[i + 1].v);
  }
  const auto low = [](__m512 a, __m512 b) { return _mm512_shuffle_ps(a, b, 0x44); };
  const auto high = [](__m512 a, __m512 b) { return _mm512_shuffle_ps(a, b, 0xee); };
  for (int i = 0; i < 16; i += 4)  // r[i + k]: column k of each 128-bit lane, rows i .. i + 3
    for (int k = 0; k < 2; ++k) {
      r[i + 2 * k] = low(t[i + k], t[i + 2 + k]);
      r[i + 2 * k + 1] = high(t[i + k], t[i + 2 + k]);
    }
  const auto even = [](__m512 a, __m512 b) { return _mm512_shuffle_f32x4(a, b, 0x88); };
  const auto odd = [](__m512 a, __m512 b) { return _mm512_shuffle_f32x4(a, b, 0xdd); };
  for (int k = 0; k < 4; ++k) {  // gather the four row groups of columns k, k + 4, k + 8, k + 12
    const __m512 a = even(r[k].v, r[k + 4].v), b = odd(r[k].v, r[k + 4].v);
    const __m512 c = even(r[k + 8].v, r[k + 12].v), d = odd(r[k + 8].v, r[k + 12].v);
    t[k] = even(a, c), t[k + 8] = odd(a, c);
    t[k + 4] = even(b, d), t[k + 12] = odd(b, d);
  }
  for (int i = 0; i < 16; ++i) r[i] = t[i];
}
#endif
#if defined(__AVX2__)
RECON_HD void transpose(p8* r) {
  __m256 t[8];
  for (int i = 0; i < 8; i += 2) {
    t[i] = _mm256_unpacklo_ps(r[i].v, r[i + 1].v);
    t[i + 1] = _mm256_unpackhi_ps(r[i].v, r[i + 1].v);
  }
  for (int i = 0; i < 8; i += 4)  // r[i + k]: column k of each 128-bit lane, rows i .. i + 3
    for (int k = 0; k < 2; ++k) {
      r[i + 2 * k] = _mm256_shuffle_ps(t[i + k], t[i + 2 + k], 0x44);
      r[i + 2 * k + 1] = _mm256_shuffle_ps(t[i + k], t[i + 2 + k], 0xee);
    }
  for (int k = 0; k < 4; ++k) {
    t[k] = _mm256_permute2f128_ps(r[k].v, r[k + 4].v, 0x20);
    t[k + 4] = _mm256_permute2f128_ps(r[k].v, r[k + 4].v, 0x31);
  }
  for (int i = 0; i < 8; ++i) r[i] = t[i];
}
#endif

// Lane masks from bits, lowest lane first.
template <class P>
RECON_HD mask_of<P> from_bits(uint32_t bits) {
#if defined(__AVX2__)
  if constexpr (std::is_same_v<P, p8>) {
    const __m256i lane = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    return {_mm256_castsi256_ps(_mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32(int(bits)), lane), lane))};
  } else
#endif
    return {bits & ((1u << traits<P>::lanes) - 1)};
}

// The lane count that this module is compiled for.
#if defined(__AVX512F__)
inline constexpr int kLanes = 16;
#elif defined(__AVX2__)
inline constexpr int kLanes = 8;
#else
inline constexpr int kLanes = 4;
#endif
using lanes = pack<float, kLanes>;

template <class P>
RECON_HD P load(const scalar_of<P>* p) {
  return io<P>::load(p);
}
template <class P>
RECON_HD void store(scalar_of<P>* p, const P& a) {
  io<P>::store(p, a);
}

// out[i] = sum of the lanes of in[i] for i < K <= 12; out has room for 12 numbers, the rest is set to zero.
// On AVX-512 the sums are formed by transposing, about four instructions each.
template <int K, class P>
RECON_HD void sum_lanes(const P* in, scalar_of<P>* out) {
#if defined(__AVX512F__)
  if constexpr (std::is_same_v<P, p16>) {
    const auto pair = [](__m512 a, __m512 b) {
      return _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
    };
    const auto quad = [&](int i) {  // in each 128-bit lane: its part of the sums i, i+1, i+2, i+3
      const __m512 zero = _mm512_setzero_ps();
      const auto at = [&](int j) { return j < K ? in[j].v : zero; };
      const __m512d ab = _mm512_castps_pd(i + 1 < K ? pair(at(i), at(i + 1)) : pair(at(i), zero));
      const __m512d cd = _mm512_castps_pd(i + 2 < K ? pair(at(i + 2), at(i + 3)) : zero);
      return _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(ab, cd)), _mm512_castpd_ps(_mm512_unpackhi_pd(ab, cd)));
    };
    const auto fold = [](__m512 a, __m512 b) {
      return _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xdd));
    };
    const __m512 zero = _mm512_setzero_ps();
    const __m512 low = fold(quad(0), K > 4 ? quad(4) : zero), high = K > 8 ? fold(quad(8), zero) : zero;
    _mm512_mask_storeu_ps(out, 0x0fff, fold(low, high));
    return;
  }
#endif
  for (int i = 0; i < 12; ++i) out[i] = i < K ? hsum(in[i]) : scalar_of<P>(0);
}

// Lanes [0, count) of memory that may end earlier than a full pack; the rest reads as `fill` and is not written.
template <class P>
RECON_HD P load_part(const scalar_of<P>* p, int count, scalar_of<P> fill = 0) {
#if defined(__AVX512F__)
  if constexpr (std::is_same_v<P, p16>)
    return _mm512_mask_loadu_ps(_mm512_set1_ps(fill), __mmask16((1u << count) - 1), p);
#endif
  if (count >= traits<P>::lanes) return load<P>(p);
  scalar_of<P> buffer[traits<P>::lanes];
  for (int i = 0; i < traits<P>::lanes; ++i) buffer[i] = i < count ? p[i] : fill;
  return load<P>(buffer);
}
template <class P>
RECON_HD void store_part(scalar_of<P>* p, const P& a, int count) {
#if defined(__AVX512F__)
  if constexpr (std::is_same_v<P, p16>) {
    _mm512_mask_storeu_ps(p, __mmask16((1u << count) - 1), a.v);
    return;
  }
#endif
  if (count >= traits<P>::lanes) return store<P>(p, a);
  scalar_of<P> buffer[traits<P>::lanes];
  store<P>(buffer, a);
  for (int i = 0; i < count; ++i) p[i] = buffer[i];
}

}  // namespace recon

#include "pack4.h"
