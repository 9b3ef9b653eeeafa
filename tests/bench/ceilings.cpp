// What this machine can do at best: multiply-adds per second and memory bandwidth, on 1 and on all threads.
// Build and run: g++ -O3 -march=native -fopenmp tests/bench/ceilings.cpp -o /tmp/ceilings && /tmp/ceilings
#include <omp.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <vector>

using clock_type = std::chrono::steady_clock;
typedef float lanes __attribute__((vector_size(64)));

static double seconds(const clock_type::time_point& since) {
  return std::chrono::duration<double>(clock_type::now() - since).count();
}

static double fma_rate(int threads) {  // GFLOP/s: 10 independent chains hide the latency
  constexpr int kChains = 10, kSteps = 4'000'000;
  double best = 0;
  for (int repeat = 0; repeat < 5; ++repeat) {
    const auto begin = clock_type::now();
#pragma omp parallel num_threads(threads)
    {
      volatile float scale = 0.999f, shift = 1e-3f;  // unknown to the compiler
      const lanes a = lanes{} + scale, b = lanes{} + shift;
      lanes x0 = a, x1 = x0 * a, x2 = x1 * a, x3 = x2 * a, x4 = x3 * a, x5 = x4 * a, x6 = x5 * a, x7 = x6 * a, x8 = x7 * a,
            x9 = x8 * a;
      for (int s = 0; s < kSteps; ++s) {
        x0 = x0 * a + b, x1 = x1 * a + b, x2 = x2 * a + b, x3 = x3 * a + b, x4 = x4 * a + b;
        x5 = x5 * a + b, x6 = x6 * a + b, x7 = x7 * a + b, x8 = x8 * a + b, x9 = x9 * a + b;
      }
      volatile float sink = (x0 + x1 + x2 + x3 + x4 + x5 + x6 + x7 + x8 + x9)[0];
      (void)sink;
    }
    best = std::max(best, 2.0 * 16 * kChains * kSteps * threads / seconds(begin) * 1e-9);
  }
  return best;
}

static double triad_rate(int threads) {  // GB/s of a[i] = b[i] + s c[i]
  const size_t n = size_t(1) << 25;
  std::vector<float> a(n), b(n, 1.0f), c(n, 2.0f);
  double best = 0;
  for (int repeat = 0; repeat < 5; ++repeat) {
    const auto begin = clock_type::now();
#pragma omp parallel for num_threads(threads) schedule(static)
    for (size_t i = 0; i < n; ++i) a[i] = b[i] + 3.0f * c[i];
    best = std::max(best, 3.0 * n * sizeof(float) / seconds(begin) * 1e-9);
  }
  return best;
}

int main() {
  const int all = omp_get_max_threads();
  for (int threads : {1, all}) {
    std::printf("%d thread%s: fused multiply-add %.0f GFLOP/s, triad %.1f GB/s\n", threads, threads > 1 ? "s" : "",
                fma_rate(threads), triad_rate(threads));
    if (all == 1) break;
  }
}
