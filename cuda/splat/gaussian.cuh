// One row of parameters and one record, as a CUDA thread reads and writes them.
#pragma once

#include "core/device.h"
#include "rows.h"
#include "shade.h"
#include "splat_cuda.h"

namespace recon::gpu {

inline constexpr int kRowThreads = 256;

struct alignas(16) record_row {
  float number[kRecord];
};

__device__ inline gaussian<float> read_gaussian(const gaussian_rows<float>& in, int64_t i) {
  gaussian<float> G;
  for (int j = 0; j < 3; ++j) G.mean[j] = in.mean[3 * i + j];
  for (int j = 0; j < 3; ++j) G.log_scale[j] = in.log_scale[3 * i + j];
  for (int j = 0; j < 4; ++j) G.quaternion[j] = in.quaternion[4 * i + j];
  G.logit = in.logit[i];
  return G;
}

// The 11 numbers of a Gaussian's geometry, wherever they are.
__device__ inline float& geometry_of(const gaussian_rows<float>& rows, int64_t i, int t) {
  return t < 3    ? rows.mean[3 * i + t]
         : t < 6  ? rows.log_scale[3 * i + t - 3]
         : t < 10 ? rows.quaternion[4 * i + t - 6]
                  : rows.logit[i];
}

// Gradient of one drawn Gaussian: its geometry, and of the coefficients what they share: d(coefficient k) = raw Y[k].
template <int DEGREE>
struct row_gradient {
  static constexpr int used = (DEGREE + 1) * (DEGREE + 1);
  gaussian<float> geometry;
  float raw[3], Y[used];
};

template <int DEGREE>
__device__ inline row_gradient<DEGREE> backward_of_row(const gaussian_rows<float>& in, int64_t i,
                                                       const view<float>& cam, const float* g_records) {
  constexpr int used = row_gradient<DEGREE>::used;
  const record_row g = reinterpret_cast<const record_row*>(g_records)[i];
  const gaussian<float> G = read_gaussian(in, i);
  row_gradient<DEGREE> out;
  {
    projection<float> p;
    project_geometry(G, cam, p);
    splat<float> gs{};
    gs.mx = g.number[kMx], gs.my = g.number[kMy], gs.A = g.number[kA], gs.B = g.number[kB], gs.C = g.number[kC];
    gs.opacity = g.number[kOpacity], gs.z = g.number[kDepth];
    project_backward(G, cam, p, gs, out.geometry);
  }
  float inverse_length, Y[16], g_Y[16];
  const vec3<float> d = view_direction(G.mean, cam, inverse_length);
  sh_basis(DEGREE, d.x, d.y, d.z, Y);
  shade_backward(in.sh0 + 3 * i, in.sh_rest + int64_t(3) * in.rest * i, used, Y, g.number + kRed, out.raw, g_Y);
  for (int k = 0; k < used; ++k) out.Y[k] = Y[k];
  if (DEGREE > 0) {
    vec3<float> g_d{0, 0, 0};
    sh_basis_backward(DEGREE, d.x, d.y, d.z, g_Y, g_d.x, g_d.y, g_d.z);
    view_direction_backward(d, inverse_length, g_d, out.geometry.mean);
  }
  return out;
}

// The gradient of a drawn Gaussian with that of regularizers (extra_*, or null); false where it is not finite.
template <int DEGREE>
__device__ inline bool sound_gradient_of_row(const gaussian_rows<float>& in, int64_t i, const view<float>& cam,
                                             const float* g_records, const float* extra_log_scale,
                                             const float* extra_logit, row_gradient<DEGREE>& g) {
  g = backward_of_row<DEGREE>(in, i, cam, g_records);
  gaussian<float>& geometry = g.geometry;
  if (extra_log_scale)
    for (int j = 0; j < 3; ++j) geometry.log_scale[j] += extra_log_scale[3 * i + j];
  if (extra_logit) geometry.logit += extra_logit[i];
  float size = abs(geometry.logit);
  for (int j = 0; j < 3; ++j) size += abs(geometry.mean[j]) + abs(geometry.log_scale[j]);
  for (int j = 0; j < 4; ++j) size += abs(geometry.quaternion[j]);
  for (int k = 0; k < g.used; ++k)
    for (int c = 0; c < 3; ++c) size += abs(g.raw[c] * g.Y[k]);
  return size < 1e18f;  // not NaN either
}

// The camera as a thread sees it.
__device__ inline const view<float>& seen_from(const view<float>& camera) { return camera; }
__device__ inline view<float> seen_from(const device_view& camera) {
  return view_from<float>(camera.numbers, camera.degree, camera.antialiased);
}

// Calls body(std::integral_constant<int, degree>) so that loops over coefficients unroll.
template <class Body>
void for_degree(int degree, const Body& body) {
  switch (degree) {
    case 0:
      return body(std::integral_constant<int, 0>{});
    case 1:
      return body(std::integral_constant<int, 1>{});
    case 2:
      return body(std::integral_constant<int, 2>{});
    default:
      return body(std::integral_constant<int, 3>{});
  }
}

// The same with the kind of the camera: body(integral constant, camera).
template <class Body>
void for_degree(const any_view& any, const Body& body) {
  std::visit([&](const auto& camera) { for_degree(camera.degree, [&](auto degree) { body(degree, camera); }); }, any);
}

}  // namespace recon::gpu
