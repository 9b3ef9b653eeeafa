// What bindings of every device ask of the arrays of grids and factors; shapes are checked with better words in
// recon/ops/grid.py.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/expect.h"

namespace recon::grid {

template <class A, class B>
int64_t check_points(const A& u, const B& out, size_t width) {
  expect(u.ndim() == 2 && u.shape(1) == 3 && u.shape(0) < (size_t(1) << 31), "points must be [n, 3]");
  expect(out.size() == u.shape(0) * width, "the result does not fit the points");
  return int64_t(u.shape(0));
}

template <class V>
void check_values(const V& values, int* size) {
  expect(values.ndim() == 4, "values must be [x, y, z, channels]");
  for (int i = 0; i < 3; ++i) {
    size[i] = int(values.shape(i));
    expect(size[i] >= 2, "a grid needs two nodes along every axis");
  }
}

template <class L>
void check_lines(const L& lines) {
  expect(lines.ndim() == 3 && lines.shape(0) == 3 && lines.shape(1) >= 2, "lines must be [3, n, rank]");
}
template <class P, class L>
void check_factors(const P& planes, const L& lines) {
  check_lines(lines);
  expect(planes.ndim() == 4 && planes.shape(0) == 3 && planes.shape(1) == lines.shape(1) &&
             planes.shape(2) == lines.shape(1) && planes.shape(3) == lines.shape(2),
         "planes must be [3, n, n, rank]");
}

template <class T>
void check_table(const T& table, const std::vector<int>& nodes) {
  expect(table.ndim() == 3 && table.shape(0) == nodes.size(), "table must be [levels, slots, features]");
  const size_t slots = table.shape(1);
  expect(slots >= 1 && (slots & (slots - 1)) == 0 && slots < (size_t(1) << 31), "slots must be a power of two");
  expect(slots * table.shape(2) <= UINT32_MAX, "a level must have less than 2^32 numbers");
  for (int n : nodes) expect(n >= 2 && n <= 1 << 16, "levels must have 2 to 65536 nodes");
}

template <class A>
void check_sum(const A& values, const std::vector<int>& nodes) {
  int64_t size = 0;
  for (int n : nodes) {
    expect(n >= 2 && n <= 2048, "levels must have 2 to 2048 nodes");
    size += int64_t(n) * n * n;
  }
  expect(values.ndim() == 1 && int64_t(values.shape(0)) >= size, "values are fewer than the nodes");
}

template <class L, class T>
void check_local(const L& lines, const T& table, double half, int* sites) {
  expect(lines.ndim() == 4 && lines.shape(1) == 3 && lines.shape(2) >= 2, "lines must be [tensors, 3, n, rank]");
  expect(table.ndim() == 3 && table.shape(0) >= 1 && table.shape(1) >= 1 && table.shape(2) >= 1,
         "table must be [x, y, z]");
  expect(half > 0.5 && half <= 1.0, "half must be above 0.5 and at most 1");
  for (int i = 0; i < 3; ++i) sites[i] = int(table.shape(i));
}

}  // namespace recon::grid
