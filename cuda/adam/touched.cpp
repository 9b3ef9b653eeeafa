// Adam where most of a large gradient is zero (voxels that no ray of a step went through): numbers with a zero gradient
// keep value and moments, and the gradient is cleared on the way, so that one buffer serves all steps.
#include <cmath>

#include "adam/adam.h"
#include "adam/adam_cpu.h"
#include "core/pack.h"
#include "core/parallel.h"

namespace recon::adam {

void update_touched(float* param, float* grad, float* m, float* v, int64_t count, double rate, const Step& step) {
  using P = lanes;
  constexpr int L = kLanes;
  const double bias1 = 1.0 - std::pow(step.beta1, double(step.step)),
               bias2 = 1.0 - std::pow(step.beta2, double(step.step));
  const Constants<P> c{P(float(step.beta1)),     P(float(1 - step.beta1)),       P(float(step.beta2)),
                       P(float(1 - step.beta2)), P(float(1 / std::sqrt(bias2))), P(float(step.eps))};
  const P lr(float(rate / bias1)), zero(0.0f), limit(kLargestGradient);
  parallel_ranges(count, 1 << 16, [&](int64_t from, int64_t to) {
    int64_t i = from;
    for (; i + L <= to; i += L) {
      const P g = load<P>(grad + i);
      const auto some = (abs(g) > zero) & (abs(g) <= limit);
      if (!any(abs(g) > zero)) continue;
      if (any(some)) {
        const P p = load<P>(param + i), m0 = load<P>(m + i), v0 = load<P>(v + i);
        P p1 = p, m1 = m0, v1 = v0;
        update(p1, m1, v1, g, lr, c);
        store(param + i, select(some, p1, p));
        store(m + i, select(some, m1, m0));
        store(v + i, select(some, v1, v0));
      }
      store(grad + i, zero);
    }
    for (; i < to; ++i) {  // the last few, by the same lanes
      if (!(std::fabs(grad[i]) > 0 && std::fabs(grad[i]) <= kLargestGradient)) {
        grad[i] = 0;
        continue;
      }
      P p(param[i]), m1(m[i]), v1(v[i]);
      update(p, m1, v1, P(grad[i]), lr, c);
      float out[L];
      store(out, p);
      param[i] = out[0];
      store(out, m1);
      m[i] = out[0];
      store(out, v1);
      v[i] = out[0];
      grad[i] = 0;
    }
  });
}

}  // namespace recon::adam
