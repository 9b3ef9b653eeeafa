// Gaussians and their optimizer state as rows of plain arrays.
#pragma once

#include "record.h"

namespace recon {

// Parameters as rows; sh_rest holds `rest` coefficients x 3 per row.
template <class S>
struct gaussian_rows {
  S *mean, *log_scale, *quaternion, *logit, *sh0, *sh_rest;
  int rest;
};

struct adam_constants {
  float beta1, beta2, eps;
  float rate_scale;    // 1 / (1 - beta1^t)
  float inverse_root;  // 1 / sqrt(1 - beta2^t)
};

// A parameter with its moments, `width` numbers a row.
struct adam_rows {
  float *param, *m, *v;
  int width;
  float rate;
};

}  // namespace recon
