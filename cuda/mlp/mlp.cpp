// CPU driver: blocks of rows small enough for the nearest caches; the hidden layers never reach memory. The backward
// pass computes them again. Weight gradients are summed in a fixed number of parts, whatever the number of threads.
// What rows share (the direction of a ray) goes through the first layer once for all neighbouring rows that share it.
#include "mlp/mlp.h"

#include <algorithm>
#include <cstring>

#include "core/parallel.h"
#include "mlp/mlp_cpu.h"
#include "mlp/product.h"

namespace recon::mlp {

namespace {

constexpr int kBlock = 96;  // rows
constexpr int kParts = 8;   // of the weight gradient

int padded(int n) { return (n + kLanes - 1) / kLanes * kLanes; }

// Weights with rows padded to the lanes, and transposed ones for the backward pass.
template <class S>
struct layer {
  int in, out;
  std::vector<S> weight, bias, transposed;

  layer(const S* p, int in, int out, bool backward)
      : in(in), out(out), weight(int64_t(in) * padded(out)), bias(padded(out)) {
    for (int i = 0; i < in; ++i) std::copy(p + int64_t(i) * out, p + int64_t(i + 1) * out, &weight[i * padded(out)]);
    std::copy(p + int64_t(in) * out, p + int64_t(in + 1) * out, bias.begin());
    if (!backward) return;
    transposed.resize(int64_t(out) * padded(in));
    for (int i = 0; i < in; ++i)
      for (int j = 0; j < out; ++j) transposed[j * padded(in) + i] = p[int64_t(i) * out + j];
  }
};

template <class S>
std::vector<layer<S>> layers_of(const network<S>& net, bool backward) {
  std::vector<layer<S>> layers;
  const S* p = net.parameters;
  for (size_t l = 0; l + 1 < net.sizes.size(); ++l) {
    layers.emplace_back(p, net.sizes[l], net.sizes[l + 1], backward);
    p += int64_t(net.sizes[l] + 1) * net.sizes[l + 1];
  }
  return layers;
}

// Inputs and results of every layer for one block of rows.
template <class S>
struct block {
  std::vector<std::vector<S>> at;  // at[0]: own inputs; at[l + 1]: results of layer l
  std::vector<S> shared, first;    // of each run: shared inputs, and their part of the first layer with its bias
  std::vector<int> begin;          // rows of run k, which share their inputs: begin[k] .. begin[k + 1]

  block(const std::vector<int>& sizes, int own) : shared(int64_t(kBlock) * padded(sizes[0] - own)) {
    at.emplace_back(int64_t(kBlock) * padded(own));
    for (size_t l = 1; l < sizes.size(); ++l) at.emplace_back(int64_t(kBlock) * padded(sizes[l]));
    first.resize(at[1].size());
  }
  int runs() const { return int(begin.size()) - 1; }

  void find_runs(const S* values, const int32_t* row, int more, int rows) {
    begin.clear();
    for (int i = 0; i < rows; ++i) {
      if (more ? i > 0 && row[i] == row[i - 1] : i > 0) continue;
      if (more)
        std::copy(values + int64_t(row[i]) * more, values + int64_t(row[i] + 1) * more,
                  &shared[int64_t(begin.size()) * padded(more)]);
      begin.push_back(i);
    }
    begin.push_back(rows);
  }

