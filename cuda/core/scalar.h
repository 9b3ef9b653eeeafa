// The vocabulary that kernel math is written in, for plain numbers: select, fma, rcp, exp2, log2, any, ...
// pack.h gives the same names for SIMD lanes, dual.h for dual numbers.
#pragma once

#include <cmath>

#include "host_device.h"

namespace recon {

template <class F>
struct traits;  // mask type and scalar type of a number type

template <>
struct traits<float> {
  using scalar = float;
  using mask = bool;
  static constexpr int lanes = 1;
};
template <>
struct traits<double> {
  using scalar = double;
  using mask = bool;
  static constexpr int lanes = 1;
};
template <class F>
using scalar_of = typename traits<F>::scalar;
template <class F>
using mask_of = typename traits<F>::mask;

RECON_HD float select(bool m, float a, float b) { return m ? a : b; }
RECON_HD double select(bool m, double a, double b) { return m ? a : b; }
RECON_HD bool any(bool m) { return m; }
RECON_HD float fma(float a, float b, float c) { return ::fmaf(a, b, c); }
RECON_HD double fma(double a, double b, double c) { return ::fma(a, b, c); }
RECON_HD float min(float a, float b) { return a < b ? a : b; }
RECON_HD double min(double a, double b) { return a < b ? a : b; }
RECON_HD float max(float a, float b) { return a > b ? a : b; }
RECON_HD double max(double a, double b) { return a > b ? a : b; }
RECON_HD float sqrt(float a) { return ::sqrtf(a); }
RECON_HD double sqrt(double a) { return ::sqrt(a); }
RECON_HD float abs(float a) { return ::fabsf(a); }
RECON_HD double abs(double a) { return ::fabs(a); }
RECON_HD float exp2(float a) { return ::exp2f(a); }
RECON_HD double exp2(double a) { return ::exp2(a); }
RECON_HD float log2(float a) { return ::log2f(a); }
RECON_HD double log2(double a) { return ::log2(a); }
RECON_HD float rcp(float a) { return 1.0f / a; }
RECON_HD double rcp(double a) { return 1.0 / a; }

inline constexpr double kLog2E = 1.4426950408889634074;
inline constexpr double kLn2 = 0.69314718055994530942;

// c - a b
template <class F>
RECON_HD F fnma(const F& a, const F& b, const F& c) {
  return fma(-a, b, c);
}

// exp2 where the caller masks out what is not in [-126, 127]: lanes outside may hold anything.
template <class F>
RECON_HD F exp2_near(const F& a) {
  return exp2(a);
}

// exp and log of any number type, through the base-2 pair that the hardware is good at.
template <class F>
RECON_HD F exp(const F& a) {
  return exp2(a * F(scalar_of<F>(kLog2E)));
}
template <class F>
RECON_HD F log(const F& a) {
  return log2(a) * F(scalar_of<F>(kLn2));
}
template <class F>
RECON_HD F sigmoid(const F& a) {
  return F(scalar_of<F>(1)) / (F(scalar_of<F>(1)) + exp(-a));
}

}  // namespace recon
