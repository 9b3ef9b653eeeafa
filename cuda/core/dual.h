// Dual numbers: value and derivative along one direction. Checks hand-written backward passes and gives J v.
#pragma once

#include <type_traits>

#include "scalar.h"

namespace recon {

// T is a plain number, or lanes of them: then comparisons give lane masks.
template <class T>
struct dual {
  T v, d;
  dual() = default;
  RECON_HD explicit dual(T value, T derivative = T(0)) : v(value), d(derivative) {}
  template <class S, class = std::enable_if_t<std::is_same_v<S, scalar_of<T>> && !std::is_same_v<S, T>>>
  RECON_HD explicit dual(S value) : v(value), d(S(0)) {}
};
template <class T>
struct traits<dual<T>> {
  using scalar = scalar_of<T>;
  using mask = mask_of<T>;
  static constexpr int lanes = traits<T>::lanes;
};

#define RECON_DUAL   \
  template <class T> \
  RECON_HD
RECON_DUAL dual<T> operator+(const dual<T>& a, const dual<T>& b) { return dual<T>(a.v + b.v, a.d + b.d); }
RECON_DUAL dual<T> operator-(const dual<T>& a, const dual<T>& b) { return dual<T>(a.v - b.v, a.d - b.d); }
RECON_DUAL dual<T> operator*(const dual<T>& a, const dual<T>& b) { return dual<T>(a.v * b.v, a.d * b.v + a.v * b.d); }
RECON_DUAL dual<T> operator/(const dual<T>& a, const dual<T>& b) {
  const T q = a.v / b.v;
  return dual<T>(q, (a.d - q * b.d) / b.v);
}
RECON_DUAL dual<T> operator-(const dual<T>& a) { return dual<T>(-a.v, -a.d); }
RECON_DUAL mask_of<T> operator<(const dual<T>& a, const dual<T>& b) { return a.v < b.v; }
RECON_DUAL mask_of<T> operator<=(const dual<T>& a, const dual<T>& b) { return a.v <= b.v; }
RECON_DUAL mask_of<T> operator>(const dual<T>& a, const dual<T>& b) { return a.v > b.v; }
RECON_DUAL mask_of<T> operator>=(const dual<T>& a, const dual<T>& b) { return a.v >= b.v; }
RECON_DUAL dual<T> select(mask_of<T> m, const dual<T>& a, const dual<T>& b) {
  return dual<T>(select(m, a.v, b.v), select(m, a.d, b.d));
}
RECON_DUAL dual<T> min(const dual<T>& a, const dual<T>& b) { return select(a.v < b.v, a, b); }
RECON_DUAL dual<T> max(const dual<T>& a, const dual<T>& b) { return select(a.v > b.v, a, b); }
RECON_DUAL dual<T> fma(const dual<T>& a, const dual<T>& b, const dual<T>& c) { return a * b + c; }
RECON_DUAL dual<T> abs(const dual<T>& a) { return select(a.v < T(0), -a, a); }
RECON_DUAL dual<T> rcp(const dual<T>& a) { return dual<T>(T(1) / a.v, -a.d / (a.v * a.v)); }
RECON_DUAL dual<T> sqrt(const dual<T>& a) {
  const T s = sqrt(a.v);
  return dual<T>(s, a.d / (T(2) * s));
}
RECON_DUAL dual<T> exp2(const dual<T>& a) {
  const T e = exp2(a.v);
  return dual<T>(e, e * T(kLn2) * a.d);
}
RECON_DUAL dual<T> log2(const dual<T>& a) { return dual<T>(log2(a.v), a.d * T(kLog2E) / a.v); }
#undef RECON_DUAL

}  // namespace recon
