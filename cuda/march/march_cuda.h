// What the CUDA drivers of ray marching offer to bind.cu; meanings as in march_cpu.h. All pointers are to device memory.
#pragma once

#include "core/device.h"
#include "march/march.h"

namespace recon::gpu {

struct ray_set {
  const float *origin, *direction, *offset;  // [count, 3], [count, 3], [count]
  int64_t count;
  float near, far, step;
};

// sample.cu: first how many samples every ray has, as offsets [count + 1], then the samples, but none from `capacity` on.
// Scratch: march_scratch_bytes(count).
size_t march_scratch_bytes(int64_t rays);
void count_samples(const ray_set& rays, const march::domain<float>& box, const march::occupancy& grid,
                   uint32_t* offsets, void* scratch, stream_t stream);
void write_samples(const ray_set& rays, const march::domain<float>& box, const march::occupancy& grid,
                   const uint32_t* offsets, int64_t capacity, float* position, float* t, stream_t stream);

// Turns a grid of 1 = occupied into distances in cells, in place; scratch as large as the grid.
void distance_to_occupied(uint8_t* cells, const int* size, uint8_t* scratch, stream_t stream);

// march.cu
struct packed {
  const float *raw, *t;
  const int32_t* offsets;
  int64_t rays, samples;
  float delta, shift;
};
void weights(const packed& in, float end, float* weight, stream_t stream);

// `slot` [samples] is filled: which chosen sample each one is, -1 = none. An index of -1 is no sample.
struct chosen_samples {
  const float* colour;
  const int32_t* index;
  int64_t count;
  const float* background;
};
void composite_rays(const packed& in, const chosen_samples& chosen, int32_t* slot, float* rgb, float* depth, float* T,
                    float* distortion, stream_t stream);
struct ray_gradients {
  const float *rgb, *T, *distortion;
};
void composite_rays_backward(const packed& in, const chosen_samples& chosen, int32_t* slot, const ray_gradients& g,
                             float* g_raw, float* g_colour, stream_t stream);

// total.cu: the sum of all values, in an order such that zeros behind the last value change no bit of it. Scratch: a
// number for each kChunk values.
inline constexpr int kChunk = 1024;
void total(const float* values, int64_t count, float* scratch, float* out, stream_t stream);

}  // namespace recon::gpu
