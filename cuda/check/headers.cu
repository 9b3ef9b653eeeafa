// Compiles with nvcc the shared math that has no CUDA driver yet, so that it stays usable there. The kernels below are
// the plainest possible drivers; they exist to instantiate the headers, not to be fast.
#include "core/dual.h"

namespace recon {

__global__ void dual_numbers(double* out) {
  const dual<double> x(out[0], 1.0);
  out[1] = sigmoid(exp2(x) * sqrt(x)).d;
}

}  // namespace recon
