// CUDA driver of small networks: one tiled matrix product for all three of a layer (forward, gradient of its input,
// gradient of its weights), layer by layer. What differs is where numbers are read and what is done with a result, which
// come in as functions. The sum over rows in a weight's gradient is cut into parts of one length, so that its order is
// fixed, and rows at the end that have no gradient change no bit.
#include "mlp/mlp.h"

#include "core/device.h"
#include "mlp/mlp_cuda.h"

namespace recon::gpu {
namespace {

constexpr int kTile = 64, kDeep = 16, kEach = 4;  // results of a block along both sides, per step, of a thread
constexpr int kSide = kTile / kEach, kThreads = kSide * kSide;
constexpr int64_t kRowsOfPart = 4096;

struct product_memory {
  float a[kDeep][kTile + 1], b[kDeep][kTile + 1];
};

// store(m, n, sum over k in [begin, end) of a(m, k) b(k, n)) for m < M, n < N. blockIdx: tiles along N, M, parts of K.
template <class A, class B, class Store>
__global__ void __launch_bounds__(kThreads, 4)  // no fewer registers for the sake of a fifth block: they would spill
    product_kernel(int64_t M, int N, int64_t K, int64_t part, A a, B b, Store store) {
  product_memory& memory = block_shared<product_memory>();
  const int thread = int(threadIdx.x), tx = thread % kSide, ty = thread / kSide;
  const int64_t m0 = int64_t(blockIdx.y) * kTile, begin = int64_t(blockIdx.z) * part;
  const int64_t end = begin + part < K ? begin + part : K;
  const int n0 = int(blockIdx.x) * kTile;
  float sum[kEach][kEach] = {};
  for (int64_t k0 = begin; k0 < end; k0 += kDeep) {
    for (int i = thread; i < kTile * kDeep; i += kThreads) {
      // Neighbouring threads read what lies together in memory: along k where rows hold k, along m or n elsewhere.
      const int ka = A::kAlongK ? i % kDeep : i / kTile, ma = A::kAlongK ? i / kDeep : i % kTile;
      const int kb = B::kAlongK ? i % kDeep : i / kTile, nb = B::kAlongK ? i / kDeep : i % kTile;
      memory.a[ka][ma] = m0 + ma < M && k0 + ka < end ? a(m0 + ma, k0 + ka) : 0.0f;
      memory.b[kb][nb] = n0 + nb < N && k0 + kb < end ? b(k0 + kb, n0 + nb) : 0.0f;
    }
    __syncthreads();
    for (int k = 0; k < kDeep; ++k)
      for (int i = 0; i < kEach; ++i)
        for (int j = 0; j < kEach; ++j)
          sum[i][j] = fma(memory.a[k][ty + kSide * i], memory.b[k][tx + kSide * j], sum[i][j]);
    __syncthreads();
  }
  for (int i = 0; i < kEach; ++i)
    for (int j = 0; j < kEach; ++j) {
      const int64_t m = m0 + ty + kSide * i;
      const int n = n0 + tx + kSide * j;
      if (m < M && n < N) store(m, n, sum[i][j]);
    }
}

template <class A, class B, class Store>
void product(int64_t M, int N, int64_t K, int64_t part, const A& a, const B& b, const Store& store, stream_t stream) {
  const int64_t parts = K > part ? (K + part - 1) / part : 1;
  const unsigned across = blocks_for(N, kTile), tall = 65535;
  for (int64_t m0 = 0; m0 < M; m0 += int64_t(tall) * kTile) {
    const int64_t rows = M - m0 < int64_t(tall) * kTile ? M - m0 : int64_t(tall) * kTile;
    launch(product_kernel<A, B, Store>, dim3(across, blocks_for(rows, kTile), unsigned(parts)), kThreads, stream, rows,
           N, K, part, a.from(m0), b, store.from(m0));
  }
}

// Rows of numbers, [.., width].
struct rows_of_matrix {
  static constexpr bool kAlongK = true;
  const float* at;
  int width;
  RECON_HD float operator()(int64_t m, int64_t k) const { return at[m * width + k]; }
  rows_of_matrix from(int64_t m) const { return {at + m * width, width}; }
};

// Inputs of the network: own ones, then those shared by many rows.
struct network_inputs {
  static constexpr bool kAlongK = true;
  const float *x, *shared;
  const int32_t* row;
  int own, all;
  RECON_HD float operator()(int64_t m, int64_t k) const {
    return k < own ? x[m * own + k] : shared[int64_t(row[m]) * (all - own) + k - own];
  }
  network_inputs from(int64_t m) const { return {x + m * own, shared, row ? row + m : row, own, all}; }
};

// [k][n] with n contiguous, and its transpose.
struct columns_of_matrix {
  static constexpr bool kAlongK = false;
  const float* at;
  int width;
  RECON_HD float operator()(int64_t k, int n) const { return at[k * width + n]; }
};
struct transposed_matrix {
  static constexpr bool kAlongK = true;
  const float* at;
  int width;
  RECON_HD float operator()(int64_t k, int n) const { return at[int64_t(n) * width + k]; }
};

// The inputs of a layer as the left side of the gradient of its weights: their transpose, and a row of ones for biases.
template <class Inputs>
struct inputs_and_one {
  static constexpr bool kAlongK = false;
  Inputs inputs;
  int width;
  RECON_HD float operator()(int64_t m, int64_t k) const { return m < width ? inputs(k, m) : 1.0f; }
  inputs_and_one from(int64_t) const { return *this; }  // never taller than a launch
};

enum class finish { plain, relu, sigmoid };
struct store_layer {
  const float* bias;
  float* y;
  int width;
  finish how;
  RECON_HD void operator()(int64_t m, int n, float sum) const {
    const float v = sum + bias[n];
    y[m * width + n] = how == finish::relu ? mlp::relu(v) : how == finish::sigmoid ? mlp::bounded_sigmoid(v) : v;
  }
  store_layer from(int64_t m) const { return {bias, y + m * width, width, how}; }
};

// Gradient of a layer's input; of the first only what belongs to the rows' own inputs, which are not rectified.
struct store_gradient {
  const float* y;  // what the layer below gave, or null
  float* g;
  int width;
  RECON_HD void operator()(int64_t m, int n, float sum) const {
    const int64_t i = m * width + n;
    g[i] = y ? mlp::relu_backward(y[i], sum) : sum;
  }
  store_gradient from(int64_t m) const { return {y ? y + m * width : y, g + m * width, width}; }
};

struct store_part {
  float* parts;
  int64_t size;
  int width;
  __device__ void operator()(int64_t m, int n, float sum) const { parts[blockIdx.z * size + m * width + n] = sum; }
  store_part from(int64_t) const { return *this; }
};

__global__ void add_parts(const float* parts, int64_t size, int64_t count, float* out) {
  const int64_t i = global_thread();
  if (i >= size) return;
  float sum = 0;
  for (int64_t p = 0; p < count; ++p) sum += parts[p * size + i];
  out[i] += sum;
}

__global__ void output_gradient(const float* y, const float* g_y, int64_t count, bool squash, float* g) {
  const int64_t i = global_thread();
  if (i < count) g[i] = squash ? mlp::sigmoid_backward(y[i], g_y[i]) : g_y[i];
}

// Calls body with the inputs of layer `l`, given the results of the layer below.
template <class Body>
void with_inputs(const network& net, int l, const float* x, const float* shared, const int32_t* row, const float* below,
                 const Body& body) {
  if (l == 0)
    body(network_inputs{x, shared, row, net.own, net.sizes[0]});
  else
    body(rows_of_matrix{below, net.sizes[l]});
}

void run_layer(const network& net, int l, const float* parameters, const float* x, const float* shared,
               const int32_t* row, const float* below, int64_t count, float* y, stream_t stream) {
  const int in = net.sizes[l], out = net.sizes[l + 1];
  const finish how = l + 1 < net.layers ? finish::relu : net.squash ? finish::sigmoid : finish::plain;
  with_inputs(net, l, x, shared, row, below, [&](const auto& inputs) {
    product(count, out, in, in, inputs, columns_of_matrix{parameters, out},
            store_layer{parameters + int64_t(in) * out, y, out, how}, stream);
  });
}

int widest(const int* sizes, int from, int to) {
  int most = 0;
  for (int l = from; l < to; ++l) most = sizes[l] > most ? sizes[l] : most;
  return most;
}

int64_t part_count(int64_t count) { return count > 0 ? (count + kRowsOfPart - 1) / kRowsOfPart : 1; }

}  // namespace

int64_t mlp_forward_scratch(const int* sizes, int layers, int64_t count) {
  return 2 * count * widest(sizes, 1, layers);
}

int64_t mlp_backward_scratch(const int* sizes, int layers, int64_t count) {
  int64_t results = 0, largest = 0;
  for (int l = 0; l < layers; ++l) {
    const int64_t weights = int64_t(sizes[l] + 1) * sizes[l + 1];
    largest = weights > largest ? weights : largest;
    results += sizes[l + 1];
  }
  return count * (results + 2 * widest(sizes, 1, layers + 1)) + part_count(count) * largest;
}

void mlp_forward(const network& net, const float* x, const float* shared, const int32_t* row, int64_t count, float* y,
                 float* scratch, stream_t stream) {
  const float *parameters = net.parameters, *below = nullptr;
  float* rooms[2] = {scratch, scratch + count * widest(net.sizes, 1, net.layers)};
  for (int l = 0; l < net.layers; ++l) {
    float* to = l + 1 < net.layers ? rooms[l % 2] : y;
    run_layer(net, l, parameters, x, shared, row, below, count, to, stream);
    parameters += int64_t(net.sizes[l] + 1) * net.sizes[l + 1];
    below = to;
  }
}

void mlp_backward(const network& net, const float* x, const float* shared, const int32_t* row, int64_t count,
                  const float* g_y, float* g_x, float* g_parameters, float* scratch, stream_t stream) {
  if (count == 0) return;
  const int* sizes = net.sizes;
  const float* result[8] = {};  // of the layer below: result[l] is the input of layer l
  const float* parameters = net.parameters;
  for (int l = 0; l < net.layers; ++l) {
    run_layer(net, l, parameters, x, shared, row, result[l], count, scratch, stream);
    parameters += int64_t(sizes[l] + 1) * sizes[l + 1];
    result[l + 1] = scratch;
    scratch += count * sizes[l + 1];
  }
  const int64_t room = count * widest(sizes, 1, net.layers + 1);
  float *g = scratch, *g_below = scratch + room, *parts = scratch + 2 * room;
  const int64_t outputs = count * sizes[net.layers], part = kRowsOfPart;
  launch(output_gradient, blocks_for(outputs, kThreads), kThreads, stream, result[net.layers], g_y, outputs, net.squash,
         g);
  g_parameters += parameters - net.parameters;
  for (int l = net.layers - 1; l >= 0; --l) {
    const int in = sizes[l], out = sizes[l + 1];
    const int64_t weights = int64_t(in + 1) * out;
    parameters -= weights, g_parameters -= weights;
    with_inputs(net, l, x, shared, row, result[l], [&](const auto& inputs) {
      using side = inputs_and_one<std::decay_t<decltype(inputs)>>;
      product(in + 1, out, count, part, side{inputs, in}, columns_of_matrix{g, out}, store_part{parts, weights, out},
              stream);
    });
    launch(add_parts, blocks_for(weights, kThreads), kThreads, stream, parts, weights, part_count(count), g_parameters);
    const int wanted = l ? in : net.own;
    if (wanted)
      product(count, wanted, out, out, rows_of_matrix{g, out}, transposed_matrix{parameters, out},
              store_gradient{result[l], l ? g_below : g_x, wanted}, stream);
    float* last = g;
    g = g_below, g_below = last;
  }
}

}  // namespace recon::gpu
