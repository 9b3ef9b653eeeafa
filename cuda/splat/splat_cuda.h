// What the CUDA drivers of splatting offer to bind.cu. All pointers are to device memory; nothing here waits for the
// device. Scratch memory is the caller's (torch's caching allocator).
#pragma once

#include <variant>

#include "core/device.h"
#include "newton_step.h"
#include "tiles.h"

namespace recon::gpu {

using tile = tile_size<16, 16>;
inline constexpr int kTilePixels = tile::width * tile::height;  // threads of a compositing block

inline int tiles_across(int width) { return (width + tile::width - 1) / tile::width; }
inline int tiles_down(int height) { return (height + tile::height - 1) / tile::height; }

// A camera whose numbers, as `view_from` reads them, are in device memory: while poses are unknowns they are computed
// there, and nobody waits to know them.
struct device_view {
  const double* numbers;
  int degree;
  bool antialiased;
};
using any_view = std::variant<view<float>, device_view>;

// project.cu
void project(const gaussian_rows<float>& in, int64_t rows, const any_view& cam, float* records, stream_t stream);
void project_backward(const gaussian_rows<float>& in, int64_t rows, const view<float>& cam, const float* records,
                      const float* g_records, const gaussian_rows<float>& out, stream_t stream);

// update.cu: backward of the projection and Adam in one pass over drawn rows; adds to *refused the drawn rows left
// alone for a gradient that is not finite. tensors: mean, log_scale, quaternion, logit, sh0, sh_rest.
void project_backward_adam(const adam_rows* tensors, int64_t rows, const view<float>& cam, const float* records,
                           const float* g_records, const float* extra_log_scale, const float* extra_logit,
                           const adam_constants& constants, int* refused, stream_t stream);

// newton.cu: the same with a local Newton step in the place of Adam.
void project_backward_newton(const newton_rows& tensors, int64_t rows, const view<float>& cam, const float* records,
                             const float* g_records, const float* extra_log_scale, const float* extra_logit,
                             const newton_constants& constants, int* refused, stream_t stream);

// lists.cu: two sorts. First all rows by depth (those that are not drawn last), with `begin` [rows + 1] = where the
// tile entries of order[i] start; begin[rows] is how many there are. Scratch: depth_scratch_bytes(rows).
size_t depth_scratch_bytes(int64_t rows);
void sort_by_depth(const float* records, int64_t rows, int width, int height, uint32_t* order, uint32_t* begin,
                   void* scratch, stream_t stream);
// Then the entries in that order, stably by tile: tile_begin [tiles + 1]; per sorted entry its Gaussian and its slot
// (the number it had before sorting). `room`: how long these arrays are. It may be more than begin[rows], so that nobody
// need wait for that number; where it is less, the entries furthest away are left out. Scratch: tile_scratch_bytes(room).
size_t tile_scratch_bytes(int64_t room);
void sort_by_tile(const float* records, int64_t rows, int width, int height, const uint32_t* order,
                  const uint32_t* begin, int64_t room, uint32_t* tile_begin, uint32_t* row, uint32_t* slot,
                  void* scratch, stream_t stream);

struct tile_lists {
  int width, height;
  const uint32_t *tile_begin, *row, *slot;
  uint32_t room;  // slots from here on were left out
};

// composite.cu: picture [channels][height][width], channels 3 or 4 (depth, without background).
void composite(const float* records, const tile_lists& lists, int channels, const float* background, float* picture,
               float* transmittance, stream_t stream);

// depth.cu: robust depth and its spread, [height][width] each, over the part of rays from transmittance high to low;
// slopes [rows][3], see middle.h.
void composite_depth(const float* records, const float* slopes, const tile_lists& lists, float low, float high,
                     float* depth, float* spread, stream_t stream);

// composite_backward.cu. In `fixed_order` every tile entry has its own sums [entries][kSums], and the gradient is the
// same bits in every run; else tiles add with atomics to sums [rows][kSums] (zeroed here), which needs less memory.
struct backward_inputs {
  const float *picture, *transmittance, *g_picture, *g_transmittance;  // the last may be null
  int channels;
  bool absolute, fixed_order;
};
void composite_backward(const float* records, int64_t rows, const tile_lists& lists, const backward_inputs& in,
                        const uint32_t* order, const uint32_t* begin, float* sums, float* g_records, stream_t stream);

// normal_rows.cu, normal_tiles.cu: products with the Jacobian J of a picture with three channels; see jacobian.h. The
// order of every sum is fixed.
void project_tangent(const gaussian_rows<float>& in, const gaussian_rows<float>& v, int64_t rows, const any_view& cam,
                     const float* records, float* tangents, stream_t stream);
// J v [3][height][width] of compositing, times `weights` where not null.
void composite_tangent(const float* records, const float* tangents, const tile_lists& lists, const float* background,
                       const float* weights, float* out, stream_t stream);
void project_backward_add(const gaussian_rows<float>& in, int64_t rows, const any_view& cam, const float* records,
                          const float* g_records, const gaussian_rows<float>& out, stream_t stream);
// Sums per tile entry, `moments` [entries][18]; then, adding up those of a Gaussian, diag(J^T W J) is added to `out`, and
// to `blocks` [rows][66], where not null, the blocks of geometry.
void composite_moments(const float* records, const tile_lists& lists, const float* picture, const float* weights,
                       float* moments, stream_t stream);
void project_diagonal(const gaussian_rows<float>& in, int64_t rows, const any_view& cam, const float* records,
                      const tile_lists& lists, const uint32_t* order, const uint32_t* begin, const float* moments,
                      const gaussian_rows<float>& out, float* blocks, stream_t stream);
// Blocks plus a diagonal -> Cholesky factors, in place; a solve with them, in place.
void factor_blocks(const gaussian_rows<float>& added, int64_t rows, float* blocks, stream_t stream);
void solve_blocks(const float* factors, int64_t rows, const gaussian_rows<float>& x, stream_t stream);

}  // namespace recon::gpu
