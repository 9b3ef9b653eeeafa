// CUDA driver of the projection's backward fused with Adam: gradients of the parameters live in registers only.
// Rows that were not drawn keep their parameters and moments. Adam: Kingma and Ba, ICLR 2015, arXiv 1412.6980.
#include <type_traits>

#include "adam/adam.h"
#include "gaussian.cuh"
#include "splat_cuda.h"

namespace recon::gpu {
namespace {

struct six_rows {
  adam_rows tensor[6];
};

__device__ inline void step(const adam_rows& t, int64_t at, float grad, const adam_constants& c) {
  const adam::Constants<float> constants{c.beta1, 1 - c.beta1, c.beta2, 1 - c.beta2, c.inverse_root, c.eps};
  float p = t.param[at], m = t.m[at], v = t.v[at];
  adam::update(p, m, v, grad, t.rate * c.rate_scale, constants);
  t.param[at] = p, t.m[at] = m, t.v[at] = v;
}

template <int DEGREE>
__global__ void __launch_bounds__(kRowThreads)
    update_kernel(six_rows all, int64_t rows, view<float> cam, const float* records, const float* g_records,
                  const float* extra_log_scale, const float* extra_logit, adam_constants constants, int* refused) {
  const int64_t i = global_thread();
  if (i >= rows || !(records[i * kRecord + kRadius] > 0)) return;
  constexpr int used = row_gradient<DEGREE>::used;
  const adam_rows* t = all.tensor;
  const gaussian_rows<float> in{t[0].param, t[1].param, t[2].param, t[3].param, t[4].param, t[5].param, t[5].width / 3};
  row_gradient<DEGREE> g;
  if (!sound_gradient_of_row<DEGREE>(in, i, cam, g_records, extra_log_scale, extra_logit, g)) {
    atomicAdd(refused, 1);  // integers add up to the same in any order
    return;
  }
  const gaussian<float>& geometry = g.geometry;
  for (int j = 0; j < 3; ++j) {
    step(t[0], 3 * i + j, geometry.mean[j], constants);
    step(t[1], 3 * i + j, geometry.log_scale[j], constants);
    step(t[4], 3 * i + j, g.raw[j] * g.Y[0], constants);
  }
  for (int j = 0; j < 4; ++j) step(t[2], 4 * i + j, geometry.quaternion[j], constants);
  step(t[3], i, geometry.logit, constants);
  if constexpr (DEGREE > 0) {  // as on the CPU: coefficients that are not used yet do not move
    for (int k = 1; k < used; ++k)
      for (int c = 0; c < 3; ++c) step(t[5], i * t[5].width + 3 * (k - 1) + c, g.raw[c] * g.Y[k], constants);
    for (int j = 3 * (used - 1); j < t[5].width; ++j) step(t[5], i * t[5].width + j, 0, constants);
  }
}

}  // namespace

void project_backward_adam(const adam_rows* tensors, int64_t rows, const view<float>& cam, const float* records,
                           const float* g_records, const float* extra_log_scale, const float* extra_logit,
                           const adam_constants& constants, int* refused, stream_t stream) {
  six_rows all;
  for (int i = 0; i < 6; ++i) all.tensor[i] = tensors[i];
  for_degree(cam.degree, [&](auto degree) {
    launch(update_kernel<decltype(degree)::value>, blocks_for(rows, kRowThreads), kRowThreads, stream, all, rows, cam,
           records, g_records, extra_log_scale, extra_logit, constants, refused);
  });
}

}  // namespace recon::gpu
