// What splat.cpp offers to bind.cpp. Arrays are plain pointers; shapes are checked on the Python side of the binding.
#pragma once

#include <vector>

#include "bin.h"
#include "core/pack.h"
#include "project.h"
#include "update.h"

namespace recon {

template <class S>
struct lanes_of;
template <>
struct lanes_of<float> {
  using type = lanes;
};
template <>
struct lanes_of<double> {
  using type = pack<double, 4>;  // for checks: the same driver, portable lanes
};

template <class S>
void project(const gaussian_rows<S>& in, int64_t rows, const view<S>& cam, S* records);

template <class S>
void project_backward(const gaussian_rows<S>& in, int64_t rows, const view<S>& cam, const S* records,
                      const S* g_records, const gaussian_rows<S>& out);

// Fills `b` with the lists of this picture; backward needs them.
template <class S>
void composite(const S* records, int64_t rows, bins& b, int width, int height, int channels, const S* background,
               S* picture, S* transmittance);

// Robust depth and its spread, [height][width] each; slopes [rows][3], see depth.h.
template <class S>
void composite_depth(const S* records, const S* slopes, int64_t rows, bins& b, int width, int height, S low, S high,
                     S* depth, S* spread);

template <class S>
void composite_backward(const S* records, int64_t rows, const bins& b, int channels, bool absolute, const S* picture,
                        const S* transmittance, const S* g_picture, const S* g_transmittance, std::vector<S>& slots,
                        S* g_records);

// Backward of the projection and Adam in one pass over visible rows; see update.h.
int64_t project_backward_adam(const adam_rows* tensors, int64_t rows, const view<float>& cam, const float* records,
                              const float* g_records, const float* extra_log_scale, const float* extra_logit,
                              const adam_constants& constants);

// The same with a local Newton step in the place of Adam; see newton.h.
struct newton_rows;
struct newton_constants;
int64_t project_backward_newton(const newton_rows& tensors, int64_t rows, const view<float>& cam, const float* records,
                                const float* g_records, const float* extra_log_scale, const float* extra_logit,
                                const newton_constants& constants);

// Products with the Jacobian of a picture that `composite` drew; see normal.h.
template <class S>
void project_tangent(const gaussian_rows<S>& in, const gaussian_rows<S>& v, int64_t rows, const view<S>& cam,
                     const S* records, S* tangents);
template <class S>
void project_backward_add(const gaussian_rows<S>& in, int64_t rows, const view<S>& cam, const S* records,
                          const S* g_records, const gaussian_rows<S>& out);
template <class S>
void composite_tangent(const S* records, const S* tangents, const bins& b, const S* background, S* picture_tangent);
// The same for the six directions of the camera at once: tangents [6][rows][12], out [6][3][height][width]; camera.h.
template <class S>
void camera_tangents(const gaussian_rows<S>& in, int64_t rows, const view<S>& cam, const S* records, const bins& b,
                     const S* background, S* tangents, S* out);
// g_records = J^T W J of compositing along `tangents`; `scratch` holds [3][height][width].
template <class S>
void composite_normal(const S* records, const S* tangents, int64_t rows, const bins& b, const S* background,
                      const S* picture, const S* transmittance, const S* weights, S* scratch, std::vector<S>& slots,
                      S* g_records);
// Adds diag(J^T W J) of the whole chain to `out`, and to `blocks` [rows][66], where given, the blocks of geometry.
template <class S>
void normal_diagonal(const gaussian_rows<S>& in, int64_t rows, const view<S>& cam, const S* records, const bins& b,
                     const S* picture, const S* weights, std::vector<S>& slots, const gaussian_rows<S>& out, S* blocks);
// Blocks plus a diagonal -> Cholesky factors in place; and a solve with them, in place. See blocks.h.
template <class S>
void factor_blocks(const gaussian_rows<S>& added, int64_t rows, S* blocks);
template <class S>
void solve_blocks(const S* factors, int64_t rows, const gaussian_rows<S>& x);

// Value and derivative along a tangent, by dual numbers; composite_jvp loops over all pixels and Gaussians.
void project_jvp(const gaussian_rows<double>& in, const gaussian_rows<double>& tangent, int64_t rows,
                 const view<double>& cam, double* records, double* g_records);
void composite_jvp(const double* records, const double* tangents, int64_t rows, int width, int height,
                   const double* background, double* picture, double* g_picture, double* transmittance,
                   double* g_transmittance);

}  // namespace recon
