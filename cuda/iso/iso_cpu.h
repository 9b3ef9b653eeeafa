// Isosurfaces of a grid of values on the CPU. Grids are [nz, ny, nx] with x fastest; negative values are inside.
#pragma once

#include <cstdint>
#include <vector>

#include "iso/flexible.h"

namespace recon::iso {

// Which dual vertices and quads there are: depends on the signs alone.
struct DualTopology {
  std::vector<int32_t> cube;      // per vertex: its cube, x fastest; ascending
  std::vector<uint16_t> members;  // per vertex: the crossed edges it lies between
  std::vector<int32_t> quads;     // 4 vertices each, counter-clockwise as seen from outside
};
template <class S>
DualTopology dual_topology(const S* values, const Grid& grid);

// x = origin + spacing (i + 0.4999 tanh(raw)).
template <class S>
void deform(const Grid& grid, const S* raw, S* deformed);
template <class S>
void deform_backward(const Grid& grid, const S* deformed, S* gradient);  // in place: dL/dx becomes dL/draw

// vertices [vertices, 3], deviation [vertices]; centres [num_quads, 3] or null.
template <class S>
void flexible_vertices(const Flexible<S>& mesh, S* vertices, S* deviation, S* centres);

// Adds to g_values, g_deformed and g_weights (the last two may be null). g_vertices is used as scratch when there are
// centres. The order of every sum is fixed.
template <class S>
void flexible_vertices_backward(const Flexible<S>& mesh, const S* vertices, S* g_vertices, const S* g_deviation,
                                const S* g_centres, S* g_values, S* g_deformed, S* g_weights);

// Mean over grid edges with a sign change of BCE(sigmoid(s_a), [s_b > 0]) + BCE(sigmoid(s_b), [s_a > 0]), and its
// gradient; 0 where no sign changes.
template <class S>
double sign_change(const S* values, const Grid& grid, S* gradient);

// Marching cubes: per vertex the grid edge it lies on (3 * point + axis), ascending, and triangles, counter-clockwise
// as seen from outside. Cubes with a corner where known == 0 are left out; `known` may be null.
struct Triangles {
  std::vector<int64_t> edge;
  std::vector<int32_t> faces;
};
template <class S>
Triangles marching_cubes(const S* values, const uint8_t* known, const Grid& grid);

}  // namespace recon::iso
