// CUDA driver of dense, hashed and summed grids: forward a thread per number of the result, so that neighbouring threads
// read neighbouring channels; backward by core/scatter.cuh, an entry per node of each point's cell.
#include "core/scatter.cuh"
#include "grid/grid_cuda.h"
#include "grid/sum.h"

namespace recon::gpu {
namespace {

constexpr int kThreads = 256;

struct grid_shape {
  int size[3], channels;
  RECON_HD int64_t node(const grid::corner<float>& at, int k) const {
    return (int64_t(at.node[0] + (k & 1)) * size[1] + at.node[1] + (k >> 1 & 1)) * size[2] + at.node[2] + (k >> 2 & 1);
  }
};

__global__ void trilinear_kernel(const float* values, grid_shape shape, const float* u, int64_t count, float* out) {
  const int64_t i = global_thread();
  if (i >= count * shape.channels) return;
  const int c = int(i % shape.channels);
  const grid::corner<float> at(u + i / shape.channels * 3, shape.size);
  float sum = 0;
  for (int k = 0; k < 8; ++k) sum += at.weight(k) * values[shape.node(at, k) * shape.channels + c];
  out[i] = sum;
}

struct trilinear_source {
  grid_shape shape;
  const float *u, *g_out;
  struct part {
    uint32_t row;
    float weight;
    const float* g;
  };
  __device__ part read(int64_t entry) const {
    const int64_t i = entry / kCornerEntries;
    const int k = int(entry % kCornerEntries);
    const grid::corner<float> at(u + 3 * i, shape.size);
    return {uint32_t(shape.node(at, k)), at.weight(k), g_out + i * shape.channels};
  }
  __device__ float value(const part& p, int c) const { return p.weight * p.g[c]; }
};

struct hash_level {
  int nodes, levels, level, features;
  int64_t slots;
};

// blockIdx.y is the level, so that the threads of a block read one table.
struct level_nodes {
  int n[kMaxLevels];
};
__global__ void hash_kernel(const float* table, level_nodes nodes, int levels, int64_t slots, int features,
                            const float* u, int64_t count, float* out) {
  const int64_t i = global_thread();
  const int level = int(blockIdx.y), n = nodes.n[level];
  if (i >= count) return;
  const int size[3] = {n, n, n};
  const grid::corner<float> at(u + 3 * i, size);
  const float* values = table + level * slots * features;
  int64_t slot[8];
  float weight[8];
  for (int k = 0; k < 8; ++k) slot[k] = grid::hashed_slot(at, k, n, slots), weight[k] = at.weight(k);
  for (int c = 0; c < features; ++c) {
    float sum = 0;
    for (int k = 0; k < 8; ++k) sum += weight[k] * values[slot[k] * features + c];
    out[(i * levels + level) * features + c] = sum;
  }
}

struct hash_source {
  hash_level at_level;
  const float *u, *g_out;
  using part = trilinear_source::part;
  __device__ part read(int64_t entry) const {
    const int64_t i = entry / kCornerEntries;
    const int k = int(entry % kCornerEntries), n = at_level.nodes, size[3] = {n, n, n};
    const grid::corner<float> at(u + 3 * i, size);
    return {grid::hashed_slot(at, k, n, at_level.slots), at.weight(k),
            g_out + (i * at_level.levels + at_level.level) * at_level.features};
  }
  __device__ float value(const part& p, int c) const { return p.weight * p.g[c]; }
};

__global__ void sum_kernel(const float* values, level_nodes nodes, int levels, const float* u, int64_t count,
                           float* out, float* gradient) {
  const int64_t i = global_thread();
  if (i >= count) return;
  float value = 0, slope[3] = {0, 0, 0};
  for (int l = 0; l < levels; ++l) {
    const int n = nodes.n[l];
    const grid::cell<float> at(u + 3 * i, n);
    grid::blend_cell(values + at.first, n, at.t, value, slope);
    values += int64_t(n) * n * n;
  }
  out[i] = value;
  for (int j = 0; j < 3; ++j) gradient[3 * i + j] = slope[j];
}

struct sum_source {
  int n;
  const float *u, *g_out, *g_gradient;
  struct part {
    uint32_t row;
    float share;
  };
  __device__ part read(int64_t entry) const {
    const int64_t i = entry / kCornerEntries;
    const int k = int(entry % kCornerEntries);
    const grid::cell<float> at(u + 3 * i, n);
    float shares[8];
    grid::blend_cell_backward(n, at.t, g_out[i], g_gradient + 3 * i, shares);
    return {uint32_t(at.first + grid::cell_node(k, n)), shares[k]};
  }
  __device__ float value(const part& p, int) const { return p.share; }
};

grid_shape shape_of(const int* size, int channels) { return {{size[0], size[1], size[2]}, channels}; }
level_nodes nodes_of(const int* nodes, int levels) {
  level_nodes out{};
  for (int l = 0; l < levels; ++l) out.n[l] = nodes[l];
  return out;
}

}  // namespace

size_t grid_scratch_bytes(int64_t entries) { return scatter_scratch_bytes(entries); }

void trilinear(const float* values, const int* size, int channels, const float* u, int64_t count, float* out,
               stream_t stream) {
  launch(trilinear_kernel, blocks_for(count * channels, kThreads), kThreads, stream, values, shape_of(size, channels),
         u, count, out);
}

void trilinear_backward(const int* size, int channels, const float* u, int64_t count, const float* g_out,
                        float* g_values, void* scratch, stream_t stream) {
  scatter_add(trilinear_source{shape_of(size, channels), u, g_out}, kCornerEntries * count,
              int64_t(size[0]) * size[1] * size[2], channels, g_values, scratch, stream);
}

void hash(const float* table, const int* nodes, int levels, int64_t slots, int features, const float* u, int64_t count,
          float* out, stream_t stream) {
  launch(hash_kernel, dim3(blocks_for(count, kThreads), unsigned(levels)), kThreads, stream, table,
         nodes_of(nodes, levels), levels, slots, features, u, count, out);
}

void hash_backward(const int* nodes, int levels, int64_t slots, int features, const float* u, int64_t count,
                   const float* g_out, float* g_table, void* scratch, stream_t stream) {
  for (int l = 0; l < levels; ++l)
    scatter_add(hash_source{{nodes[l], levels, l, features, slots}, u, g_out}, kCornerEntries * count, slots, features,
                g_table + l * slots * features, scratch, stream);
}

void sum(const float* values, const int* nodes, int levels, const float* u, int64_t count, float* out, float* gradient,
         stream_t stream) {
  launch(sum_kernel, blocks_for(count, kThreads), kThreads, stream, values, nodes_of(nodes, levels), levels, u, count,
         out, gradient);
}

void sum_backward(const int* nodes, int levels, const float* u, int64_t count, const float* g_out,
                  const float* g_gradient, float* g_values, void* scratch, stream_t stream) {
  for (int l = 0; l < levels; ++l) {
    const int64_t n = nodes[l], size = n * n * n;
    scatter_add(sum_source{nodes[l], u, g_out, g_gradient}, kCornerEntries * count, size, 1, g_values, scratch, stream);
    g_values += size;
  }
}

}  // namespace recon::gpu
