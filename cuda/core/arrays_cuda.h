// How Python arrays reach the CUDA drivers: C-contiguous, on the device, exact type, never converted. Under the executor
// the device is the processor itself.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include "core/device.h"
#include "core/expect.h"

namespace recon::gpu {

namespace nb = nanobind;
using recon::expect;
#if defined(__CUDACC__)
using device = nb::device::cuda;
#else
using device = nb::device::cpu;
#endif
template <class T>
using array = nb::ndarray<T, nb::c_contig, device>;
template <class T>
using host_array = nb::ndarray<T, nb::c_contig, nb::device::cpu>;
using numbers = array<float>;
using ids = array<int32_t>;  // uint32 in the kernels, which torch has little of
using bytes = array<uint8_t>;

inline uint32_t* ids_of(const ids& a) { return reinterpret_cast<uint32_t*>(a.data()); }

// A stream as torch names it: torch.cuda.current_stream().cuda_stream.
inline stream_t stream_of(uintptr_t handle) { return reinterpret_cast<stream_t>(handle); }

}  // namespace recon::gpu
