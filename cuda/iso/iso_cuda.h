// What the CUDA drivers of FlexiCubes offer to bind.cu; meanings as in iso_cpu.h. All pointers are to device memory. The
// order of every sum is fixed.
#pragma once

#include "core/device.h"
#include "iso/flexible.h"

namespace recon::gpu {

void deform(const iso::Grid& grid, const float* raw, float* deformed, stream_t stream);
void deform_backward(const iso::Grid& grid, const float* deformed, float* gradient, stream_t stream);

void flexible_vertices(const iso::Flexible<float>& mesh, float* vertices, float* deviation, float* centres,
                       stream_t stream);

// Scratch: flexible_scratch_bytes(mesh.vertices, mesh.num_quads, grid.cubes()).
size_t flexible_scratch_bytes(int64_t vertices, int64_t quads, int64_t cubes);
struct flexible_gradients {
  float* vertices;  // what comes in; used as scratch when there are centres
  const float *deviation, *centres;  // may be null
  float *values, *deformed, *weights;  // added to; the last two may be null
};
void flexible_vertices_backward(const iso::Flexible<float>& mesh, const float* vertices, const flexible_gradients& g,
                                void* scratch, stream_t stream);

// loss [1]; partial: sums of sign_change_blocks(points) blocks, two numbers each.
int64_t sign_change_blocks(int64_t points);
void sign_change(const float* values, const iso::Grid& grid, float* gradient, double* partial, double* loss,
                 stream_t stream);

}  // namespace recon::gpu
