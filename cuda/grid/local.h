// A lattice of small tensors over the unit cube: which tensors hold a point, where it lies in them, how much each counts.
//
// Gao, Xu, Su, Neumann, Xu, "Strivec: Sparse tri-vector radiance fields", ICCV 2023, arXiv 2307.13226, section 3.2.
// Difference: there the values of overlapping tensors are averaged by inverse distance, which jumps where a tensor ends;
// here they are blended linearly over the overlap, so that the sum is continuous.
#pragma once

#include "core/scalar.h"
#include "grid/grid.h"

namespace recon::grid {

// Along one axis: the sites of one or two tensors, the point's coordinate 0..1 in each, and their weights (sum 1).
template <class F>
struct overlap {
  int count, site[2];
  F inside[2], weight[2];
};

// u in 0..1 over `sites` sites in a row; tensors reach `half` sites to both sides of their centre, 0.5 < half <= 1.
template <class F>
RECON_HD overlap<F> overlap_at(const F& u, int sites, const F& half) {
  overlap<F> o;
  const F p = (u > F(0) ? (u < F(1) ? u : F(1)) : F(0)) * F(sites);  // NaN counts as 0
  const int own = p < F(sites - 1) ? int(p) : sites - 1;
  const F d = p - F(own) - F(0.5);
  const F away = d < F(0) ? -d : d;
  const int other = d < F(0) ? own - 1 : own + 1;
  o.site[0] = own;
  const F side = F(1) / (F(2) * half), zone = F(1) / (F(2) * half - F(1));  // the same for all points
  o.inside[0] = (d + half) * side;
  const bool two = away > F(1) - half && other >= 0 && other < sites;
  o.count = two ? 2 : 1;
  o.weight[1] = two ? (away - (F(1) - half)) * zone : F(0);
  o.weight[0] = F(1) - o.weight[1];
  o.site[1] = two ? other : own;
  o.inside[1] = two ? (d + F(own - other) + half) * side : o.inside[0];
  return o;
}

// The tensors that hold a point; visit calls body(tensor, corner) for each, where corner says which of the two sites along each axis.
template <class S>
struct around {
  overlap<S> axis[3];
  RECON_HD around(const S* u, const int* sites, S half) {
    for (int i = 0; i < 3; ++i) axis[i] = overlap_at(u[i], sites[i], half);
  }
  // The tensor that holds the point at one of the (up to) eight corners, -1 = none.
  RECON_HD int32_t tensor(const int32_t* table, const int* sites, int corner) const {
    const int which[3] = {corner & 1, corner >> 1 & 1, corner >> 2};
    int64_t at = 0;
    for (int i = 0; i < 3; ++i) {
      if (which[i] >= axis[i].count) return -1;
      at = at * sites[i] + axis[i].site[which[i]];
    }
    return table[at];
  }
  template <class Body>
  RECON_HD void visit(const int32_t* table, const int* sites, const Body& body) const {
    for (int a = 0; a < axis[0].count; ++a)
      for (int b = 0; b < axis[1].count; ++b)
        for (int c = 0; c < axis[2].count; ++c) {
          const int corner = a | b << 1 | c << 2;
          const int32_t found = tensor(table, sites, corner);
          if (found >= 0) body(found, corner);
        }
  }
  RECON_HD S weight(int corner) const {
    return axis[0].weight[corner & 1] * axis[1].weight[corner >> 1 & 1] * axis[2].weight[corner >> 2];
  }
  RECON_HD S inside(int corner, int i) const { return axis[i].inside[corner >> i & 1]; }
};

// The three vectors of one tensor around a point: rows and how much the second of each counts.
template <class S>
struct vectors {
  const S* row[3];
  int64_t offset[3];
  S f[3];
  RECON_HD vectors(const S* lines, int32_t tensor, int n, int R, const around<S>& at, int corner) {
    for (int i = 0; i < 3; ++i) {
      int node;
      place(at.inside(corner, i), n, node, f[i]);
      offset[i] = ((int64_t(tensor) * 3 + i) * n + node) * R;
      row[i] = lines + offset[i];
    }
  }
};

}  // namespace recon::grid
