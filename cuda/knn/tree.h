// A balanced k-d tree over points, for exact nearest neighbours whatever their arrangement (clusters, duplicates,
// outliers). Friedman, Bentley, Finkel, "An algorithm for finding best matches in logarithmic expected time",
// ACM TOMS 1977; here with tight boxes per node and buckets that fill whole packs of lanes.
#pragma once

#include <cstdint>
#include <vector>

#include "knn/knn.h"

namespace recon::knn {

inline constexpr int kMaxNeighbours = 64;

class Tree {
 public:
  // `points` [count, 3], finite, count below 2^31.
  Tree(const float* points, int64_t count);

  // The k nearest points of q, nearest first, without point `self` (-1: none). Missing ones are (infinity, -1).
  // Writes k squared distances and, where `index` is not null, k indices.
  void nearest(const Point<float>& q, int32_t self, int k, float* squared, int32_t* index) const;

  // The points' indices, leaf after leaf: neighbours in this order are neighbours in space.
  const std::vector<int32_t>& order() const { return order_; }

 private:
  struct Node {
    Point<float> low, high;
    int32_t begin, end;  // its points are order_[begin, end)
  };
  void build(const float* points);
  void split(const float* points, int32_t node);
  void split_below(const float* points, int32_t node);
  void fill_bucket(const float* points, int32_t leaf);
  int32_t first_leaf() const { return (1 << levels_) - 1; }
  int32_t leaf_count() const { return 1 << levels_; }

  int levels_ = 0;       // node i has children 2 i + 1 and 2 i + 2; leaves are the last 2^levels_ nodes
  int bucket_size_ = 0;  // points per leaf, rounded up to whole packs
  std::vector<Node> nodes_;
  std::vector<int32_t> order_;
  std::vector<int32_t> ids_;  // [leaves, bucket_size_], -1 where padded
  std::vector<float> xyz_;    // [leaves, 3, bucket_size_], infinity where padded
};

}  // namespace recon::knn
