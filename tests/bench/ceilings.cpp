// What this machine can do at best: multiply-adds per second, memory bandwidth, cache lines fetched out of order, rows read
// from or added to where they lie in the nearest cache, exponentials, logarithms, divisions and running sums over lanes, and the loops that splatting cannot do without on
// the simplest data there is. Nothing here shares code with a kernel.
// Alone: g++ -O3 -march=native -fopenmp tests/bench/ceilings.cpp -o /tmp/ceilings && /tmp/ceilings
// volume_bench.py and step_floor.py build it as a library and ask it about the very work that a kernel has.
#include <immintrin.h>
#include <omp.h>
#include <time.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <random>
#include <type_traits>
#include <utility>
#include <vector>

typedef float lanes __attribute__((vector_size(64)));
typedef int32_t whole __attribute__((vector_size(64)));
constexpr int kLanes = 16;

// Processor time of this thread: right beside other work, and with several threads as long as all work equally.
static double processor_seconds() {
  timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return double(t.tv_sec) + 1e-9 * double(t.tv_nsec);
}
// Shortest of some calls, in seconds of processor time.
template <class Body>
static double shortest(int repeats, const Body& body) {
  double best = 1e30;
  for (int i = 0; i < repeats; ++i) {
    const double begin = processor_seconds();
    body();
    best = std::min(best, processor_seconds() - begin);
  }
  return best;
}

static double fma_rate(int threads) {  // GFLOP/s: 10 independent chains hide the latency
  constexpr int kChains = 10, kSteps = 2'000'000;
  double best = 0;
  for (int repeat = 0; repeat < 5; ++repeat) {
    const double begin = processor_seconds();
#pragma omp parallel num_threads(threads)
    {
      volatile float scale = 0.999f, shift = 1e-3f;  // unknown to the compiler
      const lanes a = lanes{} + scale, b = lanes{} + shift;
      lanes x0 = a, x1 = x0 * a, x2 = x1 * a, x3 = x2 * a, x4 = x3 * a, x5 = x4 * a, x6 = x5 * a, x7 = x6 * a,
            x8 = x7 * a, x9 = x8 * a;
      for (int s = 0; s < kSteps; ++s) {
        x0 = x0 * a + b, x1 = x1 * a + b, x2 = x2 * a + b, x3 = x3 * a + b, x4 = x4 * a + b;
        x5 = x5 * a + b, x6 = x6 * a + b, x7 = x7 * a + b, x8 = x8 * a + b, x9 = x9 * a + b;
        asm volatile("" : "+v"(x0), "+v"(x1), "+v"(x2), "+v"(x3), "+v"(x4));  // every lane counts
        asm volatile("" : "+v"(x5), "+v"(x6), "+v"(x7), "+v"(x8), "+v"(x9));
      }
      volatile float sink = (x0 + x1 + x2 + x3 + x4 + x5 + x6 + x7 + x8 + x9)[0];
      (void)sink;
    }
    best = std::max(best, 2.0 * 16 * kChains * kSteps * threads / (processor_seconds() - begin) * 1e-9);
  }
  return best;
}

static double triad_rate(int threads) {  // GB/s of a[i] = b[i] + s c[i]
  const size_t n = size_t(1) << 25;
  std::vector<float> a(n), b(n, 1.0f), c(n, 2.0f);
  double best = 0;
  for (int repeat = 0; repeat < 5; ++repeat) {
    const double begin = processor_seconds();
#pragma omp parallel for num_threads(threads) schedule(static)
    for (size_t i = 0; i < n; ++i) a[i] = b[i] + 3.0f * c[i];
    best = std::max(best, 3.0 * n * sizeof(float) / (processor_seconds() - begin) * 1e-9);
  }
  return best;
}

// The lines which[0 .. count) of `memory` one after another, asked for `Ahead` of their use.
template <int Ahead, bool Write>
static void visit(char* memory, const int32_t* which, int64_t count) {
  __m128i all = _mm_setzero_si128();
  volatile int zero = 0;  // unknown to the compiler
  const __m128i nothing = _mm_set1_epi32(zero);
  for (int64_t i = 0; i < count; ++i) {
    if (Ahead) _mm_prefetch(memory + 64 * int64_t(which[std::min(i + Ahead, count - 1)]), _MM_HINT_T0);
    auto* at = reinterpret_cast<__m128i*>(memory + 64 * int64_t(which[i]));
    const __m128i v = _mm_load_si128(at);
    if (Write)
      _mm_store_si128(at, _mm_or_si128(v, nothing));
    else
      all = _mm_or_si128(all, v);
  }
  volatile int sink = _mm_cvtsi128_si32(all);
  (void)sink;
}

