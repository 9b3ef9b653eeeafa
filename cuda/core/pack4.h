// Four float lanes on gcc and clang vector types: SSE and NEON registers without intrinsics. As plain loops the
// compilers take such packs apart into numbers, which made kernels about ten times slower.
// Included at the end of pack.h only.
#pragma once

#if defined(__SSE2__)
#include <emmintrin.h>
#elif defined(__ARM_FEATURE_FMA)
#include <arm_neon.h>
#endif

namespace recon {

namespace detail {
typedef float f4 __attribute__((vector_size(16)));
typedef int32_t i4 __attribute__((vector_size(16)));
}  // namespace detail

template <>
struct lane_mask<float, 4> {
  detail::i4 v;  // all bits of a lane set or none
};
using m4 = lane_mask<float, 4>;
RECON_HD uint32_t to_bits(m4 m) {
#if defined(__SSE2__)
  return uint32_t(_mm_movemask_ps((__m128)m.v));
#else
  const detail::i4 b = m.v & detail::i4{1, 2, 4, 8};
  return uint32_t(b[0] | b[1] | b[2] | b[3]);
#endif
}
RECON_HD bool any(m4 m) { return to_bits(m) != 0; }
RECON_HD m4 operator&(m4 a, m4 b) { return {a.v & b.v}; }
RECON_HD m4 operator|(m4 a, m4 b) { return {a.v | b.v}; }

template <>
struct pack<float, 4> {
  detail::f4 v;
  pack() = default;
  RECON_HD explicit pack(float s) : v{s, s, s, s} {}
  RECON_HD pack(detail::f4 x) : v(x) {}
};
using p4 = pack<float, 4>;
RECON_HD p4 operator+(const p4& a, const p4& b) { return a.v + b.v; }
RECON_HD p4 operator-(const p4& a, const p4& b) { return a.v - b.v; }
RECON_HD p4 operator*(const p4& a, const p4& b) { return a.v * b.v; }
RECON_HD p4 operator/(const p4& a, const p4& b) { return a.v / b.v; }
RECON_HD p4 operator-(const p4& a) { return -a.v; }
RECON_HD m4 operator<(const p4& a, const p4& b) { return {a.v < b.v}; }
RECON_HD m4 operator<=(const p4& a, const p4& b) { return {a.v <= b.v}; }
RECON_HD m4 operator>(const p4& a, const p4& b) { return {a.v > b.v}; }
RECON_HD m4 operator>=(const p4& a, const p4& b) { return {a.v >= b.v}; }
RECON_HD p4 select(m4 m, const p4& a, const p4& b) {
  return (detail::f4)((m.v & (detail::i4)a.v) | (~m.v & (detail::i4)b.v));
}
RECON_HD p4 min(const p4& a, const p4& b) { return select(a < b, a, b); }
RECON_HD p4 max(const p4& a, const p4& b) { return select(a > b, a, b); }
RECON_HD p4 abs(const p4& a) { return (detail::f4)((detail::i4)a.v & 0x7fffffff); }
RECON_HD p4 rcp(const p4& a) { return 1.0f / a.v; }
RECON_HD p4 sqrt(const p4& a) {
#if defined(__SSE2__)
  return (detail::f4)_mm_sqrt_ps((__m128)a.v);
#else
  return detail::f4{recon::sqrt(a.v[0]), recon::sqrt(a.v[1]), recon::sqrt(a.v[2]), recon::sqrt(a.v[3])};
#endif
}
#if defined(__ARM_FEATURE_FMA)
RECON_HD p4 fma(const p4& a, const p4& b, const p4& c) { return detail::f4(vfmaq_f32(c.v, a.v, b.v)); }
#elif defined(__FMA__)
RECON_HD p4 fma(const p4& a, const p4& b, const p4& c) {
  return (detail::f4)_mm_fmadd_ps((__m128)a.v, (__m128)b.v, (__m128)c.v);
}
#else
RECON_HD p4 fma(const p4& a, const p4& b, const p4& c) { return a.v * b.v + c.v; }
#endif
RECON_HD float hsum(const p4& a) { return ((a.v[0] + a.v[1]) + a.v[2]) + a.v[3]; }
// As on AVX2: 2^n by the exponent's bits, the fraction by a polynomial; log2 split at sqrt(1/2).
RECON_HD p4 exp2(const p4& a) {
  const p4 x = max(min(a, p4(127.0f)), p4(-126.0f));
  const detail::f4 shifted = x.v + 12582912.0f;  // 1.5 * 2^23: rounds to the nearest whole number
  const detail::f4 n = shifted - 12582912.0f;
  const detail::i4 power = (__builtin_convertvector(n, detail::i4) + 127) << 23;
  return detail::exp2_fraction(p4(x.v - n)).v * (detail::f4)power;
}
RECON_HD p4 log2(const p4& a) {
  const detail::i4 bits = (detail::i4)a.v;
  const detail::i4 e = (bits - 0x3f3504f3) >> 23;
  return p4(__builtin_convertvector(e, detail::f4)) + detail::log2_mantissa(p4((detail::f4)(bits - (e << 23))));
}
template <>
RECON_HD m4 from_bits<p4>(uint32_t bits) {
  const int b = int(bits);
  const detail::i4 lane = {1, 2, 4, 8};
  return {(detail::i4{b, b, b, b} & lane) == lane};
}
template <>
struct io<p4> {
  static RECON_HD p4 load(const float* p) {
    p4 r;
    std::memcpy(&r.v, p, sizeof r.v);
    return r;
  }
  static RECON_HD void store(float* p, const p4& a) { std::memcpy(p, &a.v, sizeof a.v); }
};

}  // namespace recon
