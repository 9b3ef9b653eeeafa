// CUDA driver of FlexiCubes: a thread per number, vertex, quad or grid point. In the backward pass a thread per cube adds
// up its vertices; a thread per grid point then collects what the cubes around it have for it, so that no two threads
// write to one number. Quads, of which many share a vertex, go through core/scatter.cuh. Vertices of cube -1 and quads of
// vertices -1, which a list with more room than entries has at its end, are zeros and bring nothing.
#include "core/scatter.cuh"
#include "iso/iso_cuda.h"

namespace recon::gpu {
namespace {

using iso::cube;
using iso::Flexible;
using iso::Grid;
using iso::kWeights;

constexpr int kThreads = 128, kSumThreads = 256;
constexpr int kShare = 4;  // of a corner: value, place

struct use_weights {
  RECON_HD void operator()(const float* raw, float* used) const {
    for (int i = 0; i < kWeights - 1; ++i) used[i] = iso::used_weight(raw[i]);
    used[kWeights - 1] = iso::used_gamma(raw[kWeights - 1]);
  }
};

RECON_HD void position_of(const Grid& g, int64_t p, int64_t* at) {
  at[0] = p % g.nx;
  at[1] = p / g.nx % g.ny;
  at[2] = p / (g.nx * g.ny);
}

__global__ void deform_kernel(Grid g, const float* raw, float* deformed) {
  const int64_t i = global_thread();
  if (i >= 3 * g.points()) return;
  int64_t at[3];
  position_of(g, i / 3, at);
  const int k = int(i % 3);
  deformed[i] = float(g.place(k, at[k])) + float(iso::kReach * g.spacing[k]) * iso::tanh(raw[i]);
}

__global__ void deform_backward_kernel(Grid g, const float* deformed, float* gradient) {
  const int64_t i = global_thread();
  if (i >= 3 * g.points()) return;
  int64_t at[3];
  position_of(g, i / 3, at);
  const int k = int(i % 3);
  gradient[i] *= iso::deform_slope(g, k, at[k], deformed[i]);
}

__global__ void __launch_bounds__(kThreads) dual_vertices_kernel(Flexible<float> m, float* vertices, float* deviation) {
  const int64_t i = global_thread();
  if (i >= m.vertices) return;
  if (m.cube[i] < 0) {
    for (int k = 0; k < 3; ++k) vertices[3 * i + k] = 0;
    deviation[i] = 0;
    return;
  }
  cube<float> c;
  iso::load_cube(m, m.cube[i], c, use_weights{});
  iso::dual_vertex(c, m.members[i], vertices + 3 * i, deviation[i]);
}

__global__ void quad_centres_kernel(Flexible<float> m, const float* vertices, float* centres) {
  const int64_t q = global_thread();
  if (q >= m.num_quads) return;
  if (m.quads[4 * q] < 0) {
    for (int k = 0; k < 3; ++k) centres[3 * q + k] = 0;
    return;
  }
  float v[4][3], gamma[4];
  iso::load_quad(m, q, vertices, v, gamma);
  iso::quad_centre(v, gamma, centres + 3 * q);
}

// What the gradient of a quad's middle says to its corners, and to their gammas.
struct quad_source {
  Flexible<float> m;
  const float *vertices, *g_centres;
  struct part {
    uint32_t row;
    float g[3];
  };
  __device__ void backward(int64_t q, float (&g_v)[4][3], float (&slopes)[4]) const {
    float v[4][3], gamma[4];
    iso::load_quad(m, q, vertices, v, gamma);
    iso::quad_centre_backward(v, gamma, g_centres + 3 * q, g_v, slopes);
    for (int i = 0; i < 4; ++i) slopes[i] *= iso::used_gamma_slope(gamma[i]);
  }
  __device__ part read(int64_t entry) const {
    if (m.quads[entry] < 0) return {kNowhere, {}};
    float g_v[4][3], slopes[4];
    backward(entry / 4, g_v, slopes);
    const float* g = g_v[entry % 4];
    return {uint32_t(m.quads[entry]), {g[0], g[1], g[2]}};
  }
  __device__ float value(const part& p, int k) const { return p.g[k]; }
};
struct gamma_source {
  quad_source quads;
  struct part {
    uint32_t row;
    float g;
  };
  __device__ part read(int64_t entry) const {
    if (quads.m.quads[entry] < 0) return {kNowhere, 0};
    float g_v[4][3], slopes[4];
    quads.backward(entry / 4, g_v, slopes);
    const int64_t cube = quads.m.cube[quads.m.quads[entry]];
    return {uint32_t(kWeights * cube + kWeights - 1), slopes[entry % 4]};
  }
  __device__ float value(const part& p, int) const { return p.g; }
};

// A cube's gradient in shared memory: in registers there is no room for it. Its words are odd in number, so that the
// threads of a warp, which all use the same member, use different banks.
struct gradient_memory {
  struct {
    cube<float> g;
    float unused;
  } of[kThreads];
};

// A thread per cube that has vertices, at the first of them: shares [vertices][8 corners][4], first [cubes].
__global__ void __launch_bounds__(kThreads)
    cube_gradients_kernel(Flexible<float> m, const float* g_vertices, const float* g_deviation, float* shares,
                          int32_t* first, float* g_weights) {
  const int64_t begin = global_thread();
  if (begin >= m.vertices) return;
  const int64_t at = m.cube[begin];
  if (at < 0) return;
  if (begin > 0 && m.cube[begin - 1] == at) return;
  cube<float> c, &g = block_shared<gradient_memory>().of[threadIdx.x].g;
  g = {};
  iso::load_cube(m, at, c, use_weights{});
  for (int64_t i = begin; i < m.vertices && m.cube[i] == at; ++i)
    iso::dual_vertex_backward(c, m.members[i], g_vertices + 3 * i, g_deviation ? g_deviation[i] : 0.0f, g);
  first[at] = int32_t(begin);
  float* out = shares + begin * 8 * kShare;
  for (int k = 0; k < 8; ++k, out += kShare) {
    out[0] = g.s[k];
    for (int j = 0; j < 3; ++j) out[1 + j] = g.x[k][j];
  }
  if (!g_weights) return;
  float* w = g_weights + kWeights * at;
  for (int k = 0; k < 8; ++k) w[k] += g.alpha[k] * iso::used_weight_slope(c.alpha[k]);
  for (int k = 0; k < 12; ++k) w[8 + k] += g.beta[k] * iso::used_weight_slope(c.beta[k]);
}

__global__ void collect_kernel(Grid g, const float* shares, const int32_t* first, float* g_values, float* g_deformed) {
  const int64_t p = global_thread();
  if (p >= g.points()) return;
  int64_t at[3];
  position_of(g, p, at);
  float sum[kShare] = {};
  for (int c = 0; c < 8; ++c) {  // the cube of which this point is corner c
    const int64_t x = at[0] - (c & 1), y = at[1] - (c >> 1 & 1), z = at[2] - (c >> 2);
    if (x < 0 || y < 0 || z < 0 || x >= g.nx - 1 || y >= g.ny - 1 || z >= g.nz - 1) continue;
    const int32_t vertex = first[(z * (g.ny - 1) + y) * (g.nx - 1) + x];
    if (vertex < 0) continue;
    const float* share = shares + (int64_t(vertex) * 8 + c) * kShare;
    for (int j = 0; j < kShare; ++j) sum[j] += share[j];
  }
  g_values[p] += sum[0];
  if (g_deformed)
    for (int j = 0; j < 3; ++j) g_deformed[3 * p + j] += sum[1 + j];
}

// Sums of a block in fixed order, in thread 0.
struct block_sums {
  double loss[kSumThreads / kWarp], edges[kSumThreads / kWarp];
};
__device__ inline void sum_block(double& loss, double& edges) {
  block_sums& memory = block_shared<block_sums>();
  loss = warp_sum(loss), edges = warp_sum(edges);
  const int warp = int(threadIdx.x) / kWarp;
  if (lane_of(threadIdx.x) == 0) memory.loss[warp] = loss, memory.edges[warp] = edges;
  __syncthreads();
  if (threadIdx.x != 0) return;
  loss = edges = 0;
  for (int w = 0; w < kSumThreads / kWarp; ++w) loss += memory.loss[w], edges += memory.edges[w];
}

__global__ void __launch_bounds__(kSumThreads)
    sign_change_kernel(const float* s, Grid g, float* gradient, double* partial) {
  const int64_t p = global_thread();
  double loss = 0, edges = 0;
  if (p < g.points()) {
    int64_t at[3];
    position_of(g, p, at);
    double term = 0;
    float slope = 0;
    const int others = iso::sign_changes(s, g, at, p, term, slope);
    gradient[p] = float(others) * slope;
    loss = others * term, edges = others;
  }
  sum_block(loss, edges);
  if (threadIdx.x == 0) partial[2 * blockIdx.x] = loss, partial[2 * blockIdx.x + 1] = edges;
}

// One block: the loss, and in partial[0] what the gradient is multiplied by.
__global__ void __launch_bounds__(kSumThreads) sign_change_total(double* partial, int64_t blocks, double* loss_out) {
  double loss = 0, edges = 0;
  for (int64_t b = threadIdx.x; b < blocks; b += kSumThreads) loss += partial[2 * b], edges += partial[2 * b + 1];
  sum_block(loss, edges);  // nobody reads `partial` after its barrier
  if (threadIdx.x != 0) return;
  const double scale = edges > 0 ? 2.0 / edges : 0.0;
  *loss_out = loss * scale;
  partial[0] = scale;
}

__global__ void scale_kernel(int64_t count, const double* scale, float* gradient) {
  const int64_t i = global_thread();
  if (i < count) gradient[i] *= float(*scale);
}

}  // namespace

void deform(const Grid& grid, const float* raw, float* deformed, stream_t stream) {
  launch(deform_kernel, blocks_for(3 * grid.points(), kThreads), kThreads, stream, grid, raw, deformed);
}

void deform_backward(const Grid& grid, const float* deformed, float* gradient, stream_t stream) {
  launch(deform_backward_kernel, blocks_for(3 * grid.points(), kThreads), kThreads, stream, grid, deformed, gradient);
}

void flexible_vertices(const Flexible<float>& mesh, float* vertices, float* deviation, float* centres,
                       stream_t stream) {
  launch(dual_vertices_kernel, blocks_for(mesh.vertices, kThreads), kThreads, stream, mesh, vertices, deviation);
  if (centres)
    launch(quad_centres_kernel, blocks_for(mesh.num_quads, kThreads), kThreads, stream, mesh, vertices, centres);
}

size_t flexible_scratch_bytes(int64_t vertices, int64_t quads, int64_t cubes) {
  return pieces::bytes(8 * kShare * vertices) + pieces::bytes(cubes) + scatter_scratch_bytes(4 * quads);
}

void flexible_vertices_backward(const Flexible<float>& mesh, const float* vertices, const flexible_gradients& g,
                                void* scratch, stream_t stream) {
  pieces memory(scratch);
  float* shares = reinterpret_cast<float*>(memory.take(8 * kShare * mesh.vertices));
  int32_t* first = reinterpret_cast<int32_t*>(memory.take(mesh.grid.cubes()));
  if (g.centres && mesh.num_quads) {
    const quad_source quads{mesh, vertices, g.centres};
    scatter_add(quads, 4 * mesh.num_quads, mesh.vertices, 3, g.vertices, memory.rest(), stream);
    if (g.weights)
      scatter_add(gamma_source{quads}, 4 * mesh.num_quads, kWeights * mesh.grid.cubes(), 1, g.weights, memory.rest(),
                  stream);
  }
  set_bytes(first, 0xff, size_t(mesh.grid.cubes()) * sizeof(int32_t), stream);  // -1
  launch(cube_gradients_kernel, blocks_for(mesh.vertices, kThreads), kThreads, stream, mesh, g.vertices, g.deviation,
         shares, first, g.weights);
  launch(collect_kernel, blocks_for(mesh.grid.points(), kThreads), kThreads, stream, mesh.grid, shares, first, g.values,
         g.deformed);
}

int64_t sign_change_blocks(int64_t points) { return blocks_for(points, kSumThreads); }

void sign_change(const float* values, const Grid& grid, float* gradient, double* partial, double* loss,
                 stream_t stream) {
  const int64_t blocks = sign_change_blocks(grid.points());
  launch(sign_change_kernel, unsigned(blocks), kSumThreads, stream, values, grid, gradient, partial);
  launch(sign_change_total, 1, kSumThreads, stream, partial, blocks, loss);
  launch(scale_kernel, blocks_for(grid.points(), kThreads), kThreads, stream, grid.points(), partial, gradient);
}

}  // namespace recon::gpu