// A loop of `Step` over 1,024 numbers that stay in the nearest cache: nanoseconds per number.
template <class Step>
static double lane_ns(const Step& step) {
  alignas(64) static float in[1024], out[1024];
  for (int i = 0; i < 1024; ++i) in[i] = 0.1f + 0.0009f * float(i);
  const int rounds = 2000;
  const double s = shortest(7, [&] {
    for (int r = 0; r < rounds; ++r) {
      for (int i = 0; i < 1024; i += kLanes)
        *reinterpret_cast<lanes*>(out + i) = step(*reinterpret_cast<const lanes*>(in + i));
      asm volatile("" ::: "memory");
    }
  });
  return s / (rounds * 1024.0) * 1e9;
}

// exp2 by splitting and a polynomial of degree 5; log2 by splitting and an odd series in (m - 1) / (m + 1): what a
// relative error of 1e-7 needs.
static lanes exp2_of(lanes x) {
  const lanes near = x - (lanes{} + 0.5f);
  const whole n = __builtin_convertvector(near, whole);
  const lanes f = x - __builtin_convertvector(n, lanes);
  lanes p = f * 0.0013276f + 0.0096755f;
  p = p * f + 0.0555071f;
  p = p * f + 0.2402212f;
  p = p * f + 0.6931470f;
  p = p * f + 1.0f;
  return p * (lanes)((n + 127) << 23);
}
static lanes log2_of(lanes x) {
  const whole shifted = (whole)x - 0x3f3504f3, e = shifted >> 23;
  const lanes m = (lanes)((whole)x - (e << 23)), t = (m - 1.0f) / (m + 1.0f), t2 = t * t;
  lanes p = t2 * 0.3205989f + 0.4121986f;
  p = p * t2 + 0.5770780f;
  p = p * t2 + 0.9617967f;
  p = p * t2 + 2.8853900f;
  return p * t + __builtin_convertvector(e, lanes);
}
// Sums over lanes 0 .. i: four shifted additions.
static lanes scan_of(lanes x) {
  const whole from = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  const lanes none{};
  x += __builtin_shuffle(none, x, from + 15);
  x += __builtin_shuffle(none, x, from + 14);
  x += __builtin_shuffle(none, x, from + 12);
  x += __builtin_shuffle(none, x, from + 8);
  return x;
}

static float sum_of(lanes x) {
  const whole from = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  for (int half : {8, 4, 2, 1}) x += __builtin_shuffle(x, from ^ half);
  return x[0];
}
// Rows of `Width` numbers at unrelated places of the nearest cache: eight of them, each times a number of its own, added up;
// or (Add) the other way round, one row times eight numbers added to eight rows. Nanoseconds per row.
template <int Width, bool Add>
static double row_ns() {
  typedef float row __attribute__((vector_size(4 * Width)));
  constexpr int kRows = 4096 / Width, kVisits = 4096;
  alignas(64) static float table[4096], weight[kVisits], sums[kVisits / 8 * Width];
  static int32_t which[kVisits];
  std::mt19937 random(0);
  for (auto& w : which) w = int32_t(random() % kRows);
  for (int i = 0; i < kVisits; ++i) weight[i] = 1e-6f * float(i % 7);
  const int rounds = 100;
  const double s = shortest(9, [&] {
    for (int r = 0; r < rounds; ++r) {
      for (int i = 0; i < kVisits; i += 8) {
        row* out = reinterpret_cast<row*>(sums + i / 8 * Width);
        row sum{}, given = *out;
        for (int k = 0; k < 8; ++k) {
          row* at = reinterpret_cast<row*>(table + which[i + k] * Width);
          if (Add)
            *at += weight[i + k] * given;
          else
            sum += weight[i + k] * *at;
        }
        if (!Add) *out = sum;
      }
      asm volatile("" ::: "memory");
    }
  });
  return s / (double(rounds) * kVisits) * 1e9;
}

