// Robust depth of a ray: the mean over the part that takes the transmittance from `high` down to `low`, and the squared
// deviations over the same part. low = high would be the median of Huang et al., "2D Gaussian Splatting for
// Geometrically Accurate Radiance Fields", SIGGRAPH 2024; a share of the ray instead of one point is less noisy.
// A Gaussian's depth is not one number: it lies on a plane, over which 1/z is linear on the screen.
#pragma once

#include "core/scalar.h"

namespace recon {

inline constexpr int kSlopes = 3;  // dz/dx, dz/dy per pixel, and the most that depth may differ from the centre's

template <class F>
struct depth_plane {
  F centre, sx, sy, most;
};

template <class F>
struct middle_sums {
  F weight, mean, squares;  // squares: weighted, around the mean (Welford)
};

// A Gaussian, dx and dy pixels from its centre, that takes the transmittance from T to `after`.
template <class F>
RECON_HD void add_to_middle(const depth_plane<F>& plane, const F& dx, const F& dy, const F& T, const F& after,
                            const F& low, const F& high, middle_sums<F>& s) {
  using S = scalar_of<F>;
  const F zero{S(0)};
  const F weight = max(min(T, high) - max(after, low), zero);
  const F step = min(max(fma(plane.sx, dx, plane.sy * dy), zero - plane.most), plane.most);
  const F z = plane.centre / max(F(S(1)) - step / plane.centre, F(S(0.5)));
  const F sum = s.weight + weight, away = z - s.mean;
  const F moved = s.mean + away * (weight / max(sum, F(S(1e-20))));
  s = {sum, moved, fma(weight * away, z - moved, s.squares)};
}

// Depth and its standard deviation; both 0 where the ray does not get to `high`.
template <class S>
RECON_HD void finish_middle(S weight, S& mean, S& squares) {
  const bool seen = weight > S(1e-6);
  const S variance = squares / weight;
  squares = seen ? recon::sqrt(variance < S(0) ? S(0) : variance) : S(0);
  mean = seen ? mean : S(0);
}

}  // namespace recon
