// Adam on the CPU: bound by memory, so everything about a block of rows is done while it is in the first cache:
// check its gradient, choose the rows, update. Blocks of all tensors are handed to the threads in one region.
#include "adam/adam_cpu.h"

#include <algorithm>
#include <cmath>

#include "adam/adam.h"
#include "core/pack.h"
#include "core/parallel.h"

namespace recon::adam {
namespace {

constexpr int64_t kBlockFloats = 2048;
constexpr int kLongRow = 2 * kLanes;  // a row at least this wide is worth walking by itself

struct Block {
  const Tensor* tensor;
  int64_t row0, row1;
};

// NaN compares false, so it fails too.
bool usable(const float* grad, int64_t count) {
  int bad = 0;
  for (int64_t i = 0; i < count; ++i) bad += !(std::fabs(grad[i]) < kLargestGradient);
  return bad == 0;
}

alignas(64) constexpr float kLaneIndex[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
static_assert(kLanes <= 16);

struct Rates {  // learning rates of a run of numbers: one for all, or one each (readable a pack past the end)
  float all;
  const float* each;
};

class Updater {
 public:
  Updater(const Step& step)
      : bias1_(1 - std::pow(step.beta1, double(step.step))),
        scalar_{float(step.beta1),
                float(1 - step.beta1),
                float(step.beta2),
                float(1 - step.beta2),
                float(1 / std::sqrt(1 - std::pow(step.beta2, double(step.step)))),
                float(step.eps)} {}

  float rate(double lr) const { return float(lr / bias1_); }

  // Updates numbers [begin, end) of the tensor; those up to `limit` belong to the same thread. Lanes past the end are
  // written back as they were where they are ours, for that is far quicker than gathering part of a pack.
  void run(const Tensor& t, int64_t begin, int64_t end, int64_t limit, const Rates& rates) const {
    const Constants<lanes> c = constants();
    int64_t i = begin;
    for (; i + kLanes <= end; i += kLanes) {
      lanes p = load<lanes>(t.param + i), m = load<lanes>(t.m + i), v = load<lanes>(t.v + i);
      const lanes rate = rates.each ? load<lanes>(rates.each + (i - begin)) : lanes(rates.all);
      update(p, m, v, load<lanes>(t.grad + i), rate, c);
      store<lanes>(t.param + i, p);
      store<lanes>(t.m + i, m);
      store<lanes>(t.v + i, v);
    }
    if (i == end) return;
    const auto take = load<lanes>(kLaneIndex) < lanes(float(end - i));
    run_lanes(t, i, int(std::min<int64_t>(kLanes, limit - i)), rates, i - begin, take, c);
  }

  // The same for short rows of which some are left alone: all lanes are computed, those of idle rows keep their bits.
  void run_some(const Tensor& t, int64_t begin, int64_t end, const Rates& rates, const float* chosen) const {
    const Constants<lanes> c = constants();
    const lanes half(0.5f);
    for (int64_t i = begin; i < end; i += kLanes) {
      const int count = int(std::min<int64_t>(kLanes, end - i));
      run_lanes(t, i, count, rates, i - begin, load<lanes>(chosen + (i - begin)) > half, c);
    }
  }

 private:
  // Updates the lanes of one pack that `take` names; `count` lanes may be touched. `offset` is into rates.each.
  static void run_lanes(const Tensor& t, int64_t i, int count, const Rates& rates, int64_t offset, mask_of<lanes> take,
                        const Constants<lanes>& c) {
    const bool full = count == kLanes;
    const auto get = [&](const float* a) { return full ? load<lanes>(a) : load_part<lanes>(a, count); };
    const lanes p0 = get(t.param + i), m0 = get(t.m + i), v0 = get(t.v + i);
    lanes p = p0, m = m0, v = v0;
    const lanes rate = rates.each ? load<lanes>(rates.each + offset) : lanes(rates.all);
    update(p, m, v, get(t.grad + i), rate, c);
    const auto put = [&](float* a, const lanes& value, const lanes& old) {
      const lanes kept = select(take, value, old);
      full ? store<lanes>(a, kept) : store_part<lanes>(a, kept, count);
    };
    put(t.param + i, p, p0);
    put(t.m + i, m, m0);
    put(t.v + i, v, v0);
  }

  Constants<lanes> constants() const {
    return {lanes(scalar_.beta1),           lanes(scalar_.one_minus_beta1), lanes(scalar_.beta2),
            lanes(scalar_.one_minus_beta2), lanes(scalar_.inverse_root),    lanes(scalar_.eps)};
  }
  double bias1_;
  Constants<float> scalar_;
};

// Updates the chosen rows of one block; returns how many of them had an unusable gradient.
int64_t update_block(const Block& block, const Step& step, const Updater& updater) {
  const Tensor& t = *block.tensor;
  const int64_t rows = block.row1 - block.row0, begin = block.row0 * t.width, end = block.row1 * t.width;
  const auto row_rate = [&](int64_t row) { return updater.rate(t.row_rates[row]); };
  if (t.width >= kBlockFloats) {  // one row per block: no room for per-number buffers, and no need of them
    if (step.active && !step.active[block.row0]) return 0;
    if (!usable(t.grad + begin, end - begin)) return 1;
    updater.run(t, begin, end, end, {t.row_rates ? row_rate(block.row0) : updater.rate(t.rate), nullptr});
    return 0;
  }
  alignas(64) float rates[kBlockFloats + kLanes];
  if (t.row_rates) {
    for (int64_t r = 0; r < rows; ++r) std::fill_n(rates + r * t.width, t.width, row_rate(block.row0 + r));
  }
  const Rates all{updater.rate(t.rate), t.row_rates ? rates : nullptr};

  uint8_t chosen[kBlockFloats];
  int64_t count = rows, skipped = 0;
  if (step.active) {
    count = 0;
    for (int64_t r = 0; r < rows; ++r) count += chosen[r] = step.active[block.row0 + r] != 0;
    if (count == 0) return 0;
  } else {
    std::fill_n(chosen, rows, uint8_t(1));
  }
  // Few long rows are walked one by one; otherwise it is quicker to stream the whole block and keep the idle lanes.
  const bool by_row = t.width >= kLongRow && count * 4 < rows;
  const bool sound = !by_row && usable(t.grad + begin, end - begin);
  if (!sound) {
    for (int64_t r = 0; r < rows; ++r) {
      if (!chosen[r] || usable(t.grad + begin + r * t.width, t.width)) continue;
      chosen[r] = 0;
      ++skipped;
    }
    count -= skipped;
  }
  if (count == 0) return skipped;
  if (count == rows) {
    updater.run(t, begin, end, end, all);
  } else if (by_row) {
    for (int64_t r = 0, last; r < rows; r = last) {
      last = r + 1;
      if (!chosen[r]) continue;
      while (last < rows && chosen[last]) ++last;
      const Rates some{all.all, all.each ? all.each + r * t.width : nullptr};
      updater.run(t, begin + r * t.width, begin + last * t.width, end, some);
    }
  } else {
    alignas(64) float take[kBlockFloats + kLanes];
    for (int64_t r = 0, i = 0; r < rows; ++r)
      for (int64_t j = 0; j < t.width; ++j) take[i++] = float(chosen[r]);
    updater.run_some(t, begin, end, all, take);
  }
  return skipped;
}

}  // namespace

int64_t update_all(const std::vector<Tensor>& tensors, const Step& step) {
  std::vector<Block> blocks;
  for (const Tensor& t : tensors) {
    if (t.width == 0) continue;
    const int64_t rows = std::max<int64_t>(1, kBlockFloats / t.width);
    for (int64_t r = 0; r < t.rows; r += rows) blocks.push_back({&t, r, std::min(r + rows, t.rows)});
  }
  const Updater updater(step);
  std::vector<int32_t> skipped(blocks.size());
  // Several blocks at a time, in order: neighbours stay with one thread and pages are walked forwards.
  parallel_ranges(int64_t(blocks.size()), 16, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) skipped[i] = int32_t(update_block(blocks[i], step, updater));
  });
  int64_t total = 0;
  for (const int32_t s : skipped) total += s;
  return total;
}

}  // namespace recon::adam
