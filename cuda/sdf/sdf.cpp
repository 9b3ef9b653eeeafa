// CPU driver: builds the tree by halving triangles along the longest side of their box.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "core/parallel.h"
#include "sdf/sdf_cpu.h"

namespace recon::sdf {

namespace {

constexpr int kLeaf = 4;           // triangles
constexpr int kGrain = 512;        // points

point<double> lower(const point<double>& a, const point<double>& b) {
  return {std::min(a.x, b.x), std::min(a.y, b.y), std::min(a.z, b.z)};
}
point<double> upper(const point<double>& a, const point<double>& b) {
  return {std::max(a.x, b.x), std::max(a.y, b.y), std::max(a.z, b.z)};
}
point<double> middle(const triangle<double>& t) { return (1.0 / 3.0) * (t.a + t.b + t.c); }

}  // namespace

TriangleTree::TriangleTree(const float* vertices, const int32_t* faces, int64_t count) {
  std::vector<triangle<double>> all(count);
  for (int64_t i = 0; i < count; ++i) {
    const int32_t* f = faces + 3 * i;
    all[i] = {load_point(vertices + 3 * int64_t(f[0])), load_point(vertices + 3 * int64_t(f[1])),
              load_point(vertices + 3 * int64_t(f[2]))};
  }
  triangles_ = all;
  faces_.resize(count);
  std::iota(faces_.begin(), faces_.end(), 0);
  nodes_.reserve(count + 2);
  if (!count) return;
  nodes_.emplace_back();
  build(0, 0, int32_t(count));
}

void TriangleTree::build(int32_t node, int32_t begin, int32_t end) {
  constexpr double inf = std::numeric_limits<double>::infinity();
  Node n{{inf, inf, inf}, {-inf, -inf, -inf}, {0, 0, 0}, {0, 0, 0}, 0, begin, end - begin};
  double area = 0;
  point<double> low = n.low, high = n.high;  // of the middles
  for (int32_t i = begin; i < end; ++i) {
    const triangle<double>& t = triangles_[i];
    n.low = lower(n.low, lower(t.a, lower(t.b, t.c)));
    n.high = upper(n.high, upper(t.a, upper(t.b, t.c)));
    const point<double> m = middle(t), normal = 0.5 * cross(t.b - t.a, t.c - t.a);
    low = lower(low, m), high = upper(high, m);
    const double a = std::sqrt(dot(normal, normal));
    n.dipole = n.dipole + normal;
    n.centre = n.centre + a * m;
    area += a;
  }
  n.centre = area > 0 ? (1 / area) * n.centre : 0.5 * (n.low + n.high);
  for (int32_t i = begin; i < end; ++i)
    for (const point<double>& v : {triangles_[i].a, triangles_[i].b, triangles_[i].c})
      n.radius = std::max(n.radius, dot(v - n.centre, v - n.centre));
  n.radius = std::sqrt(n.radius);
  if (n.count <= kLeaf) {
    nodes_[node] = n;
    return;
  }
  const point<double> size = high - low;
  const int axis = size.x >= size.y && size.x >= size.z ? 0 : size.y >= size.z ? 1 : 2;
  const auto key = [axis](const triangle<double>& t) {
    const point<double> m = middle(t);
    return axis == 0 ? m.x : axis == 1 ? m.y : m.z;
  };
  std::vector<int32_t> order(n.count);
  std::iota(order.begin(), order.end(), begin);
  const int32_t half = n.count / 2;
  std::nth_element(order.begin(), order.begin() + half, order.end(), [&](int32_t a, int32_t b) {
    const double x = key(triangles_[a]), y = key(triangles_[b]);
    return x < y || (x == y && faces_[a] < faces_[b]);
  });
  std::vector<triangle<double>> moved(n.count);
  std::vector<int32_t> ids(n.count);
  for (int32_t i = 0; i < n.count; ++i) moved[i] = triangles_[order[i]], ids[i] = faces_[order[i]];
  std::copy(moved.begin(), moved.end(), triangles_.begin() + begin);
  std::copy(ids.begin(), ids.end(), faces_.begin() + begin);
  const int32_t children = int32_t(nodes_.size());
  nodes_.emplace_back();
  nodes_.emplace_back();
  n.begin = children, n.count = 0;
  nodes_[node] = n;
  build(children, begin, begin + half);
  build(children + 1, begin + half, end);
}

void TriangleTree::closest(const float* points, int64_t count, float* nearest, int32_t* face) const {
  const Tree tree = view();
  parallel_ranges(count, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) closest_on_tree(tree, points + 3 * i, nearest + 3 * i, face[i]);
  });
}

void TriangleTree::winding(const float* points, int64_t count, float* number) const {
  const Tree tree = view();
  parallel_ranges(count, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) number[i] = winding_of_tree(tree, points + 3 * i);
  });
}

}  // namespace recon::sdf
