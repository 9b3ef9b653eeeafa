// Python's view of grids and factors; shapes are checked with better words in recon/ops/grid.py.
#include <nanobind/stl/vector.h>

#include "core/arrays.h"
#include "grid/check.h"
#include "grid/grid_cpu.h"

namespace {

using namespace recon;

template <class S>
void trilinear(array<const S> values, array<const S> u, array<S> out) {
  int size[3];
  grid::check_values(values, size);
  const int64_t n = grid::check_points(u, out, values.shape(3));
  nb::gil_scoped_release release;
  grid::trilinear<S>(values.data(), size, int(values.shape(3)), u.data(), n, out.data());
}
template <class S>
void trilinear_backward(array<const S> u, array<const S> g_out, array<S> g_values) {
  int size[3];
  grid::check_values(g_values, size);
  const int64_t n = grid::check_points(u, g_out, g_values.shape(3));
  nb::gil_scoped_release release;
  grid::trilinear_backward<S>(size, int(g_values.shape(3)), u.data(), n, g_out.data(), g_values.data());
}

template <class S>
void vector_matrix(array<const S> planes, array<const S> lines, array<const S> u, array<S> out) {
  grid::check_factors(planes, lines);
  const int64_t n = grid::check_points(u, out, 3 * lines.shape(2));
  nb::gil_scoped_release release;
  grid::vector_matrix<S>(planes.data(), lines.data(), int(lines.shape(1)), int(lines.shape(2)), u.data(), n,
                         out.data());
}
template <class S>
void vector_matrix_backward(array<const S> planes, array<const S> lines, array<const S> u, array<const S> g_out,
                            array<S> g_planes, array<S> g_lines) {
  grid::check_factors(planes, lines);
  grid::check_factors(g_planes, g_lines);
  expect(g_planes.size() == planes.size(), "g_planes must be as large as planes");
  const int64_t n = grid::check_points(u, g_out, 3 * lines.shape(2));
  nb::gil_scoped_release release;
  grid::vector_matrix_backward<S>(planes.data(), lines.data(), int(lines.shape(1)), int(lines.shape(2)), u.data(), n,
                                  g_out.data(), g_planes.data(), g_lines.data());
}

template <class S>
void tri_vector(array<const S> lines, array<const S> u, array<S> out) {
  grid::check_lines(lines);
  const int64_t n = grid::check_points(u, out, lines.shape(2));
  nb::gil_scoped_release release;
  grid::tri_vector<S>(lines.data(), int(lines.shape(1)), int(lines.shape(2)), u.data(), n, out.data());
}
template <class S>
void tri_vector_backward(array<const S> lines, array<const S> u, array<const S> g_out, array<S> g_lines) {
  grid::check_lines(lines);
  expect(g_lines.size() == lines.size(), "g_lines must be as large as lines");
  const int64_t n = grid::check_points(u, g_out, lines.shape(2));
  nb::gil_scoped_release release;
  grid::tri_vector_backward<S>(lines.data(), int(lines.shape(1)), int(lines.shape(2)), u.data(), n, g_out.data(),
                               g_lines.data());
}

template <class S>
void hash(array<const S> table, std::vector<int> nodes, array<const S> u, array<S> out) {
  grid::check_table(table, nodes);
  const int64_t n = grid::check_points(u, out, table.shape(0) * table.shape(2));
  nb::gil_scoped_release release;
  grid::hash<S>(table.data(), nodes, int64_t(table.shape(1)), int(table.shape(2)), u.data(), n, out.data());
}
template <class S>
void hash_backward(std::vector<int> nodes, array<const S> u, array<const S> g_out, array<S> g_table) {
  grid::check_table(g_table, nodes);
  const int64_t n = grid::check_points(u, g_out, g_table.shape(0) * g_table.shape(2));
  nb::gil_scoped_release release;
  grid::hash_backward<S>(nodes, int64_t(g_table.shape(1)), int(g_table.shape(2)), u.data(), n, g_out.data(),
                         g_table.data());
}

template <class S>
void sum(array<const S> values, std::vector<int> nodes, array<const S> u, array<S> out, array<S> gradient) {
  grid::check_sum(values, nodes);
  const int64_t n = grid::check_points(u, out, 1);
  grid::check_points(u, gradient, 3);
  nb::gil_scoped_release release;
  grid::sum<S>(values.data(), nodes, u.data(), n, out.data(), gradient.data());
}
template <class S>
void sum_backward(std::vector<int> nodes, array<const S> u, array<const S> g_out, array<const S> g_gradient,
                  array<S> g_values) {
  grid::check_sum(g_values, nodes);
  const int64_t n = grid::check_points(u, g_out, 1);
  grid::check_points(u, g_gradient, 3);
  nb::gil_scoped_release release;
  grid::sum_backward<S>(nodes, u.data(), n, g_out.data(), g_gradient.data(), g_values.data());
}

template <class L, class T>
void check_lattice(const L& lines, const T& table, double half, int* sites) {
  grid::check_local(lines, table, half, sites);
  for (size_t i = 0; i < table.size(); ++i)
    expect(table.data()[i] < int64_t(lines.shape(0)), "table names a tensor that is not there");
}
template <class S>
void local(array<const S> lines, array<const int32_t> table, double half, array<const S> u, array<S> out) {
  int sites[3];
  check_lattice(lines, table, half, sites);
  const int64_t n = grid::check_points(u, out, lines.shape(3));
  nb::gil_scoped_release release;
  grid::local<S>(lines.data(), int(lines.shape(2)), int(lines.shape(3)), table.data(), sites, S(half), u.data(), n,
                 out.data());
}
template <class S>
void local_backward(array<const S> lines, array<const int32_t> table, double half, array<const S> u,
                    array<const S> g_out, array<S> g_lines) {
  int sites[3];
  check_lattice(lines, table, half, sites);
  const int64_t n = grid::check_points(u, g_out, lines.shape(3));
  expect(g_lines.size() == lines.size(), "g_lines must be as large as lines");
  nb::gil_scoped_release release;
  grid::local_backward<S>(lines.data(), int64_t(lines.shape(0)), int(lines.shape(2)), int(lines.shape(3)), table.data(),
                          sites, S(half), u.data(), n, g_out.data(), g_lines.data());
}

template <class S>
void nonzero_rows(array<const S> g, array<uint8_t> mask) {
  expect(g.ndim() == 2 && mask.size() == g.shape(0), "g must be [n, width], mask [n]");
  nb::gil_scoped_release release;
  grid::nonzero_rows<S>(g.data(), int64_t(g.shape(0)), int(g.shape(1)), mask.data());
}

#define A(name) nb::arg(name).noconvert()
template <class S>
void bind_for(nb::module_& m) {
  m.def("grid_trilinear", &trilinear<S>, A("values"), A("u"), A("out"));
  m.def("grid_trilinear_backward", &trilinear_backward<S>, A("u"), A("g_out"), A("g_values"));
  m.def("grid_vector_matrix", &vector_matrix<S>, A("planes"), A("lines"), A("u"), A("out"));
  m.def("grid_vector_matrix_backward", &vector_matrix_backward<S>, A("planes"), A("lines"), A("u"), A("g_out"),
        A("g_planes"), A("g_lines"));
  m.def("grid_tri_vector", &tri_vector<S>, A("lines"), A("u"), A("out"));
  m.def("grid_tri_vector_backward", &tri_vector_backward<S>, A("lines"), A("u"), A("g_out"), A("g_lines"));
  m.def("grid_hash", &hash<S>, A("table"), nb::arg("nodes"), A("u"), A("out"));
  m.def("grid_nonzero_rows", &nonzero_rows<S>, A("g"), A("mask"));
  m.def("grid_sum", &sum<S>, A("values"), nb::arg("nodes"), A("u"), A("out"), A("gradient"));
  m.def("grid_sum_backward", &sum_backward<S>, nb::arg("nodes"), A("u"), A("g_out"), A("g_gradient"), A("g_values"));
  m.def("grid_hash_backward", &hash_backward<S>, nb::arg("nodes"), A("u"), A("g_out"), A("g_table"));
  m.def("grid_local", &local<S>, A("lines"), A("table"), nb::arg("half"), A("u"), A("out"));
  m.def("grid_local_backward", &local_backward<S>, A("lines"), A("table"), nb::arg("half"), A("u"), A("g_out"),
        A("g_lines"));
}

}  // namespace

void bind_grid(nb::module_& m) {
  bind_for<float>(m);
  bind_for<double>(m);
}
#undef A
