// A tree of boxes over triangles, and how a point walks it to the nearest point of the surface and its winding number.
#pragma once

#include <cmath>
#include <cstdint>

#include "sdf/sdf.h"

namespace recon::sdf {

inline constexpr double kFar = 2.5;  // radii from which a node is one dipole: winding numbers to about 1e-2
inline constexpr double kTie = 1e-9;  // relative; squared distances closer than this are to a shared edge or vertex
inline constexpr double kPi = 3.14159265358979323846;
inline constexpr int kDeepest = 96;  // entries of the stack of a walk

struct Node {
  point<double> low, high;       // box
  point<double> dipole, centre;  // sum of area times normal; centre weighted by area
  double radius;                 // of the triangles around that centre
  int32_t begin, count;          // of a leaf's triangles; count 0: children are `begin` and `begin` + 1
};

struct Tree {
  const Node* nodes;
  const triangle<double>* triangles;  // leaf after leaf
  const int32_t* faces;               // the face of each
  int64_t num_nodes;
};

RECON_HD point<double> load_point(const float* p) { return {p[0], p[1], p[2]}; }

RECON_HD double squared_to_box(const point<double>& p, const point<double>& low, const point<double>& high) {
  const double x = max(max(low.x - p.x, 0.0), p.x - high.x), y = max(max(low.y - p.y, 0.0), p.y - high.y);
  const double z = max(max(low.z - p.z, 0.0), p.z - high.z);
  return x * x + y * y + z * z;
}

// The nearest point of the surface and its face (-1 without faces). On an edge it is the face whose plane is farther from
// the point, of such the lowest index.
RECON_HD void closest_on_tree(const Tree& tree, const float* from, float* nearest, int32_t& face) {
  double least = HUGE_VAL, plane = -1;
  const point<double> p = load_point(from);
  point<double> found{0, 0, 0};
  face = -1;
  struct Visit {
    int32_t node;
    double bound;
  } stack[kDeepest];
  int top = 0;
  if (tree.num_nodes) stack[top++] = {0, 0.0};
  while (top > 0) {
    const Visit visit = stack[--top];
    if (visit.bound > least * (1 + kTie)) continue;
    const Node& n = tree.nodes[visit.node];
    if (n.count) {
      for (int32_t i = n.begin; i < n.begin + n.count; ++i) {
        const triangle<double>& t = tree.triangles[i];
        const point<double> q = closest_on_triangle(p, t), away = p - q;
        const double d = dot(away, away);
        if (d > least * (1 + kTie)) continue;
        const point<double> normal = cross(t.b - t.a, t.c - t.a);
        const double length = dot(normal, normal), side = dot(away, normal);
        const double height = length > 0 ? side * side / length : 0;
        if (d < least * (1 - kTie) || height > plane || (height == plane && tree.faces[i] < face))
          found = q, face = tree.faces[i], plane = height;
        least = d < least ? d : least;
      }
      continue;
    }
    const double a = squared_to_box(p, tree.nodes[n.begin].low, tree.nodes[n.begin].high);
    const double b = squared_to_box(p, tree.nodes[n.begin + 1].low, tree.nodes[n.begin + 1].high);
    const Visit first{n.begin, a}, second{n.begin + 1, b};
    stack[top++] = a <= b ? second : first;
    stack[top++] = a <= b ? first : second;
  }
  nearest[0] = float(found.x), nearest[1] = float(found.y), nearest[2] = float(found.z);
}

RECON_HD float winding_of_tree(const Tree& tree, const float* from) {
  const point<double> p = load_point(from);
  double total = 0;
  int32_t stack[kDeepest];
  int top = 0;
  if (tree.num_nodes) stack[top++] = 0;
  while (top > 0) {
    const Node& n = tree.nodes[stack[--top]];
    const point<double> away = n.centre - p;
    const double squared = dot(away, away);
    if (squared > kFar * kFar * n.radius * n.radius) {
      total += dot(n.dipole, away) / (4 * kPi * squared * recon::sqrt(squared));
    } else if (n.count) {
      for (int32_t i = n.begin; i < n.begin + n.count; ++i) {
        double sine, cosine;
        half_solid_angle(p, tree.triangles[i], sine, cosine);
        if (sine != 0) total += ::atan2(sine, cosine) / (2 * kPi);  // 0 in the triangle's own plane
      }
    } else {
      stack[top++] = n.begin;
      stack[top++] = n.begin + 1;
    }
  }
  return float(total);
}

}  // namespace recon::sdf
