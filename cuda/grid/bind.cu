// Python binding of the CUDA drivers of grids and factors: the arguments of the CPU kernels, then scratch memory
// (grid_scratch(entries) bytes for sums in fixed order, empty for atomics) and the stream; no logic.
#include <nanobind/stl/vector.h>

#include "core/arrays_cuda.h"
#include "grid/check.h"
#include "grid/grid_cuda.h"

namespace recon::gpu {
namespace {

using constants = array<const float>;

void* scratch_of(const bytes& scratch, int64_t entries) {
  expect(entries < (int64_t(1) << 31), "too many points at once");
  expect(scratch.size() == 0 || scratch.size() >= grid_scratch_bytes(entries), "not enough scratch memory");
  return scratch.size() ? scratch.data() : nullptr;
}

lattice lattice_of(const constants& lines, const array<const int32_t>& table, double half) {
  lattice out{table.data(), {}, float(half)};
  grid::check_local(lines, table, half, out.sites);
  return out;
}

#define A(name) nb::arg(name).noconvert()
void bind_grids(nb::module_& m) {
  m.def(
      "grid_trilinear",
      [](constants values, constants u, numbers out, uintptr_t stream) {
        int size[3];
        grid::check_values(values, size);
        const int64_t n = grid::check_points(u, out, values.shape(3));
        trilinear(values.data(), size, int(values.shape(3)), u.data(), n, out.data(), stream_of(stream));
      },
      A("values"), A("u"), A("out"), nb::arg("stream"));
  m.def(
      "grid_trilinear_backward",
      [](constants u, constants g_out, numbers g_values, bytes scratch, uintptr_t stream) {
        int size[3];
        grid::check_values(g_values, size);
        const int64_t n = grid::check_points(u, g_out, g_values.shape(3));
        trilinear_backward(size, int(g_values.shape(3)), u.data(), n, g_out.data(), g_values.data(),
                           scratch_of(scratch, kCornerEntries * n), stream_of(stream));
      },
      A("u"), A("g_out"), A("g_values"), A("scratch"), nb::arg("stream"));
  m.def(
      "grid_hash",
      [](constants table, std::vector<int> nodes, constants u, numbers out, uintptr_t stream) {
        grid::check_table(table, nodes);
        expect(nodes.size() <= kMaxLevels, "more than 32 levels");
        const int64_t n = grid::check_points(u, out, table.shape(0) * table.shape(2));
        hash(table.data(), nodes.data(), int(nodes.size()), int64_t(table.shape(1)), int(table.shape(2)), u.data(), n,
             out.data(), stream_of(stream));
      },
      A("table"), nb::arg("nodes"), A("u"), A("out"), nb::arg("stream"));
  m.def(
      "grid_hash_backward",
      [](std::vector<int> nodes, constants u, constants g_out, numbers g_table, bytes scratch, uintptr_t stream) {
        grid::check_table(g_table, nodes);
        const int64_t n = grid::check_points(u, g_out, g_table.shape(0) * g_table.shape(2));
        hash_backward(nodes.data(), int(nodes.size()), int64_t(g_table.shape(1)), int(g_table.shape(2)), u.data(), n,
                      g_out.data(), g_table.data(), scratch_of(scratch, kCornerEntries * n), stream_of(stream));
      },
      nb::arg("nodes"), A("u"), A("g_out"), A("g_table"), A("scratch"), nb::arg("stream"));
  m.def(
      "grid_sum",
      [](constants values, std::vector<int> nodes, constants u, numbers out, numbers gradient, uintptr_t stream) {
        grid::check_sum(values, nodes);
        expect(nodes.size() <= kMaxLevels, "more than 32 levels");
        const int64_t n = grid::check_points(u, out, 1);
        grid::check_points(u, gradient, 3);
        sum(values.data(), nodes.data(), int(nodes.size()), u.data(), n, out.data(), gradient.data(),
            stream_of(stream));
      },
      A("values"), nb::arg("nodes"), A("u"), A("out"), A("gradient"), nb::arg("stream"));
  m.def(
      "grid_sum_backward",
      [](std::vector<int> nodes, constants u, constants g_out, constants g_gradient, numbers g_values, bytes scratch,
         uintptr_t stream) {
        grid::check_sum(g_values, nodes);
        const int64_t n = grid::check_points(u, g_out, 1);
        grid::check_points(u, g_gradient, 3);
        for (int nodes_of_level : nodes) expect(nodes_of_level <= 1625, "a level has more than 2^32 nodes");
        sum_backward(nodes.data(), int(nodes.size()), u.data(), n, g_out.data(), g_gradient.data(), g_values.data(),
                     scratch_of(scratch, kCornerEntries * n), stream_of(stream));
      },
      nb::arg("nodes"), A("u"), A("g_out"), A("g_gradient"), A("g_values"), A("scratch"), nb::arg("stream"));
}

void bind_factors(nb::module_& m) {
  m.def(
      "grid_vector_matrix",
      [](constants planes, constants lines, constants u, numbers out, uintptr_t stream) {
        grid::check_factors(planes, lines);
        const int64_t n = grid::check_points(u, out, 3 * lines.shape(2));
        vector_matrix(planes.data(), lines.data(), int(lines.shape(1)), int(lines.shape(2)), u.data(), n, out.data(),
                      stream_of(stream));
      },
      A("planes"), A("lines"), A("u"), A("out"), nb::arg("stream"));
  m.def(
      "grid_vector_matrix_backward",
      [](constants planes, constants lines, constants u, constants g_out, numbers g_planes, numbers g_lines,
         bytes scratch, uintptr_t stream) {
        grid::check_factors(planes, lines);
        grid::check_factors(g_planes, g_lines);
        expect(g_planes.size() == planes.size(), "g_planes must be as large as planes");
        const int64_t n = grid::check_points(u, g_out, 3 * lines.shape(2));
        vector_matrix_backward(planes.data(), lines.data(), int(lines.shape(1)), int(lines.shape(2)), u.data(), n,
                               g_out.data(), g_planes.data(), g_lines.data(), scratch_of(scratch, kModeEntries * n),
                               stream_of(stream));
      },
      A("planes"), A("lines"), A("u"), A("g_out"), A("g_planes"), A("g_lines"), A("scratch"), nb::arg("stream"));
  m.def(
      "grid_tri_vector",
      [](constants lines, constants u, numbers out, uintptr_t stream) {
        grid::check_lines(lines);
        const int64_t n = grid::check_points(u, out, lines.shape(2));
        tri_vector(lines.data(), int(lines.shape(1)), int(lines.shape(2)), u.data(), n, out.data(), stream_of(stream));
      },
      A("lines"), A("u"), A("out"), nb::arg("stream"));
  m.def(
      "grid_tri_vector_backward",
      [](constants lines, constants u, constants g_out, numbers g_lines, bytes scratch, uintptr_t stream) {
        grid::check_lines(lines);
        expect(g_lines.size() == lines.size(), "g_lines must be as large as lines");
        const int64_t n = grid::check_points(u, g_out, lines.shape(2));
        tri_vector_backward(lines.data(), int(lines.shape(1)), int(lines.shape(2)), u.data(), n, g_out.data(),
                            g_lines.data(), scratch_of(scratch, kLineEntries * n), stream_of(stream));
      },
      A("lines"), A("u"), A("g_out"), A("g_lines"), A("scratch"), nb::arg("stream"));
  m.def(
      "grid_local",
      [](constants lines, array<const int32_t> table, double half, constants u, numbers out, uintptr_t stream) {
        const lattice at = lattice_of(lines, table, half);
        const int64_t n = grid::check_points(u, out, lines.shape(3));
        local(lines.data(), int(lines.shape(2)), int(lines.shape(3)), at, u.data(), n, out.data(), stream_of(stream));
      },
      A("lines"), A("table"), nb::arg("half"), A("u"), A("out"), nb::arg("stream"));
  m.def(
      "grid_local_backward",
      [](constants lines, array<const int32_t> table, double half, constants u, constants g_out, numbers g_lines,
         bytes scratch, uintptr_t stream) {
        const lattice at = lattice_of(lines, table, half);
        const int64_t n = grid::check_points(u, g_out, lines.shape(3));
        expect(g_lines.size() == lines.size(), "g_lines must be as large as lines");
        local_backward(lines.data(), int64_t(lines.shape(0)), int(lines.shape(2)), int(lines.shape(3)), at, u.data(), n,
                       g_out.data(), g_lines.data(), scratch_of(scratch, kLocalEntries * n), stream_of(stream));
      },
      A("lines"), A("table"), nb::arg("half"), A("u"), A("g_out"), A("g_lines"), A("scratch"), nb::arg("stream"));
}
#undef A

}  // namespace
}  // namespace recon::gpu

void bind_grid_cuda(nanobind::module_& m) {
  m.def("grid_scratch", &recon::gpu::grid_scratch_bytes);
  recon::gpu::bind_grids(m);
  recon::gpu::bind_factors(m);
}
