// CUDA driver of L1 + SSIM: a block of 256 threads owns 32x32 pixels of one channel, filters rows, then columns, in
// shared memory. The first kernel leaves the adjoints of the window moments, the second filters them into the gradient.
#include "ssim/ssim.h"

#include "ssim/ssim_cuda.h"

namespace recon::gpu {
namespace {

constexpr int kThreads = 256, kWarps = kThreads / kWarp;
constexpr int kSide = kSsimTile + 2 * ssim::kRadius;  // tile and the window's reach around it

struct place {
  int x0, y0, channel;
};
__device__ inline place place_of_block() {
  return {int(blockIdx.x) * kSsimTile, int(blockIdx.y) * kSsimTile, int(blockIdx.z)};
}

__device__ inline float tap(int i) { return float(ssim::window_tap(i <= ssim::kRadius ? i : ssim::kTaps - 1 - i)); }

// Filters `planes` along rows: in [planes][side][side] -> out [planes][side][tile].
template <int PLANES>
__device__ void filter_rows(const float (&in)[PLANES][kSide][kSide], float (&out)[PLANES][kSide][kSsimTile]) {
  for (int i = int(threadIdx.x); i < kSide * kSsimTile; i += kThreads) {
    const int row = i / kSsimTile, col = i % kSsimTile;
    for (int p = 0; p < PLANES; ++p) {
      float sum = 0;
#pragma unroll
      for (int t = 0; t < ssim::kTaps; ++t) sum = fma(tap(t), in[p][row][col + t], sum);
      out[p][row][col] = sum;
    }
  }
}
template <int PLANES>
__device__ inline float filter_column(const float (&in)[PLANES][kSide][kSsimTile], int plane, int row, int col) {
  float sum = 0;
#pragma unroll
  for (int t = 0; t < ssim::kTaps; ++t) sum = fma(tap(t), in[plane][row + t][col], sum);
  return sum;
}

template <class T>
__device__ inline float value_of(T v) {
  return sizeof(T) == 1 ? float(v) * (1.0f / 255.0f) : float(v);
}

// Pixels as the loss sees them: black outside the picture and where the mask is 0.
template <class T>
__device__ inline bool read_pixel(const image_pair<T>& pair, int channel, int x, int y, float& image, float& target) {
  image = target = 0;
  if (x < 0 || y < 0 || x >= pair.width || y >= pair.height) return false;
  const int64_t pixel = int64_t(y) * pair.width + x, at = int64_t(channel) * pair.height * pair.width + pixel;
  if (pair.mask && !pair.mask[pixel]) return false;
  image = pair.image[at];
  target = value_of(pair.target[at]);
  return true;
}

struct moments_memory {
  float pixels[2][kSide][kSide];
  float rows[4][kSide][kSsimTile];
  float sums[kWarps][2];
};

// The rows of x, y, x^2 + y^2 and x y from the two planes of pixels.
__device__ inline void filter_moment_rows(moments_memory& memory) {
  for (int i = int(threadIdx.x); i < kSide * kSsimTile; i += kThreads) {
    const int row = i / kSsimTile, col = i % kSsimTile;
    float sum[4] = {};
#pragma unroll
    for (int t = 0; t < ssim::kTaps; ++t) {
      const float x = memory.pixels[0][row][col + t], y = memory.pixels[1][row][col + t], w = tap(t);
      sum[0] = fma(w, x, sum[0]);
      sum[1] = fma(w, y, sum[1]);
      sum[2] = fma(w, fma(x, x, y * y), sum[2]);
      sum[3] = fma(w, x * y, sum[3]);
    }
    for (int p = 0; p < 4; ++p) memory.rows[p][row][col] = sum[p];
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads) similarity(image_pair<T> pair, double* partial, float* adjoints) {
  moments_memory& memory = block_shared<moments_memory>();
  const place p = place_of_block();
  const int thread = int(threadIdx.x);
  for (int i = thread; i < kSide * kSide; i += kThreads)
    read_pixel(pair, p.channel, p.x0 + i % kSide - ssim::kRadius, p.y0 + i / kSide - ssim::kRadius,
               memory.pixels[0][i / kSide][i % kSide], memory.pixels[1][i / kSide][i % kSide]);
  __syncthreads();
  filter_moment_rows(memory);
  __syncthreads();
  const int64_t plane = int64_t(pair.height) * pair.width, all = plane * pair.channels;
  float l1 = 0, similar = 0;
  for (int i = thread; i < kSsimTile * kSsimTile; i += kThreads) {
    const int row = i / kSsimTile, col = i % kSsimTile, x = p.x0 + col, y = p.y0 + row;
    if (x >= pair.width || y >= pair.height) continue;
    const int64_t pixel = int64_t(y) * pair.width + x, at = p.channel * plane + pixel;
    const bool counts = !pair.mask || pair.mask[pixel];
    const ssim::Moments<float> m{filter_column(memory.rows, 0, row, col), filter_column(memory.rows, 1, row, col),
                                 filter_column(memory.rows, 2, row, col), filter_column(memory.rows, 3, row, col)};
    const ssim::Factors<float> f = ssim::factors(m);
    if (counts) {
      similar += ssim::similarity(f);
      l1 += abs(memory.pixels[0][row + ssim::kRadius][col + ssim::kRadius] -
                memory.pixels[1][row + ssim::kRadius][col + ssim::kRadius]);
    }
    if (!adjoints) continue;
    const ssim::Derivative<float> g = ssim::derivative(m, f);
    adjoints[at] = counts ? g.mean_x : 0;
    adjoints[all + at] = counts ? g.square : 0;
    adjoints[2 * all + at] = counts ? g.product : 0;
  }
  l1 = warp_sum(l1);
  similar = warp_sum(similar);
  if (lane_of(threadIdx.x) == 0) {
    memory.sums[thread / kWarp][0] = l1;
    memory.sums[thread / kWarp][1] = similar;
  }
  __syncthreads();
  if (thread >= 2) return;
  double sum = 0;
  for (int w = 0; w < kWarps; ++w) sum += double(memory.sums[w][thread]);
  const int64_t block = (int64_t(blockIdx.z) * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  partial[2 * block + thread] = sum;
}

struct gradient_memory {
  float adjoints[3][kSide][kSide];
  float rows[3][kSide][kSsimTile];
};

template <class T>
__global__ void __launch_bounds__(kThreads) gradient_kernel(image_pair<T> pair, float ssim_weight, const double* terms,
                                                            const float* adjoints, float* gradient) {
  gradient_memory& memory = block_shared<gradient_memory>();
  const place p = place_of_block();
  const int thread = int(threadIdx.x);
  const int64_t plane = int64_t(pair.height) * pair.width, all = plane * pair.channels;
  for (int i = thread; i < kSide * kSide; i += kThreads) {
    const int x = p.x0 + i % kSide - ssim::kRadius, y = p.y0 + i / kSide - ssim::kRadius;
    const bool inside = x >= 0 && y >= 0 && x < pair.width && y < pair.height;
    const int64_t at = inside ? p.channel * plane + int64_t(y) * pair.width + x : 0;
    for (int k = 0; k < 3; ++k) memory.adjoints[k][i / kSide][i % kSide] = inside ? adjoints[k * all + at] : 0;
  }
  __syncthreads();
  filter_rows<3>(memory.adjoints, memory.rows);
  __syncthreads();
  const double count = *terms > 1 ? *terms : 1;
  const float l1_scale = float((1 - double(ssim_weight)) / count), ssim_scale = float(-double(ssim_weight) / count);
  for (int i = thread; i < kSsimTile * kSsimTile; i += kThreads) {
    const int row = i / kSsimTile, col = i % kSsimTile, x = p.x0 + col, y = p.y0 + row;
    if (x >= pair.width || y >= pair.height) continue;
    float image, target;
    const bool counts = read_pixel(pair, p.channel, x, y, image, target);
    const ssim::Derivative<float> g{filter_column(memory.rows, 0, row, col), filter_column(memory.rows, 1, row, col),
                                    filter_column(memory.rows, 2, row, col)};
    const float total = fma(ssim_scale, ssim::pixel_gradient(image, target, g), l1_scale * ssim::sign(image - target));
    gradient[p.channel * plane + int64_t(y) * pair.width + x] = counts ? total : 0;
  }
}

struct total_memory {
  double sums[kThreads][2];
};

// One block adds the blocks' sums in fixed order.
__global__ void __launch_bounds__(kThreads)
    total_kernel(const double* partial, int64_t blocks, float ssim_weight, const double* terms, double* loss) {
  total_memory& memory = block_shared<total_memory>();
  const int thread = int(threadIdx.x);
  double l1 = 0, similar = 0;
  for (int64_t b = thread; b < blocks; b += kThreads) {
    l1 += partial[2 * b];
    similar += partial[2 * b + 1];
  }
  memory.sums[thread][0] = l1;
  memory.sums[thread][1] = similar;
  for (int half = kThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (thread < half)
      for (int k = 0; k < 2; ++k) memory.sums[thread][k] += memory.sums[thread + half][k];
  }
  if (thread != 0) return;
  const bool any = *terms > 0;  // nothing counted: a loss of 0
  const double mean_l1 = any ? memory.sums[0][0] / *terms : 0, mean_ssim = any ? memory.sums[0][1] / *terms : 1;
  loss[0] = any ? (1 - double(ssim_weight)) * mean_l1 + double(ssim_weight) * (1 - mean_ssim) : 0;
  loss[1] = mean_l1;
  loss[2] = mean_ssim;
}

}  // namespace

template <class T>
void photometric(const image_pair<T>& pair, float ssim_weight, const double* terms, double* partial, float* adjoints,
                 float* gradient, double* loss, stream_t stream) {
  const dim3 grid(blocks_for(pair.width, kSsimTile), blocks_for(pair.height, kSsimTile), unsigned(pair.channels));
  launch(similarity<T>, grid, kThreads, stream, pair, partial, gradient ? adjoints : nullptr);
  launch(total_kernel, 1, kThreads, stream, partial, ssim_blocks(pair.channels, pair.height, pair.width), ssim_weight,
         terms, loss);
  if (gradient) launch(gradient_kernel<T>, grid, kThreads, stream, pair, ssim_weight, terms, adjoints, gradient);
}

template void photometric(const image_pair<uint8_t>&, float, const double*, double*, float*, float*, double*, stream_t);
template void photometric(const image_pair<float>&, float, const double*, double*, float*, float*, double*, stream_t);

}  // namespace recon::gpu
