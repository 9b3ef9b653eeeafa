// A lattice of small tensors over the unit cube: which tensors hold a point, where it lies in them, how much each counts.
//
// Gao, Xu, Su, Neumann, Xu, "Strivec: Sparse tri-vector radiance fields", ICCV 2023, arXiv 2307.13226, section 3.2.
// Difference: there the values of overlapping tensors are averaged by inverse distance, which jumps where a tensor ends;
// here they are blended linearly over the overlap, so that the sum is continuous.
#pragma once

#include "core/scalar.h"

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
  o.inside[0] = (d + half) / (F(2) * half);
  const bool two = away > F(1) - half && other >= 0 && other < sites;
  o.count = two ? 2 : 1;
  o.weight[1] = two ? (away - (F(1) - half)) / (F(2) * half - F(1)) : F(0);
  o.weight[0] = F(1) - o.weight[1];
  o.site[1] = two ? other : own;
  o.inside[1] = two ? (d + F(own - other) + half) / (F(2) * half) : o.inside[0];
  return o;
}

}  // namespace recon::grid
