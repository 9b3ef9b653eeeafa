// Compiles the math that CPU and GPU share with nvcc, so that it stays usable there. The kernels below are the plainest
// possible drivers (one thread per Gaussian, pixel or number); they exist to instantiate the headers, not to be fast.
#include "adam/adam.h"
#include "core/dual.h"
#include "iso/iso.h"
#include "splat/record.h"
#include "splat/splat.h"
#include "ssim/ssim.h"
#include "tsdf/tsdf.h"

namespace recon {

__global__ void project_rows(const float* mean, const float* log_scale, const float* quaternion, const float* logit,
                             view<float> cam, int rows, float* records, const float* g_records, float* g_mean) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= rows) return;
  gaussian<float> G, g;
  for (int j = 0; j < 3; ++j) G.mean[j] = mean[3 * i + j], G.log_scale[j] = log_scale[3 * i + j];
  for (int j = 0; j < 4; ++j) G.quaternion[j] = quaternion[4 * i + j];
  G.logit = logit[i];
  projection<float> p;
  project_geometry(G, cam, p);
  const splat<float> s = project_forward(G, cam, p);
  float inverse_length, Y[16], g_Y[16];
  const vec3<float> d = view_direction(G.mean, cam, inverse_length);
  sh_basis(cam.degree, d.x, d.y, d.z, Y);
  float* r = records + i * kRecord;
  r[kMx] = s.mx, r[kMy] = s.my, r[kA] = s.A, r[kB] = s.B, r[kC] = s.C, r[kOpacity] = s.opacity, r[kRadius] = s.radius;
  for (int k = 0; k < 16; ++k) g_Y[k] = Y[k];
  splat<float> gs = s;
  gs.mx = g_records[i * kRecord + kMx];
  project_backward(G, cam, p, gs, g);
  vec3<float> g_d{0, 0, 0};
  sh_basis_backward(cam.degree, d.x, d.y, d.z, g_Y, g_d.x, g_d.y, g_d.z);
  view_direction_backward(d, inverse_length, g_d, g.mean);
  for (int j = 0; j < 3; ++j) g_mean[3 * i + j] = g.mean[j];
}

__global__ void composite_pixels(const float* records, int rows, int width, int height, float* picture) {
  const int pixel = blockIdx.x * blockDim.x + threadIdx.x;
  if (pixel >= width * height) return;
  float T = 1, red = 0;
  for (int i = 0; i < rows; ++i) {
    const float* r = records + i * kRecord;
    const blob<float> b = blob_from_splat(r[kMx], r[kMy], r[kA], r[kB], r[kC], r[kLog2Opacity]);
    float alpha;
    if (!blob_alpha(b, pixel % width + 0.5f - b.mx, pixel / width + 0.5f - b.my, T, alpha)) continue;
    const float w = recon::min(alpha, kAlphaMax) * T;
    red += w * r[kRed];
    T -= w;
  }
  picture[pixel] = red;
}

__global__ void adam_numbers(float* param, float* m, float* v, const float* grad, float rate,
                             recon::adam::Constants<float> c, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) recon::adam::update(param[i], m[i], v[i], grad[i], rate, c);
}

__global__ void dual_vertices(const iso::cube<float>* cubes, const unsigned* members, const float* g_vertices,
                              float* vertices, float* deviation, iso::cube<float>* g_cubes, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  iso::dual_vertex(cubes[i], members[i], vertices + 3 * i, deviation[i]);
  iso::dual_vertex_backward(cubes[i], members[i], g_vertices + 3 * i, deviation[i], g_cubes[i]);
  float v[4][3], gamma[4], g_v[4][3], g_gamma[4];
  for (int k = 0; k < 4; ++k) {
    gamma[k] = iso::used_gamma(deviation[i]);
    for (int j = 0; j < 3; ++j) v[k][j] = vertices[3 * i + j];
  }
  iso::quad_centre(v, gamma, vertices + 3 * i);
  iso::quad_centre_backward(v, gamma, g_vertices + 3 * i, g_v, g_gamma);
  deviation[i] = g_gamma[0] * iso::used_gamma_slope(gamma[0]) * iso::used_weight_slope(iso::used_weight(g_v[0][0]));
}

__global__ void fuse_voxels(const float* depth, const float* z, float truncation, float* mean, float* weight, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  float distance;
  if (i >= n || !tsdf::observe(depth[i], z[i], truncation, distance)) return;
  tsdf::average(mean[i], weight[i], distance, 1.0f);
  weight[i] += 1;
}

__global__ void dual_numbers(double* out) {
  const dual<double> x(out[0], 1.0);
  out[1] = sigmoid(exp2(x) * sqrt(x)).d;
}

}  // namespace recon