// Of 1,024 numbers in the nearest cache those whose byte is zero, one after another: nanoseconds per number that is looked
// at. Every second one in no order.
static double choose_ns() {
  alignas(64) static float in[1024], out[1024 + kLanes];
  alignas(64) static uint8_t byte[1024];
  std::mt19937 random(0);
  for (int i = 0; i < 1024; ++i) in[i] = float(i), byte[i] = uint8_t(random() & 1);
  const int rounds = 2000;
  const double s = shortest(7, [&] {
    for (int r = 0; r < rounds; ++r) {
      int n = 0;
#ifdef __AVX512BW__
      for (int i = 0; i < 1024; i += kLanes) {
        const __m128i b = _mm_load_si128(reinterpret_cast<const __m128i*>(byte + i));
        const __mmask16 kept = _mm_testn_epi8_mask(b, b);
        _mm512_storeu_ps(out + n, _mm512_maskz_compress_ps(kept, _mm512_load_ps(in + i)));
        n += __builtin_popcount(kept);
      }
#else
      for (int i = 0; i < 1024; ++i) out[n] = in[i], n += byte[i] == 0;
#endif
      asm volatile("" ::: "memory");
    }
  });
  return s / (rounds * 1024.0) * 1e9;
}

// What alpha needs: a relative error of 2e-6. Sixteenths from a table where one instruction looks 16 of them up.
static lanes exp2_of_alpha(lanes x) {
#ifdef __AVX512F__
  alignas(64) static const float sixteenths[16] = {
      1.0f,       1.0442738f, 1.0905077f, 1.1387886f, 1.1892071f, 1.2418578f, 1.2968396f, 1.3542556f,
      1.4142135f, 1.4768262f, 1.5422108f, 1.6104903f, 1.6817929f, 1.7562522f, 1.8340081f, 1.9152066f};
  const __m512 rounded = _mm512_roundscale_ps(x, 4 << 4);  // to the nearest sixteenth
  const lanes f = x - rounded, p = (f * 0.2402265f + 0.6931472f) * f + 1.0f;
  const __m512i which = _mm512_cvttps_epi32(_mm512_mul_ps(rounded, _mm512_set1_ps(16)));
  const __m512 part = _mm512_permutexvar_ps(which, _mm512_load_ps(sixteenths));
  return _mm512_scalef_ps(_mm512_mul_ps(p, part), rounded);
#else
  return exp2_of(x);
#endif
}

