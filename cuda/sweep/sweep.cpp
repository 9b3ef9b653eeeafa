// Strips of rows are handed to the threads. In each, for every plane and other picture: what is seen there, sums of
// windows along rows, then down columns; a strip with the rows around it stays in the second cache.
#include "sweep/sweep.h"

#include <algorithm>
#include <vector>

#include "core/pack.h"
#include "core/parallel.h"
#include "sweep/sweep_cpu.h"

namespace recon::sweep {
namespace {

constexpr int64_t kStrip = 32;  // rows
constexpr int kMostHalf = kMostWindow / 2;

int64_t whole_packs(int64_t n) { return (n + kLanes - 1) / kLanes * kLanes; }

// Rows [first, last) of a strip with the rows that its windows reach; buffers hold `stride` numbers a row.
class Strip {
 public:
  Strip(const Sweep& s, int64_t begin, int64_t end)
      : s_(s),
        begin_(begin),
        end_(end),
        first_(begin > s.half ? begin - s.half : 0),
        last_(end + s.half < s.height ? end + s.half : s.height),
        stride_(whole_packs(s.width)),
        own_(stride_ + 2 * kMostHalf + kLanes),
        other_row_(stride_ + 2 * kMostHalf + kLanes),
        x_(stride_),
        y_(stride_),
        spare_(stride_) {
    for (auto* rows : {&a_, &aa_, &b_, &bb_, &ab_}) rows->resize(size_t((last_ - first_) * stride_));
    for (auto* rows : {&counts_, &best_, &second_}) rows->resize(size_t((end_ - begin_) * stride_));
    for (int64_t y = first_; y < last_; ++y) {
      const float* grey = s.grey + y * s.width;
      std::copy(grey, grey + s.width, own_.data() + kMostHalf);
      for (int64_t x = 0; x < s.width; x += kLanes) {
        lanes sum(0.0f), squares(0.0f);
        for (int k = -s.half; k <= s.half; ++k) {
          const lanes v = load<lanes>(own_.data() + kMostHalf + x + k);
          sum = sum + v;
          squares = fma(v, v, squares);
        }
        store<lanes>(row(a_, y) + x, sum);
        store<lanes>(row(aa_, y) + x, squares);
      }
    }
  }

  void sweep(float* scores) {
    for (int plane = 0; plane < s_.planes; ++plane) {
      std::fill(best_.begin(), best_.end(), kNothing);
      std::fill(second_.begin(), second_.end(), kNothing);
      const float* picture = s_.pictures;
      for (int k = 0; k < s_.others; ++k) {
        const Other other{picture, s_.maps + 12 * k, s_.sizes[2 * k], s_.sizes[2 * k + 1]};
        compare(other, float(plane) * s_.step);
        picture += int64_t(other.height) * other.width;
      }
      write(scores + plane * s_.height * s_.width);
    }
  }

 private:
  float* row(std::vector<float>& of, int64_t y) { return of.data() + (y - first_) * stride_; }
  float* inner(std::vector<float>& of, int64_t y) { return of.data() + (y - begin_) * stride_; }

  void compare(const Other& other, float offset) {
    for (int64_t y = first_; y < last_; ++y) {
      look(other, y, offset);
      sum_row(y);
    }
    for (int64_t y = begin_; y < end_; ++y) keep(y);
  }

