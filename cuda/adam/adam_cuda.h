// What the CUDA driver of Adam offers to bind.cu; see adam_cpu.h for the meaning.
#pragma once

#include "adam/adam.h"
#include "core/device.h"

namespace recon::gpu {

struct adam_tensor {
  float* param;
  const float* grad;
  float *m, *v;
  int64_t rows, width;
  double rate;             // of all rows, used where row_rates is null
  const float* row_rates;  // [rows] or null
};

struct adam_step {
  double beta1, beta2, eps;
  int64_t step;  // counted from 1
};

// Updates the rows that `active` [rows] names (null: all) and whose gradient is usable; adds the others among them to
// *skipped. Scratch: `chosen` [rows] bytes.
void adam(const adam_tensor& tensor, const adam_step& step, const uint8_t* active, uint8_t* chosen, int* skipped,
          stream_t stream);

// Updates the numbers whose gradient is neither zero nor unusable, and sets the gradient to zero.
void adam_touched(float* param, float* grad, float* m, float* v, int64_t count, double rate, const adam_step& step,
                  stream_t stream);

}  // namespace recon::gpu
