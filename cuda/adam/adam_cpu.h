// The CPU driver's face: what bind.cpp may call.
#pragma once

#include <cstdint>
#include <vector>

namespace recon::adam {

// A parameter [rows, width] with its gradient and moments, updated in place.
struct Tensor {
  float* param;
  const float* grad;
  float *m, *v;
  int64_t rows, width;
  double rate;            // learning rate of all rows, used where row_rates is null
  const float* row_rates;  // learning rate per row [rows], or null
};

struct Step {
  double beta1, beta2, eps;
  int64_t step;           // counted from 1
  const uint8_t* active;  // rows to update [rows], shared by all tensors, or null for all
};

// Gradients beyond this are refused like NaN and Inf: their square would turn v into Inf and freeze the row for good.
inline constexpr float kLargestGradient = 1e18f;

// Updates all tensors in one parallel region; returns how many rows were skipped because their gradient is not usable.
int64_t update_all(const std::vector<Tensor>& tensors, const Step& step);

// Updates the numbers whose gradient is neither zero nor unusable, and sets the gradient to zero.
void update_touched(float* param, float* grad, float* m, float* v, int64_t count, double rate, const Step& step);

}  // namespace recon::adam
