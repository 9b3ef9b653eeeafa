// One local Newton step of one Gaussian (or a pack of them), for CPU lanes and CUDA threads alike.
#pragma once

#include "blocks.h"
#include "rows.h"

namespace recon {

struct newton_constants {
  float keep;  // share of the momentum that stays
  float rate;  // share of the Newton step that is taken
  // No number moves farther: log scales and the first coefficients of colours by `most`, logits by twice that, other
  // coefficients by a quarter, means by it in units of the largest standard deviation, quaternions of their length.
  float most;
};

// x, momentum: parameters. factors [rows][66]: of block_factor; inverse: of the diagonals of the colours.
struct newton_rows {
  gaussian_rows<float> x, momentum;
  const float *factors, *inverse_sh0, *inverse_sh_rest;
};

inline constexpr float kMostOfRest = 0.25f;

// Takes a gradient y of geometry (mean 3, log_scale 3, quaternion 4, logit) up into its momentum where `moved` says so;
// y is the momentum then.
template <class F>
RECON_HD void newton_momentum(F* y, F* momentum, newton_constants c, mask_of<F> moved) {
  using S = scalar_of<F>;
  const F keep{S(c.keep)}, fresh{S(1 - c.keep)};
  for (int j = 0; j < kBlock; ++j)
    y[j] = momentum[j] = select(moved, fma(keep, momentum[j], fresh * y[j]), momentum[j]);
}

// Moves geometry x along its momentum y (overwritten) where `moved` says so. factor: of block_factor. Apart from the
// momentum, so that lanes read factors after it.
template <class F>
RECON_HD void newton_geometry(F* x, F* y, const F* factor, newton_constants c, mask_of<F> moved) {
  const F rate{scalar_of<F>(c.rate)}, limit{scalar_of<F>(c.most)};
  block_solve(factor, y);
  const F largest = exp(max(max(x[3], x[4]), x[5]));
  const F length = sqrt(fma(x[6], x[6], fma(x[7], x[7], fma(x[8], x[8], x[9] * x[9]))));
  const F far = limit * largest, turn = limit * length, twice = limit + limit;
  const F most[kBlock] = {far, far, far, limit, limit, limit, turn, turn, turn, turn, twice};
  for (int j = 0; j < kBlock; ++j) {
    const F step = min(max(rate * y[j], -most[j]), most[j]);
    x[j] = select(moved, x[j] - step, x[j]);
  }
}

// Moves one coefficient of a colour, which has a curvature of its own.
template <class F>
RECON_HD void newton_colour(F& x, F& momentum, const F& g, const F& inverse, newton_constants c, const F& most) {
  using S = scalar_of<F>;
  momentum = fma(F(S(c.keep)), momentum, F(S(1 - c.keep)) * g);
  x = x - min(max(F(S(c.rate)) * (momentum * inverse), -most), most);
}

}  // namespace recon
