// The CPU driver's face: what bind.cpp may call.
#pragma once

#include <cstdint>
#include <vector>

namespace recon::mlp {

// sizes: [inputs, hidden ..., outputs]. `parameters` holds for each layer its weights [in, out] and then its biases
// [out]. The first `own` inputs of row i are x[i], the others shared[row[i]]. Hidden layers are rectified; the outputs
// go through a sigmoid if `squash`.
template <class S>
struct network {
  std::vector<int> sizes;
  const S* parameters;
  int own;
  bool squash;
};

int64_t parameter_count(const std::vector<int>& sizes);

template <class S>
void forward(const network<S>& net, const S* x, const S* shared, const int32_t* row, int64_t count, S* y);

// g_parameters is added to, g_x [count, own] is set.
template <class S>
void backward(const network<S>& net, const S* x, const S* shared, const int32_t* row, int64_t count, const S* g_y,
              S* g_x, S* g_parameters);

}  // namespace recon::mlp
