// Activations of a small fully connected network; hidden layers are rectified.
#pragma once

#include "core/scalar.h"

namespace recon::mlp {

template <class F>
RECON_HD F relu(const F& x) {
  return max(x, F(scalar_of<F>(0)));
}
// The gradient through relu, from its result.
template <class F>
RECON_HD F relu_backward(const F& y, const F& g) {
  return select(y > F(scalar_of<F>(0)), g, F(scalar_of<F>(0)));
}
template <class F>
RECON_HD F bounded_sigmoid(const F& x) {
  return sigmoid(max(x, F(scalar_of<F>(-80))));
}
template <class F>
RECON_HD F sigmoid_backward(const F& y, const F& g) {
  return g * y * (F(scalar_of<F>(1)) - y);
}

}  // namespace recon::mlp
