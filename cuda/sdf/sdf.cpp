// CPU driver: builds the tree by halving triangles along the longest side of their box, and walks it per point.
#include "sdf/sdf.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "core/parallel.h"
#include "sdf/sdf_cpu.h"

namespace recon::sdf {

namespace {

constexpr int kLeaf = 4;           // triangles
constexpr double kFar = 2.5;       // radii from which a node is one dipole: winding numbers to about 1e-2
constexpr double kTie = 1e-9;      // relative; squared distances closer than this are to a shared edge or vertex
constexpr int kGrain = 512;        // points
constexpr double kPi = 3.14159265358979323846;

double squared_to_box(const point<double>& p, const point<double>& low, const point<double>& high) {
  const double x = std::max({low.x - p.x, 0.0, p.x - high.x}), y = std::max({low.y - p.y, 0.0, p.y - high.y});
  const double z = std::max({low.z - p.z, 0.0, p.z - high.z});
  return x * x + y * y + z * z;
}
point<double> lower(const point<double>& a, const point<double>& b) {
  return {std::min(a.x, b.x), std::min(a.y, b.y), std::min(a.z, b.z)};
}
point<double> upper(const point<double>& a, const point<double>& b) {
  return {std::max(a.x, b.x), std::max(a.y, b.y), std::max(a.z, b.z)};
}
point<double> load_point(const float* p) { return {p[0], p[1], p[2]}; }
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

void TriangleTree::find(const point<double>& p, point<double>& nearest, int32_t& face) const {
  double least = std::numeric_limits<double>::infinity(), plane = -1;
  face = -1;
  struct Visit {
    int32_t node;
    double bound;
  } stack[96];
  int top = 0;
  stack[top++] = {0, 0.0};
  while (top > 0) {
    const Visit visit = stack[--top];
    if (visit.bound > least * (1 + kTie)) continue;
    const Node& n = nodes_[visit.node];
    if (n.count) {
      for (int32_t i = n.begin; i < n.begin + n.count; ++i) {
        const triangle<double>& t = triangles_[i];
        const point<double> q = closest_on_triangle(p, t), away = p - q;
        const double d = dot(away, away);
        if (d > least * (1 + kTie)) continue;
        const point<double> normal = cross(t.b - t.a, t.c - t.a);
        const double length = dot(normal, normal), side = dot(away, normal);
        const double height = length > 0 ? side * side / length : 0;
        if (d < least * (1 - kTie) || height > plane || (height == plane && faces_[i] < face))
          nearest = q, face = faces_[i], plane = height;
        least = std::min(least, d);
      }
      continue;
    }
    const double a = squared_to_box(p, nodes_[n.begin].low, nodes_[n.begin].high);
    const double b = squared_to_box(p, nodes_[n.begin + 1].low, nodes_[n.begin + 1].high);
    const Visit first{n.begin, a}, second{n.begin + 1, b};
    stack[top++] = a <= b ? second : first;
    stack[top++] = a <= b ? first : second;
  }
}

double TriangleTree::wind(const point<double>& p) const {
  double total = 0;
  int32_t stack[96];
  int top = 0;
  stack[top++] = 0;
  while (top > 0) {
    const Node& n = nodes_[stack[--top]];
    const point<double> away = n.centre - p;
    const double squared = dot(away, away);
    if (squared > kFar * kFar * n.radius * n.radius) {
      total += dot(n.dipole, away) / (4 * kPi * squared * std::sqrt(squared));
    } else if (n.count) {
      for (int32_t i = n.begin; i < n.begin + n.count; ++i) {
        double sine, cosine;
        half_solid_angle(p, triangles_[i], sine, cosine);
        if (sine != 0) total += std::atan2(sine, cosine) / (2 * kPi);  // 0 in the triangle's own plane
      }
    } else {
      stack[top++] = n.begin;
      stack[top++] = n.begin + 1;
    }
  }
  return total;
}

void TriangleTree::closest(const float* points, int64_t count, float* nearest, int32_t* face) const {
  parallel_ranges(count, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      point<double> q{0, 0, 0};
      if (nodes_.empty())
        face[i] = -1;
      else
        find(load_point(points + 3 * i), q, face[i]);
      nearest[3 * i] = float(q.x), nearest[3 * i + 1] = float(q.y), nearest[3 * i + 2] = float(q.z);
    }
  });
}

void TriangleTree::winding(const float* points, int64_t count, float* number) const {
  parallel_ranges(count, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) number[i] = nodes_.empty() ? 0.0f : float(wind(load_point(points + 3 * i)));
  });
}

}  // namespace recon::sdf
