// What the CUDA drivers of grids and factors offer to bind.cu; meanings as in grid_cpu.h. All pointers but `nodes` and
// `size` are to device memory; gradients are added to. `scratch`: grid_scratch_bytes(entries) for sums in fixed order, null
// for atomics; entries a point of each op below.
#pragma once

#include "core/device.h"
#include "grid/local.h"

namespace recon::gpu {

inline constexpr int kCornerEntries = 8;  // trilinear, hash, sum
inline constexpr int kModeEntries = 12;  // vector_matrix: 3 modes of 4 nodes
inline constexpr int kLineEntries = 6;  // tri_vector: 3 axes of 2 nodes
inline constexpr int kLocalEntries = 48;  // local: 8 tensors of 6
inline constexpr int kMaxLevels = 32;

size_t grid_scratch_bytes(int64_t entries);

// grid.cu
void trilinear(const float* values, const int* size, int channels, const float* u, int64_t count, float* out,
               stream_t stream);
void trilinear_backward(const int* size, int channels, const float* u, int64_t count, const float* g_out,
                        float* g_values, void* scratch, stream_t stream);
void hash(const float* table, const int* nodes, int levels, int64_t slots, int features, const float* u, int64_t count,
          float* out, stream_t stream);
void hash_backward(const int* nodes, int levels, int64_t slots, int features, const float* u, int64_t count,
                   const float* g_out, float* g_table, void* scratch, stream_t stream);
void sum(const float* values, const int* nodes, int levels, const float* u, int64_t count, float* out, float* gradient,
         stream_t stream);
void sum_backward(const int* nodes, int levels, const float* u, int64_t count, const float* g_out,
                  const float* g_gradient, float* g_values, void* scratch, stream_t stream);

// factors.cu
void vector_matrix(const float* planes, const float* lines, int n, int rank, const float* u, int64_t count, float* out,
                   stream_t stream);
void vector_matrix_backward(const float* planes, const float* lines, int n, int rank, const float* u, int64_t count,
                            const float* g_out, float* g_planes, float* g_lines, void* scratch, stream_t stream);
void tri_vector(const float* lines, int n, int rank, const float* u, int64_t count, float* out, stream_t stream);
void tri_vector_backward(const float* lines, int n, int rank, const float* u, int64_t count, const float* g_out,
                         float* g_lines, void* scratch, stream_t stream);
struct lattice {
  const int32_t* table;
  int sites[3];
  float half;
};
void local(const float* lines, int n, int rank, const lattice& at, const float* u, int64_t count, float* out,
           stream_t stream);
void local_backward(const float* lines, int64_t tensors, int n, int rank, const lattice& at, const float* u,
                    int64_t count, const float* g_out, float* g_lines, void* scratch, stream_t stream);

}  // namespace recon::gpu
