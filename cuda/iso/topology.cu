// CUDA driver of the dual topology: a thread per cube counts its vertices, a thread per edge of the grid its quad; prefix
// sums say where each is written, in the order of the CPU. Lists may have more room than that, or less.
#include "core/device_sort.h"
#include "iso/cubes.cuh"
#include "iso/topology_cuda.h"

namespace recon::gpu {
namespace {

using iso::Fans;
using iso::Grid;
using iso::Tables;

constexpr int kThreads = 128;

__global__ void __launch_bounds__(kThreads)
    count_vertices_kernel(const float* values, Grid g, const Tables* tables, int16_t* kinds, uint32_t* count) {
  const int64_t i = global_thread();
  if (i >= g.cubes()) return;
  const int64_t size[3] = {g.nx - 1, g.ny - 1, g.nz - 1};
  int64_t at[3];
  cube_at(g, i, at);
  int kind = pattern_of(values, g, at[0], at[1], at[2]);
  const int face = tables->plain[kind].pinched;
  if (face != iso::kNoFace) {
    int64_t other[3] = {at[0], at[1], at[2]};
    other[face >> 1] += face & 1 ? 1 : -1;
    const int axis = face >> 1;
    if (other[axis] >= 0 && other[axis] < size[axis] &&
        tables->plain[pattern_of(values, g, other[0], other[1], other[2])].pinched != iso::kNoFace)
      kind |= iso::kFlippedBit;
  }
  kinds[i] = int16_t(kind);
  Fans room;
  const int plain = kind & 255;
  count[i] = plain == 0 || plain == 255 ? 0 : iso::fans_of(*tables, g, kind, at[0], at[1], at[2], room).count;
}

// Whether edge 3 p + a of the grid has a quad; then also where it starts and whether outside lies along the axis.
__device__ inline bool has_quad(const float* values, const Grid& g, int64_t edge, int64_t* at, bool& rising) {
  const int64_t p = edge / 3, step[3] = {1, g.nx, g.nx * g.ny};
  const int a = int(edge % 3);
  at[0] = p % g.nx, at[1] = p / g.nx % g.ny, at[2] = p / (g.nx * g.ny);
  if (!iso::shared_by_four(g, at, a)) return false;
  rising = values[p] < 0.0f;
  return rising != (values[p + step[a]] < 0.0f);
}

__global__ void __launch_bounds__(kThreads) count_quads_kernel(const float* values, Grid g, uint32_t* count) {
  const int64_t edge = global_thread();
  if (edge >= 3 * g.points()) return;
  int64_t at[3];
  bool rising;
  count[edge] = has_quad(values, g, edge, at, rising);
}

__global__ void totals_kernel(const uint32_t* vertex_end, int64_t cubes, const uint32_t* quad_end, int64_t edges,
                              int32_t* totals) {
  if (global_thread() != 0) return;
  totals[0] = int32_t(vertex_end[cubes - 1]);
  totals[1] = int32_t(quad_end[edges - 1]);
}

__global__ void __launch_bounds__(kThreads)
    write_vertices_kernel(Grid g, const Tables* tables, const int16_t* kinds, const uint32_t* vertex_end, int32_t* cube,
                          uint16_t* members, int64_t vertices) {
  const int64_t i = global_thread();
  if (i >= g.cubes()) return;
  const uint32_t begin = i ? vertex_end[i - 1] : 0, count = vertex_end[i] - begin;
  if (!count) return;
  int64_t at[3];
  cube_at(g, i, at);
  Fans room;
  const Fans& fans = iso::fans_of(*tables, g, kinds[i], at[0], at[1], at[2], room);
  for (uint32_t f = 0; f < count && begin + f < vertices; ++f) {
    cube[begin + f] = int32_t(i);
    members[begin + f] = fans.members[f];
  }
}

__global__ void __launch_bounds__(kThreads)
    write_quads_kernel(const float* values, Grid g, const Tables* tables, const int16_t* kinds,
                       const uint32_t* vertex_end, const uint32_t* quad_end, int64_t vertices, int32_t* quads,
                       int64_t num_quads) {
  const int64_t edge = global_thread();
  if (edge >= 3 * g.points()) return;
  int64_t at[3];
  bool rising;
  if (!has_quad(values, g, edge, at, rising)) return;
  const int64_t q = int64_t(quad_end[edge]) - 1;
  if (q >= num_quads) return;
  int32_t quad[4];
  bool whole = true;
  for (int k = 0; k < 4; ++k) {
    int64_t c[3];
    const int e = iso::cube_around(at, int(edge % 3), k, c);
    const int64_t i = (c[2] * (g.ny - 1) + c[1]) * (g.nx - 1) + c[0];
    Fans room;
    const Fans& fans = iso::fans_of(*tables, g, kinds[i], c[0], c[1], c[2], room);
    const int32_t vertex = int32_t(i ? vertex_end[i - 1] : 0) + fans.fan_of_edge[e];
    quad[rising ? k : 3 - k] = vertex;
    whole = whole && vertex < vertices;
  }
  for (int k = 0; k < 4; ++k) quads[4 * q + k] = whole ? quad[k] : -1;
}

int64_t longest(const Grid& g) { return 3 * g.points(); }

}  // namespace

size_t topology_scratch_bytes(const Grid& g) { return pieces::bytes(longest(g)) + sum_scratch_bytes(longest(g)); }

void count_topology(const float* values, const Grid& g, const Tables* tables, int16_t* kinds, uint32_t* vertex_end,
                    uint32_t* quad_end, int32_t* totals, void* scratch, stream_t stream) {
  pieces memory(scratch);
  uint32_t* count = memory.take(longest(g));
  const size_t bytes = sum_scratch_bytes(longest(g));
  const int64_t cubes = g.cubes(), edges = 3 * g.points();
  launch(count_vertices_kernel, blocks_for(cubes, kThreads), kThreads, stream, values, g, tables, kinds, count);
  inclusive_sum(count, vertex_end, cubes, memory.rest(), bytes, stream);
  launch(count_quads_kernel, blocks_for(edges, kThreads), kThreads, stream, values, g, count);
  inclusive_sum(count, quad_end, edges, memory.rest(), bytes, stream);
  launch(totals_kernel, 1, 1, stream, vertex_end, cubes, quad_end, edges, totals);
}

void write_topology(const float* values, const Grid& g, const Tables* tables, const int16_t* kinds,
                    const uint32_t* vertex_end, const uint32_t* quad_end, int32_t* cube, uint16_t* members,
                    int64_t vertices, int32_t* quads, int64_t num_quads, stream_t stream) {
  set_bytes(cube, 0xff, size_t(vertices) * sizeof(int32_t), stream);  // -1
  set_bytes(members, 0, size_t(vertices) * sizeof(uint16_t), stream);
  set_bytes(quads, 0xff, size_t(4 * num_quads) * sizeof(int32_t), stream);
  launch(write_vertices_kernel, blocks_for(g.cubes(), kThreads), kThreads, stream, g, tables, kinds, vertex_end, cube,
         members, vertices);
  launch(write_quads_kernel, blocks_for(3 * g.points(), kThreads), kThreads, stream, values, g, tables, kinds,
         vertex_end, quad_end, vertices, quads, num_quads);
}

}  // namespace recon::gpu
