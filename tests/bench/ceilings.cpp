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

static double fma_rate(int threads) {  // GFLOP/s: 12 independent chains hide the latency
  constexpr int kChains = 12, kSteps = 4'000'000;
  double best = 0;
  for (int repeat = 0; repeat < 5; ++repeat) {
    const auto begin = clock_type::now();
#pragma omp parallel num_threads(threads)
    {
      lanes x[kChains], a, b;
      volatile float scale = 0.999f, shift = 1e-3f;  // unknown to the compiler
      for (int i = 0; i < 16; ++i) a[i] = scale, b[i] = shift;
      for (auto& v : x) v = a * scale;
      for (int s = 0; s < kSteps; ++s) {
#pragma GCC unroll 12
        for (int i = 0; i < kChains; ++i) {
          x[i] = x[i] * a + b;
          asm volatile("" : "+v"(x[i]));  // keeps every multiply-add
        }
      }
      volatile float sink = 0;
      for (auto& v : x) sink = sink + v[0];
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
