// How Python arrays reach the kernels: C-contiguous, on the CPU, exact type. Never converted: a silent copy of an
// output would leave the caller's tensor untouched.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include "core/expect.h"

namespace recon {

namespace nb = nanobind;
template <class T>
using array = nb::ndarray<T, nb::c_contig, nb::device::cpu>;

}  // namespace recon
