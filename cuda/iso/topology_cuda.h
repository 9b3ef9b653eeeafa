// What the CUDA drivers of the dual topology and of marching cubes offer to bind.cu.
#pragma once

#include "core/device.h"
#include "iso/topology.h"

namespace recon::gpu {

// First what there is: kinds [cubes]; vertex_end [cubes] and quad_end [3 points], prefix sums of how many
// vertices a cube and quads an edge has; totals [2], the numbers of vertices and quads. `tables` is iso::tables() on the
// device. Scratch: topology_scratch_bytes(grid).
size_t topology_scratch_bytes(const iso::Grid& grid);
void count_topology(const float* values, const iso::Grid& grid, const iso::Tables* tables, int16_t* kinds,
                    uint32_t* vertex_end, uint32_t* quad_end, int32_t* totals, void* scratch, stream_t stream);
// Then the lists of DualTopology, cube and members [vertices], quads [num_quads][4], in the order of the CPU. Where they
// have more room than there is to write, cubes and quads are -1; where they have less, the last are left out, and quads
// whose vertices were are -1.
void write_topology(const float* values, const iso::Grid& grid, const iso::Tables* tables, const int16_t* kinds,
                    const uint32_t* vertex_end, const uint32_t* quad_end, int32_t* cube, uint16_t* members,
                    int64_t vertices, int32_t* quads, int64_t num_quads, stream_t stream);

// marching.cu: the same for marching cubes. edge_end [3 points], triangle_end [cubes]; totals [2], vertices and
// triangles. Scratch: topology_scratch_bytes(grid).
struct scalar_grid {
  iso::Grid grid;
  const float* values;
  const uint8_t* known;  // null: all points are
};
void count_marching(const scalar_grid& grid, const iso::Tables* tables, uint32_t* edge_end, uint32_t* triangle_end,
                    int32_t* totals, void* scratch, stream_t stream);
// Edges that have a vertex, 3 point + axis, [vertices]; faces [triangles][3].
void write_marching(const scalar_grid& grid, const iso::Tables* tables, const uint32_t* edge_end,
                    const uint32_t* triangle_end, int64_t* crossed, int32_t* faces, stream_t stream);

}  // namespace recon::gpu
