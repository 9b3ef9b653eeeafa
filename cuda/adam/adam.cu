// CUDA driver of Adam: a warp per row looks whether its gradient is usable, then a thread per number updates.
#include <cmath>

#include "adam/adam_cuda.h"

namespace recon::gpu {
namespace {

constexpr int kThreads = 256;
constexpr float kLargestGradient = 1e18f;  // its square would turn v into Inf

// `lanes` neighbouring threads look at a row: 1 for short rows, a warp for long ones.
__global__ void choose_rows(const float* grad, int64_t rows, int64_t width, int lanes, const uint8_t* active,
                            uint8_t* chosen, int* skipped) {
  const int64_t row = global_thread() / lanes;
  const int part = int(threadIdx.x) % lanes;
  const bool wanted = row < rows && (!active || active[row]);
  bool bad = false;
  if (wanted)
    for (int64_t j = part; j < width; j += lanes) bad |= !(abs(grad[row * width + j]) < kLargestGradient);
  if (lanes > 1) bad = __any_sync(kAllLanes, bad);
  if (part != 0 || row >= rows) return;
  chosen[row] = wanted && !bad;
  if (wanted && bad) atomicAdd(skipped, 1);
}

__global__ void update_rows(adam_tensor t, const uint8_t* chosen, adam::Constants<float> constants, double bias) {
  const int64_t i = global_thread();
  if (i >= t.rows * t.width) return;
  const int64_t row = i / t.width;
  if (!chosen[row]) return;
  const float rate = float((t.row_rates ? double(t.row_rates[row]) : t.rate) / bias);
  float p = t.param[i], m = t.m[i], v = t.v[i];
  adam::update(p, m, v, t.grad[i], rate, constants);
  t.param[i] = p, t.m[i] = m, t.v[i] = v;
}

__global__ void update_touched(float* param, float* grad, float* m, float* v, int64_t count, float rate,
                               adam::Constants<float> constants) {
  const int64_t i = global_thread();
  if (i >= count) return;
  const float g = grad[i];
  if (g == 0) return;
  if (abs(g) <= kLargestGradient) adam::update(param[i], m[i], v[i], g, rate, constants);
  grad[i] = 0;
}

adam::Constants<float> constants_of(const adam_step& s) {
  return {float(s.beta1),
          float(1 - s.beta1),
          float(s.beta2),
          float(1 - s.beta2),
          float(1 / std::sqrt(1 - std::pow(s.beta2, double(s.step)))),
          float(s.eps)};
}

}  // namespace

void adam(const adam_tensor& t, const adam_step& step, const uint8_t* active, uint8_t* chosen, int* skipped,
          stream_t stream) {
  if (t.rows == 0 || t.width == 0) return;
  const int lanes = t.width >= kWarp ? kWarp : 1;
  launch(choose_rows, blocks_for(t.rows * lanes, kThreads), kThreads, stream, t.grad, t.rows, t.width, lanes, active,
         chosen, skipped);
  launch(update_rows, blocks_for(t.rows * t.width, kThreads), kThreads, stream, t, chosen, constants_of(step),
         1 - std::pow(step.beta1, double(step.step)));
}

void adam_touched(float* param, float* grad, float* m, float* v, int64_t count, double rate, const adam_step& step,
                  stream_t stream) {
  launch(update_touched, blocks_for(count, kThreads), kThreads, stream, param, grad, m, v, count,
         float(rate / (1 - std::pow(step.beta1, double(step.step)))), constants_of(step));
}

}  // namespace recon::gpu
