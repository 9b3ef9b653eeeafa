// The CUDA module: every driver compiled for a list of architectures, chosen by CUDA itself when it is loaded. The same
// file makes the executor's module for tests.
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

#if !defined(__CUDACC__)
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
#if defined(__CUDACC__)
  m.attr("device") = "cuda";
#else
  m.attr("device") = "executor";
  bind_executor(m);
#endif
}
