// Correlations of a picture with others plane by plane, on the CPU.
#pragma once

#include "sweep/sweep.h"

namespace recon::sweep {

void correlate(const Sweep& s, float* scores);  // [planes, height, width]

}  // namespace recon::sweep
