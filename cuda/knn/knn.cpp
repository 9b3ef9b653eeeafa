// Builds and searches the k-d tree on the CPU.
#include <algorithm>
#include <limits>
#include <numeric>

#include "core/pack.h"
#include "core/parallel.h"
#include "knn/knn_cpu.h"
#include "knn/tree.h"

namespace recon::knn {
namespace {

constexpr int kLeafPoints = 16;
constexpr int kTopLevels = 6;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

// The k smallest distances so far, ascending.
struct Best {
  float squared[kMaxNeighbours];
  int32_t index[kMaxNeighbours];
  int k;

  explicit Best(int count) : k(count) {
    std::fill_n(squared, k, kInfinity);
    std::fill_n(index, k, -1);
  }
  float worst() const { return squared[k - 1]; }
  void insert(float distance, int32_t id) {
    int i = k - 1;
    for (; i > 0 && squared[i - 1] > distance; --i) {
      squared[i] = squared[i - 1];
      index[i] = index[i - 1];
    }
    squared[i] = distance;
    index[i] = id;
  }
};

}  // namespace

Tree::Tree(const float* points, int64_t count) {
  while ((int64_t(kLeafPoints) << levels_) < count) ++levels_;
  nodes_.resize((size_t(2) << levels_) - 1);
  order_.resize(count);
  std::iota(order_.begin(), order_.end(), 0);
  nodes_[0].begin = 0;
  nodes_[0].end = int32_t(count);
  build(points);
}

void Tree::build(const float* points) {
  // The top of the tree level by level, then each subtree by one thread, whose points soon fit its cache.
  const int top = std::min(levels_, kTopLevels);
  for (int level = 0; level < top; ++level) {
    const int32_t first = (1 << level) - 1;
    parallel_for(1 << level, [&](int64_t i) { split(points, first + int32_t(i)); });
  }
  parallel_for(1 << top, [&](int64_t i) { split_below(points, (1 << top) - 1 + int32_t(i)); });
  const int64_t most = (int64_t(order_.size()) + leaf_count() - 1) / leaf_count();
  bucket_size_ = int((std::max<int64_t>(most, 1) + kLanes - 1) / kLanes * kLanes);
  ids_.assign(size_t(leaf_count()) * bucket_size_, -1);
  xyz_.assign(size_t(leaf_count()) * bucket_size_ * 3, kInfinity);
  parallel_ranges(leaf_count(), 64, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) fill_bucket(points, int32_t(i));
  });
  for (int32_t i = first_leaf() - 1; i >= 0; --i) {
    const Node &a = nodes_[2 * i + 1], &b = nodes_[2 * i + 2];
    nodes_[i].low = {min(a.low.x, b.low.x), min(a.low.y, b.low.y), min(a.low.z, b.low.z)};
    nodes_[i].high = {max(a.high.x, b.high.x), max(a.high.y, b.high.y), max(a.high.z, b.high.z)};
  }
}

// Halves a node's points by count along its longest side, so that duplicates and clusters cannot unbalance the tree.
void Tree::split(const float* points, int32_t node) {
  Node& n = nodes_[node];
  float low[3] = {kInfinity, kInfinity, kInfinity}, high[3] = {-kInfinity, -kInfinity, -kInfinity};
  for (int32_t i = n.begin; i < n.end; ++i)
    for (int a = 0; a < 3; ++a) {
      const float value = points[3 * int64_t(order_[i]) + a];
      low[a] = min(low[a], value);
      high[a] = max(high[a], value);
    }
  int axis = 0;
  for (int a = 1; a < 3; ++a)
    if (high[a] - low[a] > high[axis] - low[axis]) axis = a;
  const int32_t middle = n.begin + (n.end - n.begin) / 2;
  std::nth_element(order_.begin() + n.begin, order_.begin() + middle, order_.begin() + n.end,
                   [&](int32_t a, int32_t b) { return points[3 * int64_t(a) + axis] < points[3 * int64_t(b) + axis]; });
  nodes_[2 * node + 1].begin = n.begin;
  nodes_[2 * node + 1].end = nodes_[2 * node + 2].begin = middle;
  nodes_[2 * node + 2].end = n.end;
}

