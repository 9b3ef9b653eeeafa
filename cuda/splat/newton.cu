// CUDA driver of the projection's backward fused with a local Newton step; see newton.h. A thread per Gaussian, whose
// gradient lives in registers. Rows that were not drawn keep their parameters and momentum.
#include <type_traits>

#include "gaussian.cuh"
#include "splat_cuda.h"

namespace recon::gpu {
namespace {

template <int DEGREE>
__global__ void __launch_bounds__(kRowThreads)
    newton_kernel(newton_rows t, int64_t rows, view<float> cam, const float* records, const float* g_records,
                  const float* extra_log_scale, const float* extra_logit, newton_constants constants, int* refused) {
  const int64_t i = global_thread();
  if (i >= rows || !(records[i * kRecord + kRadius] > 0)) return;
  constexpr int used = row_gradient<DEGREE>::used;
  row_gradient<DEGREE> g;
  if (!sound_gradient_of_row<DEGREE>(t.x, i, cam, g_records, extra_log_scale, extra_logit, g)) {
    atomicAdd(refused, 1);  // integers add up to the same in any order
    return;
  }
  float x[kBlock], m[kBlock], y[kBlock];
  for (int j = 0; j < 3; ++j) y[j] = g.geometry.mean[j], y[3 + j] = g.geometry.log_scale[j];
  for (int j = 0; j < 4; ++j) y[6 + j] = g.geometry.quaternion[j];
  y[10] = g.geometry.logit;
  for (int j = 0; j < kBlock; ++j) x[j] = geometry_of(t.x, i, j), m[j] = geometry_of(t.momentum, i, j);
  newton_momentum(y, m, constants, true);
  newton_geometry(x, y, t.factors + i * kTriangle, constants, true);
  for (int j = 0; j < kBlock; ++j) geometry_of(t.x, i, j) = x[j], geometry_of(t.momentum, i, j) = m[j];
  for (int c = 0; c < 3; ++c)
    newton_colour(t.x.sh0[3 * i + c], t.momentum.sh0[3 * i + c], g.raw[c] * g.Y[0], t.inverse_sh0[3 * i + c], constants,
                  constants.most);
  if constexpr (DEGREE > 0) {  // as on the CPU: coefficients that are not used yet have a gradient of zero
    const int64_t first = int64_t(3) * t.x.rest * i;
    const auto move = [&](int64_t at, float gradient) {
      newton_colour(t.x.sh_rest[at], t.momentum.sh_rest[at], gradient, t.inverse_sh_rest[at], constants,
                    kMostOfRest * constants.most);
    };
    for (int k = 1; k < used; ++k)
      for (int c = 0; c < 3; ++c) move(first + 3 * (k - 1) + c, g.raw[c] * g.Y[k]);
    for (int j = 3 * (used - 1); j < 3 * t.x.rest; ++j) move(first + j, 0.0f);
  }
}

}  // namespace

void project_backward_newton(const newton_rows& t, int64_t rows, const view<float>& cam, const float* records,
                             const float* g_records, const float* extra_log_scale, const float* extra_logit,
                             const newton_constants& constants, int* refused, stream_t stream) {
  for_degree(cam.degree, [&](auto degree) {
    launch(newton_kernel<decltype(degree)::value>, blocks_for(rows, kRowThreads), kRowThreads, stream, t, rows, cam,
           records, g_records, extra_log_scale, extra_logit, constants, refused);
  });
}

}  // namespace recon::gpu
