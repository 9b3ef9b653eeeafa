// Which triangle a pixel sees: edge functions with perspective-correct barycentric coordinates.
// Olano and Greer, "Triangle Scan Conversion using 2D Homogeneous Coordinates", Graphics Hardware 1997.
#pragma once

#include <cstdint>

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

// A mesh before a pinhole camera.
struct Scene {
  const float* vertices;  // [v][3] camera coordinates
  const int32_t* faces;   // [f][3]
  int64_t num_faces;
  double fx, fy, cx, cy, near;
  int64_t width, height;
};

// Corners of a face.
template <class F>
RECON_HD triangle<F> triangle_of(const Scene& s, int64_t face) {
  F corner[3][3];
  for (int i = 0; i < 3; ++i)
    for (int k = 0; k < 3; ++k) corner[i][k] = F(double(s.vertices[3 * int64_t(s.faces[3 * face + i]) + k]));
  return triangle_of(corner[0], corner[1], corner[2]);
}

// Whether the ray through the centre of a pixel meets the triangle, see above.
template <class F>
RECON_HD bool meets(const Scene& s, const triangle<F>& t, int64_t x, int64_t y, F& depth, F& share_a, F& share_b) {
  return meets(t, F((double(x) + 0.5 - s.cx) / s.fx), F((double(y) + 0.5 - s.cy) / s.fy), depth, share_a, share_b);
}

struct Box {
  int32_t x0, x1, y0, y1;  // pixels whose centres may be inside; empty if x0 > x1 or y0 > y1
  RECON_HD bool empty() const { return x0 > x1 || y0 > y1; }
  RECON_HD int64_t pixels() const { return empty() ? 0 : int64_t(x1 - x0 + 1) * (y1 - y0 + 1); }
};

// Empty for faces that reach behind `near`.
RECON_HD Box box_of(const Scene& s, int64_t face) {
  double low[2] = {1e30, 1e30}, high[2] = {-1e30, -1e30};
  for (int i = 0; i < 3; ++i) {
    const float* p = s.vertices + 3 * int64_t(s.faces[3 * face + i]);
    if (!(double(p[2]) > s.near)) return {0, -1, 0, -1};
    const double at[2] = {s.fx * p[0] / p[2] + s.cx, s.fy * p[1] / p[2] + s.cy};
    for (int k = 0; k < 2; ++k) {
      low[k] = at[k] < low[k] ? at[k] : low[k];  // NaN is passed over
      high[k] = high[k] < at[k] ? at[k] : high[k];
    }
  }
  if (!(high[0] >= low[0] && high[1] >= low[1])) return {0, -1, 0, -1};
  int32_t first[2], last[2];
  const int64_t sizes[2] = {s.width, s.height};
  for (int k = 0; k < 2; ++k) {
    const double size = double(sizes[k]);
    const int32_t from = int32_t(min(max(::ceil(low[k] - 0.5 - 1e-6), -1.0), size));
    const int32_t to = int32_t(min(max(::floor(high[k] - 0.5 + 1e-6), -1.0), size));
    first[k] = from > 0 ? from : 0;
    last[k] = to < int32_t(sizes[k]) - 1 ? to : int32_t(sizes[k]) - 1;
  }
  return {first[0], last[0], first[1], last[1]};
}

}  // namespace recon::raster