  // What the other picture has where the pixels of a row fall.
  void look(const Other& other, int64_t y, float offset) {
    const float* start = s_.start + y * s_.width;
    const lanes row_y(float(y) + 0.5f);
    for (int64_t x = 0; x < s_.width; x += kLanes) {
      float at[kLanes];
      for (int k = 0; k < kLanes; ++k) at[k] = float(x + k) + 0.5f;
      const int count = int(s_.width - x < kLanes ? s_.width - x : kLanes);
      const lanes inverse = load_part<lanes>(start + x, count) + lanes(offset);
      lanes px, py;
      project(other.map, load<lanes>(at), row_y, inverse, px, py);
      store<lanes>(x_.data() + x, px);
      store<lanes>(y_.data() + x, py);
    }
    const bool kept = y >= begin_ && y < end_;
    float* __restrict__ counts = kept ? inner(counts_, y) : spare_.data();  // of rows around the strip nobody asks
    float* __restrict__ seen = other_row_.data() + kMostHalf;
    const float *px = x_.data(), *py = y_.data();
    for (int64_t x = 0; x < s_.width; ++x)
      seen[x] = look_up(other.picture, other.height, other.width, px[x], py[x], counts[x]);
    std::copy(s_.grey + y * s_.width, s_.grey + (y + 1) * s_.width, own_.data() + kMostHalf);
  }

  void sum_row(int64_t y) {
    for (int64_t x = 0; x < s_.width; x += kLanes) {
      lanes b(0.0f), bb(0.0f), ab(0.0f);
      for (int k = -s_.half; k <= s_.half; ++k) {
        const lanes v = load<lanes>(other_row_.data() + kMostHalf + x + k);
        b = b + v;
        bb = fma(v, v, bb);
        ab = fma(load<lanes>(own_.data() + kMostHalf + x + k), v, ab);
      }
      store<lanes>(row(b_, y) + x, b);
      store<lanes>(row(bb_, y) + x, bb);
      store<lanes>(row(ab_, y) + x, ab);
    }
  }

  void keep(int64_t y) {
    const int64_t top = y > s_.half ? y - s_.half : 0, bottom = y + s_.half < s_.height ? y + s_.half + 1 : s_.height;
    for (int64_t x = 0; x < s_.width; x += kLanes) {
      lanes sums[5];
      std::vector<float>* of[5] = {&a_, &aa_, &b_, &bb_, &ab_};
      for (int i = 0; i < 5; ++i) {
        sums[i] = lanes(0.0f);
        for (int64_t j = top; j < bottom; ++j) sums[i] = sums[i] + load<lanes>(row(*of[i], j) + x);
      }
      float share[kLanes];
      for (int k = 0; k < kLanes; ++k) {
        const int64_t at = x + k < s_.width ? x + k : s_.width - 1;
        share[k] = 1.0f / float(within(at, s_.width, s_.half) * within(y, s_.height, s_.half));
      }
      const lanes found =
          correlation(load<lanes>(share), sums[0], sums[1], sums[2], sums[3], sums[4], lanes(s_.texture));
      const lanes counted = select(load<lanes>(inner(counts_, y) + x) > lanes(0.0f), found, lanes(kNothing));
      lanes best = load<lanes>(inner(best_, y) + x), second = load<lanes>(inner(second_, y) + x);
      keep_best(counted, best, second);
      store<lanes>(inner(best_, y) + x, best);
      store<lanes>(inner(second_, y) + x, second);
    }
  }

  void write(float* scores) {
    for (int64_t y = begin_; y < end_; ++y)
      for (int64_t x = 0; x < s_.width; x += kLanes) {
        const int count = int(s_.width - x < kLanes ? s_.width - x : kLanes);
        const lanes out = score(s_.others, load<lanes>(inner(best_, y) + x), load<lanes>(inner(second_, y) + x));
        store_part<lanes>(scores + y * s_.width + x, out, count);
      }
  }

  const Sweep& s_;
  int64_t begin_, end_, first_, last_, stride_;
  std::vector<float> own_, other_row_;  // a row of this picture and of the other, zeros on both sides
  std::vector<float> x_, y_, spare_;  // where its pixels fall
  std::vector<float> a_, aa_, b_, bb_, ab_;  // sums along rows
  std::vector<float> counts_, best_, second_;
};

}  // namespace

void correlate(const Sweep& s, float* scores) {
  parallel_ranges(s.height, kStrip, [&](int64_t begin, int64_t end) { Strip(s, begin, end).sweep(scores); });
}

}  // namespace recon::sweep
