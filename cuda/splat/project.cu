// CUDA driver of the projection: a thread per Gaussian.
#include <type_traits>

#include "gaussian.cuh"
#include "splat_cuda.h"

namespace recon::gpu {
namespace {

template <int DEGREE, class CAMERA>
__global__ void __launch_bounds__(kRowThreads)
    project_kernel(gaussian_rows<float> in, int64_t rows, CAMERA camera, float* records) {
  const int64_t i = global_thread();
  if (i >= rows) return;
  const view<float>& cam = seen_from(camera);
  const gaussian<float> G = read_gaussian(in, i);
  projection<float> p;
  project_geometry(G, cam, p);
  const splat<float> s = project_forward(G, cam, p);
  float colour[3] = {0, 0, 0};
  if (s.radius > 0) {
    float inverse_length, Y[16], raw[3];
    const vec3<float> d = view_direction(G.mean, cam, inverse_length);
    sh_basis(DEGREE, d.x, d.y, d.z, Y);
    shade_raw(in.sh0 + 3 * i, in.sh_rest + int64_t(3) * in.rest * i, (DEGREE + 1) * (DEGREE + 1), Y, raw);
    for (int c = 0; c < 3; ++c) colour[c] = max(raw[c], 0.0f);
  }
  reinterpret_cast<record_row*>(records)[i] = {
      {s.mx, s.my, s.A, s.B, s.C, s.opacity, colour[0], colour[1], colour[2], s.z, s.log2_opacity, s.radius}};
}

// Writes every row of `out`, zeros where a Gaussian was not drawn.
template <int DEGREE>
__global__ void __launch_bounds__(kRowThreads)
    project_backward_kernel(gaussian_rows<float> in, int64_t rows, view<float> cam, const float* records,
                            const float* g_records, gaussian_rows<float> out) {
  const int64_t i = global_thread();
  if (i >= rows) return;
  constexpr int used = row_gradient<DEGREE>::used;
  row_gradient<DEGREE> g{};
  if (records[i * kRecord + kRadius] > 0) g = backward_of_row<DEGREE>(in, i, cam, g_records);
  for (int j = 0; j < 3; ++j) {
    out.mean[3 * i + j] = g.geometry.mean[j];
    out.log_scale[3 * i + j] = g.geometry.log_scale[j];
    out.sh0[3 * i + j] = g.raw[j] * g.Y[0];
  }
  for (int j = 0; j < 4; ++j) out.quaternion[4 * i + j] = g.geometry.quaternion[j];
  out.logit[i] = g.geometry.logit;
  float* rest = out.sh_rest + int64_t(3) * in.rest * i;
  for (int k = 1; k < used; ++k)
    for (int c = 0; c < 3; ++c) rest[3 * (k - 1) + c] = g.raw[c] * g.Y[k];
  for (int k = used; k <= in.rest; ++k)
    for (int c = 0; c < 3; ++c) rest[3 * (k - 1) + c] = 0;
}

}  // namespace

void project(const gaussian_rows<float>& in, int64_t rows, const any_view& cam, float* records, stream_t stream) {
  for_degree(cam, [&](auto degree, const auto& camera) {
    launch(project_kernel<decltype(degree)::value, std::decay_t<decltype(camera)>>, blocks_for(rows, kRowThreads),
           kRowThreads, stream, in, rows, camera, records);
  });
}

void project_backward(const gaussian_rows<float>& in, int64_t rows, const view<float>& cam, const float* records,
                      const float* g_records, const gaussian_rows<float>& out, stream_t stream) {
  for_degree(cam.degree, [&](auto degree) {
    launch(project_backward_kernel<decltype(degree)::value>, blocks_for(rows, kRowThreads), kRowThreads, stream, in,
           rows, cam, records, g_records, out);
  });
}

}  // namespace recon::gpu
