// Compiles with nvcc the shared math that has no CUDA driver yet, so that it stays usable there. The kernels below are
// the plainest possible drivers; they exist to instantiate the headers, not to be fast.
#include "core/dual.h"
#include "sdf/sdf.h"
#include "tsdf/tsdf.h"

namespace recon {

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
