// A flexible mesh as arrays, and what its parts read from them. Grids are [nz, ny, nx] with x fastest.
#pragma once

#include <cmath>

#include "iso/iso.h"

namespace recon::iso {

struct Grid {
  int64_t nx, ny, nz;  // values along each axis, at least 2
  double origin[3], spacing[3];
  RECON_HD int64_t points() const { return nx * ny * nz; }
  RECON_HD int64_t cubes() const { return (nx - 1) * (ny - 1) * (nz - 1); }
  RECON_HD int64_t corner_point(int64_t x, int64_t y, int64_t z, int c) const {
    return ((z + (c >> 2)) * ny + y + (c >> 1 & 1)) * nx + x + (c & 1);
  }
  RECON_HD void position(int64_t cube, int64_t& x, int64_t& y, int64_t& z) const {
    x = cube % (nx - 1);
    y = cube / (nx - 1) % (ny - 1);
    z = cube / ((nx - 1) * (ny - 1));
  }
  RECON_HD double place(int axis, int64_t i) const { return origin[axis] + spacing[axis] * double(i); }
};

// What the mesh is made of; `deformed` [points, 3] and `weights` [cubes, 21] (raw) may be null: plain grid, ones.
template <class S>
struct Flexible {
  Grid grid;
  const S *values, *deformed, *weights;
  const int32_t* cube;
  const uint16_t* members;
  int64_t vertices;
  const int32_t* quads;
  int64_t num_quads;
};

// The cube of a mesh; use_weights(raw, used) maps its 21 weights.
template <class S, class Use>
RECON_HD void load_cube(const Flexible<S>& m, int64_t at, cube<S>& out, const Use& use_weights) {
  int64_t x, y, z;
  m.grid.position(at, x, y, z);
  for (int c = 0; c < 8; ++c) {
    const int64_t p = m.grid.corner_point(x, y, z, c);
    out.s[c] = m.values[p];
    if (m.deformed) {
      for (int k = 0; k < 3; ++k) out.x[c][k] = m.deformed[3 * p + k];
    } else {
      out.x[c][0] = S(m.grid.place(0, x + (c & 1)));
      out.x[c][1] = S(m.grid.place(1, y + (c >> 1 & 1)));
      out.x[c][2] = S(m.grid.place(2, z + (c >> 2)));
    }
  }
  S used[kWeights];
  if (m.weights) use_weights(m.weights + kWeights * at, used);
  for (int k = 0; k < 8; ++k) out.alpha[k] = m.weights ? used[k] : S(1);
  for (int k = 0; k < 12; ++k) out.beta[k] = m.weights ? used[8 + k] : S(1);
}

template <class S>
RECON_HD S gamma_of(const Flexible<S>& m, int64_t vertex) {
  return m.weights ? used_gamma(m.weights[kWeights * int64_t(m.cube[vertex]) + 20]) : S(0.5);
}

template <class S>
RECON_HD void load_quad(const Flexible<S>& m, int64_t q, const S* vertices, S v[4][3], S gamma[4]) {
  for (int i = 0; i < 4; ++i) {
    const int64_t at = m.quads[4 * q + i];
    for (int k = 0; k < 3; ++k) v[i][k] = vertices[3 * at + k];
    gamma[i] = gamma_of(m, at);
  }
}

// d(deformed) / d(raw) at a point of the grid, from the deformed one.
template <class S>
RECON_HD S deform_slope(const Grid& g, int axis, int64_t i, const S& deformed) {
  const S reach = S(kReach * g.spacing[axis]), t = (deformed - S(g.place(axis, i))) / reach;
  return reach * (S(1) - t * t);
}

// The loss of sign changes at point p = (x, y, z): how many of its neighbours have the other sign, each adding `term` and,
// to the gradient, `slope`. The other end's label is 1 where this value is inside.
template <class S>
RECON_HD int sign_changes(const S* s, const Grid& g, const int64_t* at, int64_t p, double& term, S& slope) {
  const int64_t size[3] = {g.nx, g.ny, g.nz}, step[3] = {1, g.nx, g.nx * g.ny};
  const S value = s[p];
  const bool inside = value < S(0);
  int others = 0;
  for (int a = 0; a < 3; ++a) {
    others += at[a] > 0 && (s[p - step[a]] < S(0)) != inside;
    others += at[a] + 1 < size[a] && (s[p + step[a]] < S(0)) != inside;
  }
  if (!others) return 0;
  const S away = inside ? -value : value;  // >= 0; the term is softplus(away), its slope a sigmoid
  const S e = recon::exp(-away);
  term = double(away) + ::log1p(double(e));
  slope = S(inside ? -1 : 1) / (S(1) + e);
  return others;
}

}  // namespace recon::iso
