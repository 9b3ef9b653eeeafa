// What the CUDA driver of the dual topology offers to bind.cu.
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
// Then the lists of DualTopology, cube and members [vertices], quads [quads][4], in the order of the CPU.
void write_topology(const float* values, const iso::Grid& grid, const iso::Tables* tables, const int16_t* kinds,
                    const uint32_t* vertex_end, const uint32_t* quad_end, int32_t* cube, uint16_t* members,
                    int32_t* quads, stream_t stream);

}  // namespace recon::gpu
