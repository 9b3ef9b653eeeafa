// One Python module per instruction set; CMake compiles this file and all kernels once for each.
#include "core/arrays.h"
#include "core/pack.h"
#include "core/parallel.h"

void bind_splat(nanobind::module_& m);
void bind_ssim(nanobind::module_& m);
void bind_adam(nanobind::module_& m);
void bind_knn(nanobind::module_& m);
void bind_iso(nanobind::module_& m);
void bind_tsdf(nanobind::module_& m);
void bind_raster(nanobind::module_& m);
void bind_march(nanobind::module_& m);
void bind_grid(nanobind::module_& m);
void bind_mlp(nanobind::module_& m);
void bind_sdf(nanobind::module_& m);
void bind_sweep(nanobind::module_& m);
void bind_rows(nanobind::module_& m);

namespace nb = nanobind;

NB_MODULE(RECON_MODULE, m) {
  m.doc() = "Recon kernels for one instruction set";
  nb::set_leak_warnings(false);  // autograd nodes may outlive the interpreter's modules at exit
  m.attr("lanes") = recon::kLanes;
  m.attr("instruction_set") = RECON_ISA;
  m.def("set_threads", [](int n) { recon::thread_count() = n < 1 ? 1 : n; });
  m.def("get_threads", [] { return recon::thread_count(); });
  bind_splat(m);
  bind_ssim(m);
  bind_adam(m);
  bind_knn(m);
  bind_iso(m);
  bind_tsdf(m);
  bind_raster(m);
  bind_march(m);
  bind_grid(m);
  bind_mlp(m);
  bind_sdf(m);
  bind_sweep(m);
  bind_rows(m);
}
