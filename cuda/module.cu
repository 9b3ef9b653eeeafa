// The CUDA module: every driver compiled for a list of architectures, chosen by CUDA itself when it is loaded. The same
// file makes the executor's module for tests.
#include <nanobind/stl/string.h>

#include "core/arrays_cuda.h"

void bind_splat_cuda(nanobind::module_& m);
void bind_ssim_cuda(nanobind::module_& m);
void bind_adam_cuda(nanobind::module_& m);
void bind_march_cuda(nanobind::module_& m);
void bind_grid_cuda(nanobind::module_& m);
void bind_mlp_cuda(nanobind::module_& m);
void bind_iso_cuda(nanobind::module_& m);
void bind_raster_cuda(nanobind::module_& m);
void bind_sdf_cuda(nanobind::module_& m);
void bind_knn_cuda(nanobind::module_& m);
void bind_tsdf_cuda(nanobind::module_& m);
void bind_sweep_cuda(nanobind::module_& m);

#if defined(__CUDACC__)
namespace recon::gpu {
__global__ void probe_kernel() {}

// Why kernels of this module cannot run on a GPU, in CUDA's words, or nothing: a driver older than the CUDA they were
// compiled with, or a GPU that is not among their architectures.
std::string problem(int device) {
  int current = device;
  cudaFuncAttributes found;
  cudaError_t error = cudaGetDevice(&current);
  if (error == cudaSuccess) error = cudaSetDevice(device);
  if (error == cudaSuccess) error = cudaFuncGetAttributes(&found, probe_kernel);
  if (current != device) cudaSetDevice(current);
  cudaGetLastError();  // known now; the next launch need not report it
  return error == cudaSuccess ? "" : cudaGetErrorString(error);
}
}  // namespace recon::gpu
#else
void bind_executor(nanobind::module_& m);
#endif

NB_MODULE(RECON_MODULE, m) {
  m.doc() = "Recon kernels for CUDA";
  nanobind::set_leak_warnings(false);
  bind_splat_cuda(m);
  bind_ssim_cuda(m);
  bind_adam_cuda(m);
  bind_march_cuda(m);
  bind_grid_cuda(m);
  bind_mlp_cuda(m);
  bind_iso_cuda(m);
  bind_raster_cuda(m);
  bind_sdf_cuda(m);
  bind_knn_cuda(m);
  bind_tsdf_cuda(m);
  bind_sweep_cuda(m);
#if defined(__CUDACC__)
  m.attr("device") = "cuda";
  m.attr("version") = CUDART_VERSION;  // as 13000 for 13.0
  m.def("problem", &recon::gpu::problem, nanobind::arg("device"));
#else
  m.attr("device") = "executor";
  bind_executor(m);
#endif
}