// Blocks of 16 pixels that Gaussians cross, all in the nearest cache, every lane contributing: `kBlocks` for each.
namespace dense {
constexpr int kGaussians = 64, kBlocks = 8;
struct Gaussian {
  float mx, my, a, b, c, log2_opacity, rgb[3];
};
struct Tile {
  alignas(64) lanes x[kBlocks], y[kBlocks], t[kBlocks], behind[kBlocks], colour[3][kBlocks];
  Gaussian gaussians[kGaussians];
  float sums[kGaussians][9];
};

static void prepare(Tile& tile) {
  std::mt19937 random(0);
  std::uniform_real_distribution<float> unit(0, 1);
  for (int k = 0; k < kBlocks; ++k)
    for (int i = 0; i < kLanes; ++i) {
      tile.x[k][i] = float(k % 4 * 4 + i % 4) + 0.5f, tile.y[k][i] = float(k / 4 * 4 + i / 4) + 0.5f;
      tile.behind[k][i] = 0.5f;
      for (auto& channel : tile.colour) channel[k][i] = 0.1f + unit(random);
    }
  for (auto& g : tile.gaussians)
    g = {
        16 * unit(random), 8 * unit(random), 0.004f, 0.001f, 0.004f, -4.0f, {unit(random), unit(random), unit(random)}};
}
static void restart(Tile& tile) {
  for (auto& t : tile.t) t = lanes{} + 1.0f;
}

struct Alpha {
  lanes dx, dy, alpha;
};
static inline Alpha alpha_of(const Tile& tile, const Gaussian& g, int k) {
  const lanes dx = tile.x[k] - g.mx, dy = tile.y[k] - g.my;
  const lanes power = g.log2_opacity - ((dx * g.a + dy * g.b) * dx + dy * dy * g.c);
  const lanes alpha = exp2_of_alpha(power);
  const lanes bounded = alpha < 0.99f ? alpha : lanes{} + 0.99f;
  return {dx, dy, bounded >= 1.0f / 255.0f ? bounded : lanes{}};
}

static void forward(Tile& tile) {
  for (const Gaussian& g : tile.gaussians)
    for (int k = 0; k < kBlocks; ++k) {
      const lanes w = alpha_of(tile, g, k).alpha * tile.t[k];
      tile.t[k] -= w;
      for (int c = 0; c < 3; ++c) tile.colour[c][k] += w * g.rgb[c];
    }
}

// Alpha again, what lies behind by subtraction, and nine sums: of colours, and of the exponent's gradient times 1, dx,
// dy, dx^2, dx dy, dy^2. Lanes are added up once per Gaussian.
static void backward(Tile& tile) {
  for (int n = 0; n < kGaussians; ++n) {
    const Gaussian& g = tile.gaussians[n];
    lanes sum[9] = {};
    for (int k = 0; k < kBlocks; ++k) {
      const Alpha at = alpha_of(tile, g, k);
      const lanes w = at.alpha * tile.t[k];
      const lanes own = tile.colour[0][k] * g.rgb[0] + tile.colour[1][k] * g.rgb[1] + tile.colour[2][k] * g.rgb[2];
      const lanes left = tile.t[k] - w;
      const lanes behind = tile.behind[k] - w * own;
      const lanes d = w * own - at.alpha * behind / (1.0f - at.alpha);
      tile.t[k] = left, tile.behind[k] = behind;
      for (int c = 0; c < 3; ++c) sum[c] += w * tile.colour[c][k];
      const lanes ux = d * at.dx, uy = d * at.dy;
      sum[3] += d, sum[4] += ux, sum[5] += uy;
      sum[6] += ux * at.dx, sum[7] += ux * at.dy, sum[8] += uy * at.dy;
    }
    for (int i = 0; i < 9; ++i) tile.sums[n][i] = sum_of(sum[i]);
  }
}
}  // namespace dense

// Sorts `count` random depths with their numbers, eleven bits a pass.
static void radix_sort(std::vector<uint64_t>& keys, std::vector<uint64_t>& spare) {
  for (int shift : {0, 11, 22}) {
    uint32_t at[2048] = {}, sum = 0;
    for (uint64_t k : keys) ++at[k >> shift & 2047];
    for (uint32_t& a : at) sum += std::exchange(a, sum);
    for (uint64_t k : keys) spare[at[k >> shift & 2047]++] = k;
    keys.swap(spare);
  }
}

