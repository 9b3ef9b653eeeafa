// Compiles with nvcc the shared math that has no CUDA driver yet, so that it stays usable there. The kernels below are
// the plainest possible drivers; they exist to instantiate the headers, not to be fast.
#include "core/dual.h"
#include "iso/iso.h"
#include "sdf/sdf.h"
#include "tsdf/tsdf.h"

namespace recon {

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

__global__ void distances_to_triangle(const float* points, const sdf::triangle<float>* t, float* out, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  const sdf::point<float> p{points[3 * i], points[3 * i + 1], points[3 * i + 2]};
  const sdf::point<float> away = p - sdf::closest_on_triangle(p, *t);
  float sine, cosine;
  sdf::half_solid_angle(p, *t, sine, cosine);
  out[2 * i] = dot(away, away), out[2 * i + 1] = atan2f(sine, cosine);
}

__global__ void dual_numbers(double* out) {
  const dual<double> x(out[0], 1.0);
  out[1] = sigmoid(exp2(x) * sqrt(x)).d;
}

}  // namespace recon
