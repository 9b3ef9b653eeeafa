// CUDA driver of volume rendering of packed samples: a warp per ray, a lane per sample, 32 samples at a time. What lies
// before a sample comes from scans over the lanes and is carried from one 32 to the next; the order of every sum is fixed.
// The backward pass walks back to front, so that what lies behind is summed and not found by subtraction.
#include "core/device.h"
#include "march/march_cuda.h"

namespace recon::gpu {
namespace {

constexpr int kThreads = 128;

struct optics {
  float alpha, through, slope;  // slope: d tau / d raw
};
__device__ inline optics optics_of(const packed& in, int64_t i) {
  optics o;
  const float tau = march::softplus(in.raw[i] + in.shift, o.slope) * in.delta;
  o.alpha = march::opacity(tau, o.through);
  o.slope *= in.delta;
  return o;
}

// The samples of one ray, and what lies before the next 32 of them.
struct ray {
  int64_t begin, end;
  int lane;
};
__device__ inline bool ray_of(const packed& in, ray& out, int64_t& r) {
  r = global_thread() / kWarp;
  if (r >= in.rays) return false;  // a warp leaves as a whole
  out = {in.offsets[r], in.offsets[r + 1], lane_of(threadIdx.x)};
  return true;
}

__device__ inline float from_lane(float value, int lane) { return __shfl_sync(kAllLanes, value, lane); }
// The value of the lane before, `first` in lane 0.
__device__ inline float from_before(float value, float first, int lane) {
  const float before = __shfl_up_sync(kAllLanes, value, 1);
  return lane ? before : first;
}
// The value of the lane behind, `last` in lane 31.
__device__ inline float from_behind(float value, float last, int lane) {
  const float behind = __shfl_down_sync(kAllLanes, value, 1);
  return lane < kWarp - 1 ? behind : last;
}
// Sums over this lane and those before it; over this lane and those behind it.
__device__ inline float sum_before(float value, int lane) {
  for (int offset = 1; offset < kWarp; offset *= 2) {
    const float other = __shfl_up_sync(kAllLanes, value, offset);
    if (lane >= offset) value += other;
  }
  return value;
}
__device__ inline float sum_behind(float value, int lane) {
  for (int offset = 1; offset < kWarp; offset *= 2) {
    const float other = __shfl_down_sync(kAllLanes, value, offset);
    if (lane + offset < kWarp) value += other;
  }
  return value;
}
__device__ inline float product_before(float value, int lane) {
  for (int offset = 1; offset < kWarp; offset *= 2) {
    const float other = __shfl_up_sync(kAllLanes, value, offset);
    if (lane >= offset) value *= other;
  }
  return value;
}

__global__ void weights_of_rays_kernel(packed in, float end, float* weight) {
  ray s;
  int64_t r;
  if (!ray_of(in, s, r)) return;
  float T = 1;
  for (int64_t from = s.begin; from < s.end; from += kWarp) {
    const int64_t i = from + s.lane;
    const bool mine = i < s.end;
    const optics o = mine ? optics_of(in, i) : optics{0, 1, 0};
    const float behind = T * product_before(o.through, s.lane), before = from_before(behind, T, s.lane);
    if (mine) weight[i] = before < end ? 0.0f : before * o.alpha;
    T = from_lane(behind, kWarp - 1);
  }
}

__global__ void mark_chosen(const int32_t* index, int64_t count, int32_t* slot) {
  const int64_t k = global_thread();
  if (k < count && index[k] >= 0) slot[index[k]] = int32_t(k);
}

__global__ void composite_rays_kernel(packed in, chosen_samples chosen, const int32_t* slot, float* rgb, float* depth,
                                      float* T_out, float* distortion) {
  ray s;
  int64_t r;
  if (!ray_of(in, s, r)) return;
  march::ray_sums<float> mine;  // what this lane's samples add, and what lies before them
  float T = 1, weight = 0, weighted = 0;
  for (int64_t from = s.begin; from < s.end; from += kWarp) {
    const int64_t i = from + s.lane;
    const bool there = i < s.end;
    const optics o = there ? optics_of(in, i) : optics{0, 1, 0};
    const float t = there ? in.t[i] : 0.0f, place = there ? march::bent(t) : 0.0f;
    const float behind = T * product_before(o.through, s.lane);
    mine.T = from_before(behind, T, s.lane);
    const float w = mine.T * o.alpha;
    const float all = weight + sum_before(w, s.lane), all_placed = weighted + sum_before(w * place, s.lane);
    mine.weight = from_before(all, weight, s.lane);
    mine.weighted = from_before(all_placed, weighted, s.lane);
    if (there) {
      const int32_t k = slot[i];
      march::blend(mine, o.alpha, o.through, k < 0 ? nullptr : chosen.colour + 3 * int64_t(k), t, place,
                   march::width(in.t, i, s.begin, s.end));
    }
    T = from_lane(behind, kWarp - 1);
    weight = from_lane(all, kWarp - 1);
    weighted = from_lane(all_placed, kWarp - 1);
  }
  for (int c = 0; c < 3; ++c) {
    const float sum = warp_sum(mine.rgb[c]);
    if (s.lane == c) rgb[3 * r + c] = sum + T * chosen.background[c];
  }
  const float depths = warp_sum(mine.depth), distortions = warp_sum(mine.distortion);
  if (s.lane) return;
  depth[r] = depths;
  T_out[r] = T;
  distortion[r] = distortions;
}

// Until the second walk g_raw holds the transmittance behind each sample.
__global__ void composite_rays_backward_kernel(packed in, chosen_samples chosen, const int32_t* slot, ray_gradients g,
                                               float* g_raw, float* g_colour) {
  ray s;
  int64_t r;
  if (!ray_of(in, s, r)) return;
  float T = 1, all = 0, all_placed = 0;
  for (int64_t from = s.begin; from < s.end; from += kWarp) {
    const int64_t i = from + s.lane;
    const bool there = i < s.end;
    const optics o = there ? optics_of(in, i) : optics{0, 1, 0};
    const float behind = T * product_before(o.through, s.lane);
    const float w = from_before(behind, T, s.lane) * o.alpha;
    if (there) {
      g_raw[i] = behind;
      all += w;
      all_placed += w * march::bent(in.t[i]);
    }
    T = from_lane(behind, kWarp - 1);
  }
  all = warp_sum(all), all_placed = warp_sum(all_placed);
  __syncwarp();
  const float *g_rgb = g.rgb + 3 * r, g_distortion = g.distortion[r];
  float rest = g.T[r];
  for (int c = 0; c < 3; ++c) rest += g_rgb[c] * chosen.background[c];
  rest *= T;
  float after = 0, after_placed = 0;  // behind the current 32
  const int64_t blocks = (s.end - s.begin + kWarp - 1) / kWarp;
  for (int64_t block = blocks - 1; block >= 0; --block) {
    const int64_t i = s.begin + block * kWarp + s.lane;
    const bool there = i < s.end;
    const optics o = there ? optics_of(in, i) : optics{0, 1, 0};
    const float behind = there ? g_raw[i] : 0.0f, place = there ? march::bent(in.t[i]) : 0.0f;
    const float w = there ? (i > s.begin ? g_raw[i - 1] : 1.0f) * o.alpha : 0.0f;
    __syncwarp();  // all have read before anyone writes
    float g_w = 0;
    const int32_t k = there ? slot[i] : -1;
    if (k >= 0)
      for (int c = 0; c < 3; ++c) {
        g_w += g_rgb[c] * chosen.colour[3 * int64_t(k) + c];
        g_colour[3 * int64_t(k) + c] = g_rgb[c] * w;
      }
    if (g_distortion != 0) {  // the same for all lanes
      const float from_here = after + sum_behind(w, s.lane), placed = after_placed + sum_behind(w * place, s.lane);
      const float later = from_behind(from_here, after, s.lane),
                  later_placed = from_behind(placed, after_placed, s.lane);
      if (there)
        g_w += g_distortion * march::distortion_backward(w, place, march::width(in.t, i, s.begin, s.end),
                                                         all - from_here, all_placed - placed, later, later_placed);
      after = from_lane(from_here, 0);
      after_placed = from_lane(placed, 0);
    }
    const float sums = rest + sum_behind(w * g_w, s.lane), behind_me = from_behind(sums, rest, s.lane);
    if (there) g_raw[i] = march::blend_backward(g_w, behind, behind_me) * o.slope;
    rest = from_lane(sums, 0);
  }
}

void find_slots(const packed& in, const chosen_samples& chosen, int32_t* slot, stream_t stream) {
  set_bytes(slot, 0xff, size_t(in.samples) * sizeof(int32_t), stream);  // -1
  launch(mark_chosen, blocks_for(chosen.count, kThreads), kThreads, stream, chosen.index, chosen.count, slot);
}

}  // namespace

void weights(const packed& in, float end, float* weight, stream_t stream) {
  launch(weights_of_rays_kernel, blocks_for(in.rays * kWarp, kThreads), kThreads, stream, in, end, weight);
}

void composite_rays(const packed& in, const chosen_samples& chosen, int32_t* slot, float* rgb, float* depth, float* T,
                    float* distortion, stream_t stream) {
  find_slots(in, chosen, slot, stream);
  launch(composite_rays_kernel, blocks_for(in.rays * kWarp, kThreads), kThreads, stream, in, chosen, slot, rgb, depth,
         T, distortion);
}

void composite_rays_backward(const packed& in, const chosen_samples& chosen, int32_t* slot, const ray_gradients& g,
                             float* g_raw, float* g_colour, stream_t stream) {
  find_slots(in, chosen, slot, stream);
  launch(composite_rays_backward_kernel, blocks_for(in.rays * kWarp, kThreads), kThreads, stream, in, chosen, slot, g,
         g_raw, g_colour);
}

}  // namespace recon::gpu
