// One Adam update of one number. Kingma, Ba, "Adam: a method for stochastic optimization", ICLR 2015, algorithm 1.
#pragma once

#include "core/scalar.h"

namespace recon::adam {

// Constants of one step; `rate` = lr / (1 - beta1^t), `inverse_root` = 1 / sqrt(1 - beta2^t).
template <class F>
struct Constants {
  F beta1, one_minus_beta1, beta2, one_minus_beta2, inverse_root, eps;
};

template <class F>
RECON_HD void update(F& param, F& m, F& v, const F& grad, const F& rate, const Constants<F>& c) {
  m = fma(c.beta1, m, c.one_minus_beta1 * grad);
  v = fma(c.beta2, v, c.one_minus_beta2 * (grad * grad));
  param = param - rate * (m / fma(sqrt(v), c.inverse_root, c.eps));
}

}  // namespace recon::adam
