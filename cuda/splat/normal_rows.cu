// CUDA driver of the products with the Jacobian, the part of the rows: a thread per Gaussian.
#include <type_traits>

#include "blocks.h"
#include "gaussian.cuh"
#include "jacobian.h"
#include "splat_cuda.h"

namespace recon::gpu {
namespace {

// Rows that are not drawn get zeros.
template <int DEGREE, class CAMERA>
__global__ void __launch_bounds__(kRowThreads)
    tangent_rows_kernel(gaussian_rows<float> in, gaussian_rows<float> v, int64_t rows, CAMERA camera,
                        const float* records, float* tangents) {
  const int64_t i = global_thread();
  if (i >= rows) return;
  view<float> cam = seen_from(camera);
  cam.degree = DEGREE;
  record_row out{};
  if (records[i * kRecord + kRadius] > 0) {
    const int64_t rest = int64_t(3) * in.rest * i;
    record_tangent(read_gaussian(in, i), read_gaussian(v, i), cam, (DEGREE + 1) * (DEGREE + 1) - 1, in.sh0 + 3 * i,
                   v.sh0 + 3 * i, in.sh_rest + rest, v.sh_rest + rest, out.number);
  }
  reinterpret_cast<record_row*>(tangents)[i] = out;
}

// Adds to the rows of `out`; those that are not drawn are not touched.
template <int DEGREE, class CAMERA>
__global__ void __launch_bounds__(kRowThreads)
    pull_back_kernel(gaussian_rows<float> in, int64_t rows, CAMERA camera, const float* records, const float* g_records,
                     gaussian_rows<float> out) {
  const int64_t i = global_thread();
  if (i >= rows || !(records[i * kRecord + kRadius] > 0)) return;
  const row_gradient<DEGREE> g = backward_of_row<DEGREE>(in, i, seen_from(camera), g_records);
  for (int j = 0; j < 3; ++j) {
    out.mean[3 * i + j] += g.geometry.mean[j];
    out.log_scale[3 * i + j] += g.geometry.log_scale[j];
    out.sh0[3 * i + j] += g.raw[j] * g.Y[0];
  }
  for (int j = 0; j < 4; ++j) out.quaternion[4 * i + j] += g.geometry.quaternion[j];
  out.logit[i] += g.geometry.logit;
  float* rest = out.sh_rest + int64_t(3) * in.rest * i;
  for (int k = 1; k < row_gradient<DEGREE>::used; ++k)
    for (int c = 0; c < 3; ++c) rest[3 * (k - 1) + c] += g.raw[c] * g.Y[k];
}

// The moments of a Gaussian's entries in fixed order, and what follows from them. Of the means, the part through the
// direction of view is left out.
template <int DEGREE, class CAMERA>
__global__ void __launch_bounds__(kRowThreads)
    diagonal_kernel(gaussian_rows<float> in, int64_t rows, CAMERA camera, const float* records, const uint32_t* order,
                    const uint32_t* begin, uint32_t room, const float* moments, gaussian_rows<float> out,
                    float* blocks) {
  const int64_t at = global_thread();
  if (at >= rows) return;
  const uint32_t end = begin[at + 1] < room ? begin[at + 1] : room;
  if (begin[at] >= end) return;
  const int64_t i = order[at];
  float m[kDiagonalSums] = {};
  for (uint32_t e = begin[at]; e < end; ++e)
    for (int j = 0; j < kDiagonalSums; ++j) m[j] += moments[int64_t(e) * kDiagonalSums + j];
  const record_row record = reinterpret_cast<const record_row*>(records)[i];
  const gaussian<float> G = read_gaussian(in, i);
  const view<float>& cam = seen_from(camera);
  float k[kTheta][kShape];
  exponent_jacobian(G, cam, record.number, k);
  for (int t = 0; t < kTheta; ++t) {
    float moved[kShape];
    times_moments(m, k[t], moved);
    const float diagonal = max(shape_product(k[t], moved), 0.0f);
    geometry_of(out, i, t) += diagonal;
    if (!blocks) continue;
    float* row = blocks + i * kTriangle + t * (t + 1) / 2;
    for (int u = 0; u < t; ++u) row[u] += shape_product(k[u], moved);
    row[t] += diagonal;
  }
  float inverse_length, Y[16];
  const vec3<float> d = view_direction(G.mean, cam, inverse_length);
  sh_basis(DEGREE, d.x, d.y, d.z, Y);
  float* rest = out.sh_rest + int64_t(3) * out.rest * i;
  for (int c = 0; c < 3; ++c) {
    if (!(record.number[kRed + c] > 0)) continue;
    out.sh0[3 * i + c] += Y[0] * Y[0] * m[kMoments + c];
    for (int j = 1; j < (DEGREE + 1) * (DEGREE + 1); ++j) rest[3 * (j - 1) + c] += Y[j] * Y[j] * m[kMoments + c];
  }
}

__global__ void __launch_bounds__(kRowThreads) factor_kernel(gaussian_rows<float> added, int64_t rows, float* blocks) {
  const int64_t i = global_thread();
  if (i >= rows) return;
  float a[kTriangle];
  for (int j = 0; j < kTriangle; ++j) a[j] = blocks[i * kTriangle + j];
  for (int t = 0; t < kBlock; ++t) a[t * (t + 1) / 2 + t] += geometry_of(added, i, t);
  block_factor(a);
  for (int j = 0; j < kTriangle; ++j) blocks[i * kTriangle + j] = a[j];
}

__global__ void __launch_bounds__(kRowThreads)
    solve_kernel(const float* factors, int64_t rows, gaussian_rows<float> x) {
  const int64_t i = global_thread();
  if (i >= rows) return;
  float y[kBlock];
  for (int t = 0; t < kBlock; ++t) y[t] = geometry_of(x, i, t);
  block_solve(factors + i * kTriangle, y);
  for (int t = 0; t < kBlock; ++t) geometry_of(x, i, t) = y[t];
}

}  // namespace

void project_tangent(const gaussian_rows<float>& in, const gaussian_rows<float>& v, int64_t rows, const any_view& cam,
                     const float* records, float* tangents, stream_t stream) {
  for_degree(cam, [&](auto degree, const auto& camera) {
    launch(tangent_rows_kernel<decltype(degree)::value, std::decay_t<decltype(camera)>>, blocks_for(rows, kRowThreads),
           kRowThreads, stream, in, v, rows, camera, records, tangents);
  });
}

void project_backward_add(const gaussian_rows<float>& in, int64_t rows, const any_view& cam, const float* records,
                          const float* g_records, const gaussian_rows<float>& out, stream_t stream) {
  for_degree(cam, [&](auto degree, const auto& camera) {
    launch(pull_back_kernel<decltype(degree)::value, std::decay_t<decltype(camera)>>, blocks_for(rows, kRowThreads),
           kRowThreads, stream, in, rows, camera, records, g_records, out);
  });
}

void project_diagonal(const gaussian_rows<float>& in, int64_t rows, const any_view& cam, const float* records,
                      const tile_lists& lists, const uint32_t* order, const uint32_t* begin, const float* moments,
                      const gaussian_rows<float>& out, float* blocks, stream_t stream) {
  for_degree(cam, [&](auto degree, const auto& camera) {
    launch(diagonal_kernel<decltype(degree)::value, std::decay_t<decltype(camera)>>, blocks_for(rows, kRowThreads),
           kRowThreads, stream, in, rows, camera, records, order, begin, lists.room, moments, out, blocks);
  });
}

void factor_blocks(const gaussian_rows<float>& added, int64_t rows, float* blocks, stream_t stream) {
  launch(factor_kernel, blocks_for(rows, kRowThreads), kRowThreads, stream, added, rows, blocks);
}

void solve_blocks(const float* factors, int64_t rows, const gaussian_rows<float>& x, stream_t stream) {
  launch(solve_kernel, blocks_for(rows, kRowThreads), kRowThreads, stream, factors, rows, x);
}

}  // namespace recon::gpu
