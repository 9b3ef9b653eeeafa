// Distance from a point to a triangle, and the solid angle that a triangle covers as seen from a point.
//
// Closest point: Ericson, "Real-Time Collision Detection", 2005, section 5.1.5. Solid angle: Van Oosterom, Strackee,
// "The Solid Angle of a Plane Triangle", 1983. Winding numbers of meshes that need not be closed: Jacobson, Kavan,
// Sorkine-Hornung, SIGGRAPH 2013; from afar by one dipole per node: Barill et al., SIGGRAPH 2018, eq. (8).
#pragma once

#include "core/scalar.h"

namespace recon::sdf {

template <class F>
struct point {
  F x, y, z;
};
template <class F>
RECON_HD point<F> operator-(const point<F>& a, const point<F>& b) {
  return {a.x - b.x, a.y - b.y, a.z - b.z};
}
template <class F>
RECON_HD point<F> operator+(const point<F>& a, const point<F>& b) {
  return {a.x + b.x, a.y + b.y, a.z + b.z};
}
template <class F>
RECON_HD point<F> operator*(const F& s, const point<F>& a) {
  return {s * a.x, s * a.y, s * a.z};
}
template <class F>
RECON_HD F dot(const point<F>& a, const point<F>& b) {
  return a.x * b.x + a.y * b.y + a.z * b.z;
}
template <class F>
RECON_HD point<F> cross(const point<F>& a, const point<F>& b) {
  return {a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x};
}

template <class F>
struct triangle {
  point<F> a, b, c;
};

// The point of segment a-b nearest to p; a and b may be one.
template <class F>
RECON_HD point<F> closest_on_segment(const point<F>& p, const point<F>& a, const point<F>& b) {
  const point<F> ab = b - a;
  const F length = dot(ab, ab);
  const F t = length > F(0) ? recon::min(recon::max(dot(p - a, ab) / length, F(0)), F(1)) : F(0);
  return a + t * ab;
}

// The point of a triangle nearest to p. A triangle without area is the longest of its sides.
template <class F>
RECON_HD point<F> closest_on_triangle(const point<F>& p, const triangle<F>& t) {
  const point<F> ab = t.b - t.a, ac = t.c - t.a, n = cross(ab, ac);
  const F area = dot(n, n);
  if (area > F(0)) {
    // Signed areas of p's projection against the sides say where it lies.
    const point<F> ap = p - t.a;
    const F v = dot(cross(ap, ac), n), w = dot(cross(ab, ap), n);
    if (v >= F(0) && w >= F(0) && v + w <= area) return t.a + (v / area) * ab + (w / area) * ac;
  }
  point<F> best = closest_on_segment(p, t.a, t.b);
  F least = dot(p - best, p - best);
  const point<F> q1 = closest_on_segment(p, t.b, t.c);
  const F d1 = dot(p - q1, p - q1);
  if (d1 < least) best = q1, least = d1;
  const point<F> q2 = closest_on_segment(p, t.c, t.a);
  const F d2 = dot(p - q2, p - q2);
  if (d2 < least) best = q2;
  return best;
}

// Half the signed solid angle of a triangle as seen from p, positive where p sees its back: numerator and denominator
// of its tangent.
template <class F>
RECON_HD void half_solid_angle(const point<F>& p, const triangle<F>& t, F& sine, F& cosine) {
  const point<F> a = t.a - p, b = t.b - p, c = t.c - p;
  const F la = recon::sqrt(dot(a, a)), lb = recon::sqrt(dot(b, b)), lc = recon::sqrt(dot(c, c));
  sine = dot(a, cross(b, c));
  cosine = la * lb * lc + dot(a, b) * lc + dot(b, c) * la + dot(c, a) * lb;
}

}  // namespace recon::sdf