void Tree::split_below(const float* points, int32_t node) {
  if (node >= first_leaf()) return;
  split(points, node);
  split_below(points, 2 * node + 1);
  split_below(points, 2 * node + 2);
}

void Tree::fill_bucket(const float* points, int32_t leaf) {
  Node& n = nodes_[first_leaf() + leaf];
  n.low = {kInfinity, kInfinity, kInfinity};
  n.high = {-kInfinity, -kInfinity, -kInfinity};
  int32_t* ids = ids_.data() + size_t(leaf) * bucket_size_;
  float* x = xyz_.data() + size_t(leaf) * bucket_size_ * 3;
  float *y = x + bucket_size_, *z = y + bucket_size_;
  for (int32_t i = n.begin; i < n.end; ++i) {
    const int32_t id = order_[i], slot = i - n.begin;
    const float* p = points + 3 * int64_t(id);
    ids[slot] = id;
    x[slot] = p[0], y[slot] = p[1], z[slot] = p[2];
    n.low = {min(n.low.x, p[0]), min(n.low.y, p[1]), min(n.low.z, p[2])};
    n.high = {max(n.high.x, p[0]), max(n.high.y, p[1]), max(n.high.z, p[2])};
  }
}

void Tree::nearest(const Point<float>& q, int32_t self, int k, float* squared, int32_t* index) const {
  Best best(k);
  const Point<lanes> q_lanes{lanes(q.x), lanes(q.y), lanes(q.z)};
  struct Visit {
    int32_t node;
    float bound;
  } stack[64];
  int top = 0;
  stack[top++] = {0, 0.0f};
  while (top > 0) {
    const Visit visit = stack[--top];
    if (!(visit.bound < best.worst())) continue;
    if (visit.node < first_leaf()) {
      const int32_t a = 2 * visit.node + 1, b = a + 1;
      const float to_a = squared_distance_to_box(q, nodes_[a].low, nodes_[a].high);
      const float to_b = squared_distance_to_box(q, nodes_[b].low, nodes_[b].high);
      const bool a_first = to_a <= to_b;
      stack[top++] = a_first ? Visit{b, to_b} : Visit{a, to_a};
      stack[top++] = a_first ? Visit{a, to_a} : Visit{b, to_b};
      continue;
    }
    const size_t leaf = size_t(visit.node - first_leaf());
    const int32_t* ids = ids_.data() + leaf * bucket_size_;
    const float* x = xyz_.data() + leaf * bucket_size_ * 3;
    for (int s = 0; s < bucket_size_; s += kLanes) {
      const Point<lanes> p{load<lanes>(x + s), load<lanes>(x + bucket_size_ + s),
                           load<lanes>(x + 2 * bucket_size_ + s)};
      const lanes distance = squared_distance(q_lanes, p);
      uint32_t closer = to_bits(distance < lanes(best.worst()));
      if (!closer) continue;
      float distances[kLanes];
      store<lanes>(distances, distance);
      for (; closer; closer &= closer - 1) {
        const int lane = __builtin_ctz(closer);
        if (distances[lane] < best.worst() && ids[s + lane] != self) best.insert(distances[lane], ids[s + lane]);
      }
    }
  }
  std::copy_n(best.squared, k, squared);
  if (index) std::copy_n(best.index, k, index);
}

bool all_finite(const float* values, int64_t count) {
  int64_t bad = 0;
  for (int64_t i = 0; i < count; ++i) bad += !(recon::abs(values[i]) <= std::numeric_limits<float>::max());
  return bad == 0;
}

void nearest_others(const float* points, int64_t count, int k, float* squared) {
  const Tree tree(points, count);
  const std::vector<int32_t>& order = tree.order();  // leaf after leaf: neighbouring queries walk the same nodes
  parallel_ranges(count, 1024, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t id = order[i];
      const float* p = points + 3 * id;
      tree.nearest({p[0], p[1], p[2]}, int32_t(id), k, squared + id * k, nullptr);
    }
  });
}

void nearest(const float* queries, int64_t query_count, const float* points, int64_t count, int k, float* squared,
             int32_t* index) {
  const Tree tree(points, count);
  parallel_ranges(query_count, 256, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const float* q = queries + 3 * i;
      tree.nearest({q[0], q[1], q[2]}, -1, k, squared + i * k, index + i * k);
    }
  });
}

}  // namespace recon::knn
