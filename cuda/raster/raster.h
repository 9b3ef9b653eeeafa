// Which triangle a pixel sees: edge functions with perspective-correct barycentric coordinates.
// Olano and Greer, "Triangle Scan Conversion using 2D Homogeneous Coordinates", Graphics Hardware 1997.
#pragma once

#include "../core/scalar.h"

namespace recon::raster {

// A triangle in front of a pinhole camera. Over the ray (x, y, 1) the three edge functions are linear in x and y; they
// share their sign exactly where the ray meets the triangle, and their share of the sum is the barycentric coordinate.
template <class F>
struct triangle {
  F edge[3][3];  // e_i(x, y) = edge[i] . (x, y, 1)
  F det;         // a . (b x c); < 0 for faces that are counter-clockwise towards the camera (y down)
};

// Corners a, b, c in camera coordinates.
template <class F>
RECON_HD triangle<F> triangle_of(const F* a, const F* b, const F* c) {
  triangle<F> t;
  const F* corner[3] = {a, b, c};
  for (int i = 0; i < 3; ++i) {
    const F *p = corner[(i + 1) % 3], *q = corner[(i + 2) % 3];
    t.edge[i][0] = p[1] * q[2] - p[2] * q[1];
    t.edge[i][1] = p[2] * q[0] - p[0] * q[2];
    t.edge[i][2] = p[0] * q[1] - p[1] * q[0];
  }
  t.det = a[0] * t.edge[0][0] + a[1] * t.edge[0][1] + a[2] * t.edge[0][2];
  return t;
}

// Whether the ray (x, y, 1) meets the triangle in front of the camera; then its depth and the shares of a and b.
template <class F>
RECON_HD bool meets(const triangle<F>& t, const F& x, const F& y, F& depth, F& share_a, F& share_b) {
  F e[3], sum(0);
  for (int i = 0; i < 3; ++i) {
    e[i] = t.edge[i][0] * x + t.edge[i][1] * y + t.edge[i][2];
    sum = sum + e[i];
  }
  const bool all =
      t.det > F(0) ? e[0] >= F(0) && e[1] >= F(0) && e[2] >= F(0) : e[0] <= F(0) && e[1] <= F(0) && e[2] <= F(0);
  if (!all || sum == F(0) || t.det == F(0)) return false;
  depth = t.det / sum;
  share_a = e[0] / sum;
  share_b = e[1] / sum;
  return depth > F(0);
}

}  // namespace recon::raster
