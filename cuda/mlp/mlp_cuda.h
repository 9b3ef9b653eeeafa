// What the CUDA drivers of small networks offer to bind.cu; meanings as in mlp_cpu.h. All pointers but `sizes` are to
// device memory.
#pragma once

#include "core/device.h"

namespace recon::gpu {

struct network {
  const int* sizes;  // [layers + 1]
  int layers;
  const float* parameters;
  int own;
  bool squash;
};

// Floats of scratch memory: the forward pass keeps two layers of all rows; the backward pass keeps all layers (found
// again), two layers of gradients, and the parts of the weight gradient.
int64_t mlp_forward_scratch(const int* sizes, int layers, int64_t count);
int64_t mlp_backward_scratch(const int* sizes, int layers, int64_t count);

void mlp_forward(const network& net, const float* x, const float* shared, const int32_t* row, int64_t count, float* y,
                 float* scratch, stream_t stream);
// g_parameters is added to, g_x [count, own] is set. The order of every sum is fixed.
void mlp_backward(const network& net, const float* x, const float* shared, const int32_t* row, int64_t count,
                  const float* g_y, float* g_x, float* g_parameters, float* scratch, stream_t stream);

}  // namespace recon::gpu
