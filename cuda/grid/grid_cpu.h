// The CPU driver's face: what bind.cpp may call. Points u are [count, 3] in 0..1; gradients are added to.
#pragma once

#include <cstdint>
#include <vector>

namespace recon::grid {

// values [nx, ny, nz, channels] -> out [count, channels]
template <class S>
void trilinear(const S* values, const int* size, int channels, const S* u, int64_t count, S* out);
template <class S>
void trilinear_backward(const int* size, int channels, const S* u, int64_t count, const S* g_out, S* g_values);

// Vector-matrix products (Chen et al., "TensoRF", ECCV 2022, arXiv 2203.09517, eq. (5)): planes [3, n, n, rank], lines
// [3, n, rank] -> out [count, 3, rank]; mode k has the line along axis k and the plane over axes k + 1, k + 2 (mod 3).
template <class S>
void vector_matrix(const S* planes, const S* lines, int n, int rank, const S* u, int64_t count, S* out);
template <class S>
void vector_matrix_backward(const S* planes, const S* lines, int n, int rank, const S* u, int64_t count, const S* g_out,
                            S* g_planes, S* g_lines);

// Products of three vectors (CP, eq. (3) there): lines [3, n, rank] -> out [count, rank].
template <class S>
void tri_vector(const S* lines, int n, int rank, const S* u, int64_t count, S* out);
template <class S>
void tri_vector_backward(const S* lines, int n, int rank, const S* u, int64_t count, const S* g_out, S* g_lines);

// Which rows of g [count, width] are not all zero: mask [count], 0 or 1.
template <class S>
void nonzero_rows(const S* g, int64_t count, int width, uint8_t* mask);

// Multiresolution hash grid: table [levels, slots, features], slots a power of two -> out [count, levels * features].
template <class S>
void hash(const S* table, const std::vector<int>& nodes, int64_t slots, int features, const S* u, int64_t count,
          S* out);
template <class S>
void hash_backward(const std::vector<int>& nodes, int64_t slots, int features, const S* u, int64_t count,
                   const S* g_out, S* g_table);

// Sum over levels of dense grids [n, n, n], one after another in `values`, each divided by n - 1: out [count], and its
// gradient by u [count, 3]. A node of any level changes the gradient by as much.
int64_t sum_size(const std::vector<int>& nodes);
template <class S>
void sum(const S* values, const std::vector<int>& nodes, const S* u, int64_t count, S* out, S* gradient);
template <class S>
void sum_backward(const std::vector<int>& nodes, const S* u, int64_t count, const S* g_out, const S* g_gradient,
                  S* g_values);

// Local tensors on a lattice (grid/local.h): lines [tensors, 3, n, rank], table [sites] of their numbers, -1 = none -> out
// [count, rank], the products of three vectors blended over the tensors that hold a point.
template <class S>
void local(const S* lines, int n, int rank, const int32_t* table, const int* sites, S half, const S* u, int64_t count,
           S* out);
template <class S>
void local_backward(const S* lines, int64_t tensors, int n, int rank, const int32_t* table, const int* sites, S half,
                    const S* u, int64_t count, const S* g_out, S* g_lines);

}  // namespace recon::grid
