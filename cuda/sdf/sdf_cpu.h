// A tree of boxes over triangles, built and asked on the CPU.
#pragma once

#include <cstdint>
#include <vector>

#include "sdf/tree.h"

namespace recon::sdf {

class TriangleTree {
 public:
  // vertices [., 3] finite, faces [count, 3] of valid indices; count below 2^30.
  TriangleTree(const float* vertices, const int32_t* faces, int64_t count);

  // For points [count, 3]: the nearest point of the surface [count, 3] and the face it lies on [count] (-1 without
  // faces). On an edge it is the face whose plane is farther from the point: its side is the true one.
  void closest(const float* points, int64_t count, float* nearest, int32_t* face) const;

  // Winding numbers [count]: 1 inside a closed surface, 0 outside, between them near the holes of an open one.
  void winding(const float* points, int64_t count, float* number) const;

  int64_t size() const { return int64_t(triangles_.size()); }

  Tree view() const { return {nodes_.data(), triangles_.data(), faces_.data(), int64_t(nodes_.size())}; }

 private:
  void build(int32_t node, int32_t begin, int32_t end);

  std::vector<triangle<double>> triangles_;  // leaf after leaf
  std::vector<int32_t> faces_;               // the face of each
  std::vector<Node> nodes_;
};

}  // namespace recon::sdf
