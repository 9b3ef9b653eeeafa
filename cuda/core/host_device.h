// Marks functions that compile for the CPU and, under nvcc, for the GPU. The kernels' math is written once on top.
#pragma once

#if defined(__CUDACC__)
#define RECON_HD __host__ __device__ __forceinline__
#else
#define RECON_HD inline __attribute__((always_inline))
#endif
