// What bindings of every device ask of the arrays of small networks; shapes are checked with better words in
// recon/ops/mlp.py.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/expect.h"

namespace recon::mlp {

template <class P, class X, class A, class B>
void check_network(const std::vector<int>& sizes, const P& parameters, const X& x, const A& shared, const B& row) {
  expect(sizes.size() >= 2 && sizes.size() <= 8, "a network has 1 to 7 layers");
  int64_t numbers = 0;
  for (size_t l = 0; l < sizes.size(); ++l) {
    expect(sizes[l] >= 1 && sizes[l] <= 1024, "layers must be 1 to 1024 wide");
    if (l) numbers += int64_t(sizes[l - 1] + 1) * sizes[l];
  }
  expect(int64_t(parameters.size()) == numbers, "parameters do not fit the sizes");
  expect(x.ndim() == 2, "x must be [rows, width]");
  const int own = int(x.shape(1));
  expect(own <= sizes[0], "x is wider than the network's inputs");
  const size_t more = size_t(sizes[0] - own);
  expect(more == 0 || (row.size() == x.shape(0) && shared.size() % more == 0), "shared inputs do not fit");
}

}  // namespace recon::mlp
