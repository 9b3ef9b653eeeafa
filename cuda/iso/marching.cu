// CUDA driver of marching cubes: a thread per edge of the grid says whether it has a vertex, a thread per cube how many
// triangles it has; prefix sums say where each is written, in the order of the CPU. Between the two the host reads how
// many there are.
#include "core/device_sort.h"
#include "iso/cubes.cuh"
#include "iso/topology_cuda.h"

namespace recon::gpu {
namespace {

using iso::Case;
using iso::Tables;

constexpr int kThreads = 128;

// The pattern of a cube, 0 where it is left out because a corner is unknown.
__device__ inline int known_pattern(const scalar_grid& s, int64_t x, int64_t y, int64_t z) {
  if (s.known)
    for (int c = 0; c < 8; ++c)
      if (!s.known[((z + (c >> 2)) * s.grid.ny + y + (c >> 1 & 1)) * s.grid.nx + x + (c & 1)]) return 0;
  return pattern_of(s.values, s.grid, x, y, z);
}

// Whether edge 3 p + a of the grid is crossed, and belongs to a cube that is not left out.
__device__ inline bool has_vertex(const scalar_grid& s, int64_t edge) {
  const Grid& g = s.grid;
  const int64_t p = edge / 3, step[3] = {1, g.nx, g.nx * g.ny}, size[3] = {g.nx, g.ny, g.nz};
  const int64_t at[3] = {p % g.nx, p / g.nx % g.ny, p / (g.nx * g.ny)};
  const int a = int(edge % 3);
  if (at[a] + 1 >= size[a] || (s.values[p] < 0.0f) == (s.values[p + step[a]] < 0.0f)) return false;
  if (!s.known) return true;
  for (int k = 0; k < 4; ++k) {
    int64_t c[3] = {at[0], at[1], at[2]};
    c[(a + 1) % 3] -= k & 1;
    c[(a + 2) % 3] -= k >> 1;
    if (c[0] < 0 || c[1] < 0 || c[2] < 0 || c[0] >= g.nx - 1 || c[1] >= g.ny - 1 || c[2] >= g.nz - 1) continue;
    const int pattern = known_pattern(s, c[0], c[1], c[2]);
    if (pattern != 0 && pattern != 255) return true;
  }
  return false;
}

__global__ void __launch_bounds__(kThreads) count_crossings_kernel(scalar_grid s, uint32_t* count) {
  const int64_t edge = global_thread();
  if (edge < 3 * s.grid.points()) count[edge] = has_vertex(s, edge);
}

__global__ void __launch_bounds__(kThreads)
    count_triangles_kernel(scalar_grid s, const Tables* tables, uint32_t* count) {
  const int64_t i = global_thread();
  if (i >= s.grid.cubes()) return;
  int64_t at[3];
  cube_at(s.grid, i, at);
  const Case& c = tables->plain[known_pattern(s, at[0], at[1], at[2])];
  uint32_t triangles = 0;
  for (int l = 0; l < c.loops; ++l) triangles += c.loop[l].length - 2;
  count[i] = triangles;
}

__global__ void marching_totals_kernel(const uint32_t* edge_end, int64_t edges, const uint32_t* triangle_end,
                                       int64_t cubes, int32_t* totals) {
  if (global_thread() != 0) return;
  totals[0] = int32_t(edge_end[edges - 1]);
  totals[1] = int32_t(triangle_end[cubes - 1]);
}

__global__ void __launch_bounds__(kThreads)
    write_crossings_kernel(int64_t edges, const uint32_t* edge_end, int64_t* crossed) {
  const int64_t edge = global_thread();
  if (edge >= edges) return;
  const uint32_t begin = edge ? edge_end[edge - 1] : 0;
  if (edge_end[edge] != begin) crossed[begin] = edge;
}

__global__ void __launch_bounds__(kThreads)
    write_triangles_kernel(scalar_grid s, const Tables* tables, const uint32_t* edge_end, const uint32_t* triangle_end,
                           int32_t* faces) {
  const int64_t i = global_thread();
  const Grid& g = s.grid;
  if (i >= g.cubes()) return;
  const uint32_t begin = i ? triangle_end[i - 1] : 0;
  if (triangle_end[i] == begin) return;
  int64_t at[3];
  cube_at(g, i, at);
  const Case& c = tables->plain[known_pattern(s, at[0], at[1], at[2])];
  const auto vertex_of = [&](int e) {
    const int a = e >> 2, from = (e & 1) << (a + 1) % 3 | (e >> 1 & 1) << (a + 2) % 3;
    const int64_t p = ((at[2] + (from >> 2)) * g.ny + at[1] + (from >> 1 & 1)) * g.nx + at[0] + (from & 1);
    return int32_t(edge_end[3 * p + a] - 1);
  };
  int32_t* face = faces + 3 * int64_t(begin);
  for (int l = 0; l < c.loops; ++l)
    for (int k = 1; k + 1 < c.loop[l].length; ++k) {
      *face++ = vertex_of(c.loop[l].edges[0]);
      *face++ = vertex_of(c.loop[l].edges[k]);
      *face++ = vertex_of(c.loop[l].edges[k + 1]);
    }
}

}  // namespace

void count_marching(const scalar_grid& s, const Tables* tables, uint32_t* edge_end, uint32_t* triangle_end,
                    int32_t* totals, void* scratch, stream_t stream) {
  const int64_t cubes = s.grid.cubes(), edges = 3 * s.grid.points();
  pieces memory(scratch);
  uint32_t* count = memory.take(edges);
  const size_t bytes = sum_scratch_bytes(edges);
  launch(count_crossings_kernel, blocks_for(edges, kThreads), kThreads, stream, s, count);
  inclusive_sum(count, edge_end, edges, memory.rest(), bytes, stream);
  launch(count_triangles_kernel, blocks_for(cubes, kThreads), kThreads, stream, s, tables, count);
  inclusive_sum(count, triangle_end, cubes, memory.rest(), bytes, stream);
  launch(marching_totals_kernel, 1, 1, stream, edge_end, edges, triangle_end, cubes, totals);
}

void write_marching(const scalar_grid& s, const Tables* tables, const uint32_t* edge_end, const uint32_t* triangle_end,
                    int64_t* crossed, int32_t* faces, stream_t stream) {
  const int64_t cubes = s.grid.cubes(), edges = 3 * s.grid.points();
  launch(write_crossings_kernel, blocks_for(edges, kThreads), kThreads, stream, edges, edge_end, crossed);
  launch(write_triangles_kernel, blocks_for(cubes, kThreads), kThreads, stream, s, tables, edge_end, triangle_end,
         faces);
}

}  // namespace recon::gpu