  void run(const network<S>& net, const std::vector<layer<S>>& layers, const S* x, const S* values, const int32_t* row,
           int64_t from, int rows) {
    using P = pack<S, kLanes>;
    const int own = net.own, more = net.sizes[0] - own;
    for (int i = 0; i < rows; ++i) std::copy(x + (from + i) * own, x + (from + i + 1) * own, &at[0][i * padded(own)]);
    find_runs(values, more ? row + from : nullptr, more, rows);
    for (size_t l = 0; l < layers.size(); ++l) {
      const layer<S>& a = layers[l];
      const int wide = padded(a.out), in = l ? a.in : own;
      S* y = at[l + 1].data();
      if (l == 0) {
        for (int k = 0; k < runs(); ++k) std::copy(a.bias.begin(), a.bias.end(), &first[int64_t(k) * wide]);
        product<P>(runs(), wide, more, shared.data(), padded(more), 1, a.weight.data() + int64_t(own) * wide, wide,
                   first.data(), wide, true);
        for (int k = 0; k < runs(); ++k)
          for (int i = begin[k]; i < begin[k + 1]; ++i)
            std::copy(&first[int64_t(k) * wide], &first[int64_t(k) * wide] + wide, y + int64_t(i) * wide);
      } else {
        for (int i = 0; i < rows; ++i) std::copy(a.bias.begin(), a.bias.end(), y + int64_t(i) * wide);
      }
      product<P>(rows, wide, in, at[l].data(), padded(in), 1, a.weight.data(), wide, y, wide, true);
      const bool last = l + 1 == layers.size();
      if (last && !net.squash) continue;
      for (int64_t i = 0; i < int64_t(rows) * wide; i += kLanes) {
        const P v = load<P>(y + i);
        store(y + i, last ? bounded_sigmoid(v) : relu(v));
      }
    }
  }
};

}  // namespace

int64_t parameter_count(const std::vector<int>& sizes) {
  int64_t n = 0;
  for (size_t l = 0; l + 1 < sizes.size(); ++l) n += int64_t(sizes[l] + 1) * sizes[l + 1];
  return n;
}

template <class S>
void forward(const network<S>& net, const S* x, const S* shared, const int32_t* row, int64_t count, S* y) {
  const auto layers = layers_of(net, false);
  const int outputs = net.sizes.back();
  parallel_ranges(count, 16 * kBlock, [&](int64_t begin, int64_t end) {
    block<S> b(net.sizes, net.own);
    for (int64_t from = begin; from < end; from += kBlock) {
      const int rows = int(std::min<int64_t>(kBlock, end - from));
      b.run(net, layers, x, shared, row, from, rows);
      for (int i = 0; i < rows; ++i) {
        const S* r = &b.at.back()[int64_t(i) * padded(outputs)];
        std::copy(r, r + outputs, y + (from + i) * outputs);
      }
    }
  });
}

template <class S>
void backward(const network<S>& net, const S* x, const S* shared, const int32_t* row, int64_t count, const S* g_y,
              S* g_x, S* g_parameters) {
  using P = pack<S, kLanes>;
  const auto layers = layers_of(net, true);
  const int outputs = net.sizes.back();
  const int64_t blocks = (count + kBlock - 1) / kBlock;
  // Per part and layer: weight gradient [in, padded out], then bias gradient [padded out].
  std::vector<std::vector<std::vector<S>>> parts(kParts);
  parallel_for(kParts, [&](int64_t p) {
    auto& sums = parts[p];
    for (const auto& a : layers) sums.emplace_back(int64_t(a.in + 1) * padded(a.out));
    block<S> b(net.sizes, net.own), g(net.sizes, net.own);
    for (int64_t k = blocks * p / kParts; k < blocks * (p + 1) / kParts; ++k) {
      const int64_t from = k * kBlock;
      const int rows = int(std::min<int64_t>(kBlock, count - from));
      b.run(net, layers, x, shared, row, from, rows);
      const int wide_out = padded(outputs);
      for (int i = 0; i < rows; ++i) {
        S* to = &g.at.back()[int64_t(i) * wide_out];
        std::fill(to, to + wide_out, S(0));
        for (int j = 0; j < outputs; ++j) {
          const S v = g_y[(from + i) * outputs + j];
          to[j] = net.squash ? sigmoid_backward(b.at.back()[int64_t(i) * wide_out + j], v) : v;
        }
      }
      for (int l = int(layers.size()) - 1; l >= 0; --l) {
        const layer<S>& a = layers[l];
        const int wide = padded(a.out), deep = padded(a.in);
        S *g_out = g.at[l + 1].data(), *g_in = g.at[l].data();
        if (l + 1 < int(layers.size()))
          for (int64_t i = 0; i < int64_t(rows) * wide; i += kLanes)
            store(g_out + i, relu_backward(load<P>(&b.at[l + 1][i]), load<P>(g_out + i)));
        const int in = l ? a.in : net.own, deep_in = padded(in);
        product<P>(in, wide, rows, b.at[l].data(), 1, deep_in, g_out, wide, sums[l].data(), wide, true);
        S* g_bias = &sums[l][int64_t(a.in) * wide];
        for (int i = 0; i < rows; ++i)
          for (int j = 0; j < wide; j += kLanes)
            store(g_bias + j, load<P>(g_bias + j) + load<P>(g_out + int64_t(i) * wide + j));
        product<P>(rows, deep_in, a.out, g_out, wide, 1, a.transposed.data(), deep, g_in, deep_in, false);
        if (l > 0 || in == a.in) continue;
        for (int k = 0; k < b.runs(); ++k)  // what a run shares gets the sum of its rows
          for (int j = 0; j < wide; j += kLanes) {
            P sum(S(0));
            for (int i = b.begin[k]; i < b.begin[k + 1]; ++i) sum = sum + load<P>(g_out + int64_t(i) * wide + j);
            store(&b.first[int64_t(k) * wide + j], sum);
          }
        product<P>(a.in - in, wide, b.runs(), b.shared.data(), 1, padded(a.in - in), b.first.data(), wide,
                   &sums[0][int64_t(in) * wide], wide, true);
      }
      const int stride = padded(net.own);
      for (int i = 0; i < rows; ++i) {
        const S* r = &g.at[0][int64_t(i) * stride];
        std::copy(r, r + net.own, g_x + (from + i) * net.own);
      }
    }
  });
  S* to = g_parameters;
  for (size_t l = 0; l < layers.size(); ++l) {
    const layer<S>& a = layers[l];
    for (int i = 0; i <= a.in; ++i)
      for (int j = 0; j < a.out; ++j, ++to)
        for (int p = 0; p < kParts; ++p) *to += parts[p][l][int64_t(i) * padded(a.out) + j];
  }
}

#define RECON_INSTANTIATE(S)                                                                    \
  template void forward<S>(const network<S>&, const S*, const S*, const int32_t*, int64_t, S*); \
  template void backward<S>(const network<S>&, const S*, const S*, const int32_t*, int64_t, const S*, S*, S*);
RECON_INSTANTIATE(float)
RECON_INSTANTIATE(double)
#undef RECON_INSTANTIATE

}  // namespace recon::mlp
