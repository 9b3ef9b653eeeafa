// What tests may ask of the executor itself.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include "executor.h"
#include "faults.h"

namespace nb = nanobind;

void bind_executor(nb::module_& m) {
  m.def("set_order", &recon::executor::set_order, "Order of threads and blocks: 0, 1 (backwards), or a seed");
  m.def("fault", &recon::faults::run, nb::arg("name"), "Runs a kernel with a mistake in it; raises RuntimeError");
}