extern "C" {
// Nanoseconds per pixel and Gaussian of compositing, or of its gradient.
double ceiling_composite(int backward) {
  static dense::Tile tile;
  dense::prepare(tile);
  const int rounds = 200;
  double spent = 1e30;
  for (int repeat = 0; repeat < 15; ++repeat) {
    const double s = shortest(1, [&] {
      for (int r = 0; r < rounds; ++r) {
        dense::restart(tile);
        backward ? dense::backward(tile) : dense::forward(tile);
        asm volatile("" ::: "memory");
      }
    });
    spent = std::min(spent, s);
  }
  return spent / (double(rounds) * dense::kGaussians * dense::kBlocks * kLanes) * 1e9;
}
// Nanoseconds of sorting `count` Gaussians by depth and putting `entries` of them into the lists of `tiles`.
double ceiling_lists(int64_t count, int64_t entries, int64_t tiles) {
  std::mt19937 random(0);
  std::vector<uint64_t> depths(count), keys(count), spare(count);
  for (int64_t i = 0; i < count; ++i) depths[i] = uint64_t(i) << 32 | random();
  std::vector<uint32_t> tile(entries), out(entries), begin(tiles + 1);
  for (auto& t : tile) t = uint32_t(random() % uint64_t(tiles));
  return 1e9 * shortest(9, [&] {
           keys = depths;
           radix_sort(keys, spare);
           std::fill(begin.begin(), begin.end(), 0);
           for (uint32_t t : tile) ++begin[t];
           uint32_t sum = 0;
           for (uint32_t& b : begin) sum += std::exchange(b, sum);
           const int64_t each = (entries + count - 1) / count;
           for (int64_t i = 0; i < count; ++i)
             for (int64_t j = i * each; j < std::min((i + 1) * each, entries); ++j)
               out[begin[tile[j]]++] = uint32_t(keys[i] >> 32);
           asm volatile("" ::: "memory");
         });
}
// Nanoseconds per line, the best of several distances of prefetching. Writing puts back what was there.
double ceiling_lines(void* memory, const int32_t* which, int64_t count, int write) {
  char* m = static_cast<char*>(memory);
  const auto run = [&](auto ahead) {
    constexpr int kAhead = decltype(ahead)::value;
    return shortest(5, [&] { write ? visit<kAhead, true>(m, which, count) : visit<kAhead, false>(m, which, count); });
  };
  double best = run(std::integral_constant<int, 0>{});
  best = std::min(best, run(std::integral_constant<int, 8>{}));
  best = std::min(best, run(std::integral_constant<int, 16>{}));
  best = std::min(best, run(std::integral_constant<int, 32>{}));
  best = std::min(best, run(std::integral_constant<int, 64>{}));
  return best / double(std::max<int64_t>(count, 1)) * 1e9;
}
// Nanoseconds per row of 1, 2, 4, 8 or 16 numbers, read or added to.
double ceiling_row(int width, int add) {
  switch (width) {
    case 1:
      return add ? row_ns<1, true>() : row_ns<1, false>();
    case 2:
      return add ? row_ns<2, true>() : row_ns<2, false>();
    case 4:
      return add ? row_ns<4, true>() : row_ns<4, false>();
    case 8:
      return add ? row_ns<8, true>() : row_ns<8, false>();
    default:
      return add ? row_ns<16, true>() : row_ns<16, false>();
  }
}
double ceiling_exp() { return lane_ns(exp2_of); }
double ceiling_log() { return lane_ns(log2_of); }
double ceiling_divide() {
  return lane_ns([](lanes x) { return 1.0f / x; });
}
double ceiling_scan() { return lane_ns(scan_of); }
double ceiling_choose() { return choose_ns(); }
double ceiling_fma() { return 2 / fma_rate(1); }  // nanoseconds each
double ceiling_stream() { return 1 / triad_rate(1); }  // nanoseconds per byte
}

// Every line of a table of so many bytes, in an order that is random.
static double random_lines(int64_t bytes, bool write) {
  const int64_t count = bytes / 64;
  char* memory = static_cast<char*>(std::aligned_alloc(4096, size_t(bytes)));
  std::fill(memory, memory + bytes, char(1));
  std::vector<int32_t> which(count);
  std::iota(which.begin(), which.end(), 0);
  std::shuffle(which.begin(), which.end(), std::mt19937(0));
  const int64_t most = std::min<int64_t>(count, 1 << 20);
  which.resize(most);
  while (which.size() < 1 << 15) which.insert(which.end(), which.begin(), which.begin() + most);  // long enough to time
  const double ns = ceiling_lines(memory, which.data(), int64_t(which.size()), write);
  std::free(memory);
  return ns;
}

int main() {
  const int all = omp_get_max_threads();
  for (int threads : {1, all}) {
    std::printf("%d thread%s: fused multiply-add %.0f GFLOP/s, triad %.1f GB/s\n", threads, threads > 1 ? "s" : "",
                fma_rate(threads), triad_rate(threads));
    if (all == 1) break;
  }
  std::printf(
      "random lines of 64 bytes, one thread, nanoseconds each (bytes that they lie in: read, read and written)\n");
  for (int64_t kib : {16, 256, 1024, 2048, 8192, 16384, 98304, 131072})
    std::printf("  %7lld KiB %6.2f %6.2f\n", static_cast<long long>(kib), random_lines(kib << 10, false),
                random_lines(kib << 10, true));
  std::printf("nanoseconds per number: exp %.3f, log %.3f, divide %.3f, running sum %.3f\n", ceiling_exp(),
              ceiling_log(), ceiling_divide(), ceiling_scan());
  std::printf("compositing, nanoseconds per pixel and Gaussian: %.3f, its gradient %.3f\n", ceiling_composite(0),
              ceiling_composite(1));
}
