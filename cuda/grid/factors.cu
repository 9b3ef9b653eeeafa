// CUDA driver of products of planes and lines: forward a thread per number of the result, backward by core/scatter.cuh,
// an entry per node of a factor that a point lies between.
#include "core/scatter.cuh"
#include "grid/grid_cuda.h"

namespace recon::gpu {
namespace {

constexpr int kThreads = 256;

struct factors {
  const float *planes, *lines;
  int n, rank;
  __device__ int64_t plane_node(const grid::mode<float>& m, int k, int corner) const {
    return (int64_t(k) * n + m.a + (corner >> 1)) * n + m.b + (corner & 1);
  }
  __device__ float plane_weight(const grid::mode<float>& m, int corner) const {
    return (corner >> 1 ? m.fa : 1 - m.fa) * (corner & 1 ? m.fb : 1 - m.fb);
  }
  __device__ float plane(const grid::mode<float>& m, int k, int r) const {
    float sum = 0;
    for (int c = 0; c < 4; ++c) sum += plane_weight(m, c) * planes[plane_node(m, k, c) * rank + r];
    return sum;
  }
  __device__ float line(int axis, int node, float next, int r) const {
    const float* l = lines + (int64_t(axis) * n + node) * rank + r;
    return (1 - next) * l[0] + next * l[rank];
  }
};

__global__ void vector_matrix_kernel(factors f, const float* u, int64_t count, float* out) {
  const int64_t i = global_thread();
  if (i >= count * 3 * f.rank) return;
  const int r = int(i % f.rank), k = int(i / f.rank % 3);
  const grid::mode<float> m(u + i / (3 * f.rank) * 3, f.n, k);
  out[i] = f.plane(m, k, r) * f.line(k, m.line, m.f, r);
}

// Entries of the planes, 4 a mode.
struct plane_source {
  factors f;
  const float *u, *g_out;
  struct part {
    uint32_t row;
    int k;
    grid::mode<float> m;
    float weight;
    const float* g;
  };
  __device__ part read(int64_t entry) const {
    const int64_t i = entry / kModeEntries;
    const int k = int(entry % kModeEntries / 4), corner = int(entry % 4);
    const grid::mode<float> m(u + 3 * i, f.n, k);
    return {uint32_t(f.plane_node(m, k, corner)), k, m, f.plane_weight(m, corner), g_out + (3 * i + k) * f.rank};
  }
  __device__ float value(const part& p, int r) const { return p.weight * p.g[r] * f.line(p.k, p.m.line, p.m.f, r); }
};

// Entries of the lines, 2 a mode.
struct line_source {
  factors f;
  const float *u, *g_out;
  using part = plane_source::part;
  __device__ part read(int64_t entry) const {
    const int64_t i = entry / kLineEntries;
    const int k = int(entry % kLineEntries / 2), second = int(entry % 2);
    const grid::mode<float> m(u + 3 * i, f.n, k);
    return {uint32_t(k * f.n + m.line + second), k, m, second ? m.f : 1 - m.f, g_out + (3 * i + k) * f.rank};
  }
  __device__ float value(const part& p, int r) const { return p.weight * p.g[r] * f.plane(p.m, p.k, r); }
};

__global__ void tri_vector_kernel(factors f, const float* u, int64_t count, float* out) {
  const int64_t i = global_thread();
  if (i >= count * f.rank) return;
  const int r = int(i % f.rank), size[3] = {f.n, f.n, f.n};
  const grid::corner<float> at(u + i / f.rank * 3, size);
  float product = 1;
  for (int k = 0; k < 3; ++k) product *= f.line(k, at.node[k], at.next[k], r);
  out[i] = product;
}

struct tri_vector_source {
  factors f;
  const float *u, *g_out;
  struct part {
    uint32_t row;
    int axis;
    grid::corner<float> at;
    float weight;
    const float* g;
  };
  __device__ part read(int64_t entry) const {
    const int64_t i = entry / kLineEntries;
    const int axis = int(entry % kLineEntries / 2), second = int(entry % 2), size[3] = {f.n, f.n, f.n};
    const grid::corner<float> at(u + 3 * i, size);
    return {uint32_t(axis * f.n + at.node[axis] + second), axis, at, second ? at.next[axis] : 1 - at.next[axis],
            g_out + i * f.rank};
  }
  __device__ float value(const part& p, int r) const {
    const int a = (p.axis + 1) % 3, b = (p.axis + 2) % 3;
    return p.weight * p.g[r] * f.line(a, p.at.node[a], p.at.next[a], r) * f.line(b, p.at.node[b], p.at.next[b], r);
  }
};

// Products of three vectors of one tensor of a lattice at a point, or of two of them.
struct local_factors {
  const float* lines;
  int n, rank;
  lattice at;
  __device__ float line(const grid::vectors<float>& v, int axis, int r) const {
    return (1 - v.f[axis]) * v.row[axis][r] + v.f[axis] * v.row[axis][rank + r];
  }
};

__global__ void local_kernel(local_factors f, const float* u, int64_t count, float* out) {
  const int64_t i = global_thread();
  if (i >= count * f.rank) return;
  const int r = int(i % f.rank);
  const grid::around<float> at(u + i / f.rank * 3, f.at.sites, f.at.half);
  float sum = 0;
  for (int corner = 0; corner < 8; ++corner) {
    const int32_t tensor = at.tensor(f.at.table, f.at.sites, corner);
    if (tensor < 0) continue;
    const grid::vectors<float> v(f.lines, tensor, f.n, f.rank, at, corner);
    sum += at.weight(corner) * f.line(v, 0, r) * f.line(v, 1, r) * f.line(v, 2, r);
  }
  out[i] = sum;
}

struct local_source {
  local_factors f;
  const float *u, *g_out;
  struct part {
    uint32_t row;
    int axis;
    grid::vectors<float> v;
    float weight;
    const float* g;
  };
  __device__ part read(int64_t entry) const {
    const int64_t i = entry / kLocalEntries;
    const int corner = int(entry % kLocalEntries / 6), axis = int(entry % 6 / 2), second = int(entry % 2);
    const grid::around<float> at(u + 3 * i, f.at.sites, f.at.half);
    const int32_t tensor = at.tensor(f.at.table, f.at.sites, corner);
    const grid::vectors<float> v(f.lines, tensor < 0 ? 0 : tensor, f.n, f.rank, at, corner);
    const uint32_t row = uint32_t(v.offset[axis] / f.rank) + uint32_t(second);
    return {tensor < 0 ? kNowhere : row, axis, v, at.weight(corner) * (second ? v.f[axis] : 1 - v.f[axis]),
            g_out + i * f.rank};
  }
  __device__ float value(const part& p, int r) const {
    return p.weight * p.g[r] * f.line(p.v, (p.axis + 1) % 3, r) * f.line(p.v, (p.axis + 2) % 3, r);
  }
};

}  // namespace

void vector_matrix(const float* planes, const float* lines, int n, int rank, const float* u, int64_t count, float* out,
                   stream_t stream) {
  launch(vector_matrix_kernel, blocks_for(count * 3 * rank, kThreads), kThreads, stream,
         factors{planes, lines, n, rank}, u, count, out);
}

void vector_matrix_backward(const float* planes, const float* lines, int n, int rank, const float* u, int64_t count,
                            const float* g_out, float* g_planes, float* g_lines, void* scratch, stream_t stream) {
  const factors f{planes, lines, n, rank};
  scatter_add(plane_source{f, u, g_out}, kModeEntries * count, int64_t(3) * n * n, rank, g_planes, scratch, stream);
  scatter_add(line_source{f, u, g_out}, kLineEntries * count, int64_t(3) * n, rank, g_lines, scratch, stream);
}

void tri_vector(const float* lines, int n, int rank, const float* u, int64_t count, float* out, stream_t stream) {
  launch(tri_vector_kernel, blocks_for(count * rank, kThreads), kThreads, stream, factors{nullptr, lines, n, rank}, u,
         count, out);
}

void tri_vector_backward(const float* lines, int n, int rank, const float* u, int64_t count, const float* g_out,
                         float* g_lines, void* scratch, stream_t stream) {
  scatter_add(tri_vector_source{{nullptr, lines, n, rank}, u, g_out}, kLineEntries * count, int64_t(3) * n, rank,
              g_lines, scratch, stream);
}

void local(const float* lines, int n, int rank, const lattice& at, const float* u, int64_t count, float* out,
           stream_t stream) {
  launch(local_kernel, blocks_for(count * rank, kThreads), kThreads, stream, local_factors{lines, n, rank, at}, u,
         count, out);
}

void local_backward(const float* lines, int64_t tensors, int n, int rank, const lattice& at, const float* u,
                    int64_t count, const float* g_out, float* g_lines, void* scratch, stream_t stream) {
  if (tensors == 0) return;  // entries without a tensor read one all the same
  scatter_add(local_source{{lines, n, rank, at}, u, g_out}, kLocalEntries * count, 3 * tensors * n, rank, g_lines,
              scratch, stream);
}

}  // namespace recon::gpu
