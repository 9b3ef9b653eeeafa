// Distance of points and of boxes, the two expressions that nearest-neighbour search is made of.
#pragma once

#include "core/scalar.h"

namespace recon::knn {

template <class F>
struct Point {
  F x, y, z;
};

template <class F>
RECON_HD F squared_length(const F& x, const F& y, const F& z) {
  return fma(x, x, fma(y, y, z * z));
}

template <class F>
RECON_HD F squared_distance(const Point<F>& a, const Point<F>& b) {
  return squared_length(a.x - b.x, a.y - b.y, a.z - b.z);
}

// Distance from q to the box [low, high], 0 inside. Rounding is monotone in every operation and the expression is that
// of squared_distance, so the result never exceeds the computed distance of a point in the box: pruning stays exact.
template <class F>
RECON_HD F squared_distance_to_box(const Point<F>& q, const Point<F>& low, const Point<F>& high) {
  const F zero{scalar_of<F>(0)};
  return squared_length(max(max(low.x - q.x, q.x - high.x), zero), max(max(low.y - q.y, q.y - high.y), zero),
                        max(max(low.z - q.z, q.z - high.z), zero));
}

}  // namespace recon::knn
