// Python binding of the CUDA drivers of FlexiCubes; no logic. What is not given is an empty array. That the topology
// names cubes and vertices that are there is the caller's to know: it cannot be read without waiting for the device.
#include <nanobind/stl/array.h>

#include "core/arrays_cuda.h"
#include "iso/check.h"
#include "iso/iso_cuda.h"
#include "iso/topology_cuda.h"

namespace recon::gpu {
namespace {

using constants = array<const float>;
using indices = array<const int32_t>;
using edge_sets = array<const int16_t>;  // uint16 in the kernels, which torch has little of

template <class A>
auto given(const A& a) {
  return a.size() ? a.data() : nullptr;
}

iso::Flexible<float> mesh_of(const constants& values, const iso::Numbers& origin, const iso::Numbers& spacing,
                             const constants& deformed, const constants& weights, const indices& cube,
                             const edge_sets& members, const indices& quads) {
  const iso::Grid g = iso::check_grid(values, origin, spacing);
  expect(iso::kWeights * g.cubes() < (int64_t(1) << 32), "grid is too large");
  expect(deformed.size() == 0 || deformed.size() == 3 * values.size(), "deformed must be [points, 3]");
  expect(weights.size() == 0 || weights.size() == size_t(iso::kWeights * g.cubes()), "weights must be [cubes, 21]");
  expect(cube.ndim() == 1 && members.size() == cube.size(), "cube and members must match");
  expect(quads.ndim() == 2 && quads.shape(1) == 4, "quads must be [q, 4]");
  return {g,
          values.data(),
          given(deformed),
          given(weights),
          cube.data(),
          reinterpret_cast<const uint16_t*>(members.data()),
          int64_t(cube.size()),
          quads.data(),
          int64_t(quads.shape(0))};
}

#define A(name) nb::arg(name).noconvert()
void bind_grids(nb::module_& m) {
  m.def(
      "deform_grid",
      [](constants raw, iso::Numbers origin, iso::Numbers spacing, numbers deformed, uintptr_t stream) {
        const auto g = iso::check_places(raw, origin, spacing);
        expect(deformed.size() == raw.size(), "deformed must have the shape of raw");
        deform(g, raw.data(), deformed.data(), stream_of(stream));
      },
      A("raw"), nb::arg("origin"), nb::arg("spacing"), A("deformed"), nb::arg("stream"));
  m.def(
      "deform_grid_backward",
      [](constants deformed, iso::Numbers origin, iso::Numbers spacing, numbers gradient, uintptr_t stream) {
        const auto g = iso::check_places(deformed, origin, spacing);
        expect(gradient.size() == deformed.size(), "gradient must have the shape of deformed");
        deform_backward(g, deformed.data(), gradient.data(), stream_of(stream));
      },
      A("deformed"), nb::arg("origin"), nb::arg("spacing"), A("gradient"), nb::arg("stream"));
  m.def("sign_change_blocks", &sign_change_blocks);
  m.def(
      "sign_change",
      [](constants values, numbers gradient, array<double> partial, array<double> loss, uintptr_t stream) {
        const iso::Grid g = iso::check_grid(values, {0, 0, 0}, {1, 1, 1});
        expect(gradient.size() == values.size() && loss.size() == 1 &&
                   int64_t(partial.size()) == 2 * sign_change_blocks(g.points()),
               "gradient must have the shape of values, and enough scratch memory");
        sign_change(values.data(), g, gradient.data(), partial.data(), loss.data(), stream_of(stream));
      },
      A("values"), A("gradient"), A("partial"), A("loss"), nb::arg("stream"));
}

using kinds_of_cubes = array<int16_t>;

const iso::Tables* tables_of(const bytes& tables) {
  expect(tables.size() == sizeof(iso::Tables), "these are not the tables");
  return reinterpret_cast<const iso::Tables*>(tables.data());
}

iso::Grid counted_grid(const constants& values, const kinds_of_cubes& kinds, const ids& vertex_end,
                       const ids& quad_end) {
  const iso::Grid g = iso::check_grid(values, {0, 0, 0}, {1, 1, 1});
  expect(int64_t(kinds.size()) == g.cubes() && int64_t(vertex_end.size()) == g.cubes() &&
             int64_t(quad_end.size()) == 3 * g.points(),
         "kinds and vertex_end must be [cubes], quad_end [3 points]");
  return g;
}

void bind_topology(nb::module_& m) {
  m.attr("topology_tables") = nb::bytes(&iso::tables(), sizeof(iso::Tables));
  m.def("topology_scratch", [](int64_t nz, int64_t ny, int64_t nx) {
    return topology_scratch_bytes(iso::Grid{nx, ny, nz, {0, 0, 0}, {1, 1, 1}});
  });
  m.def(
      "topology_count",
      [](constants values, bytes tables, kinds_of_cubes kinds, ids vertex_end, ids quad_end, ids totals, bytes scratch,
         uintptr_t stream) {
        const iso::Grid g = counted_grid(values, kinds, vertex_end, quad_end);
        expect(totals.size() == 2 && scratch.size() >= topology_scratch_bytes(g), "not enough scratch memory");
        count_topology(values.data(), g, tables_of(tables), kinds.data(), ids_of(vertex_end), ids_of(quad_end),
                       totals.data(), scratch.data(), stream_of(stream));
      },
      A("values"), A("tables"), A("kinds"), A("vertex_end"), A("quad_end"), A("totals"), A("scratch"),
      nb::arg("stream"));
  m.def(
      "topology_write",
      [](constants values, bytes tables, kinds_of_cubes kinds, ids vertex_end, ids quad_end, ids cube,
         array<int16_t> members, ids quads, uintptr_t stream) {
        const iso::Grid g = counted_grid(values, kinds, vertex_end, quad_end);
        expect(members.size() == cube.size() && quads.ndim() == 2 && quads.shape(1) == 4,
               "cube and members must match, quads be [q, 4]");
        write_topology(values.data(), g, tables_of(tables), kinds.data(), ids_of(vertex_end), ids_of(quad_end),
                       cube.data(), reinterpret_cast<uint16_t*>(members.data()), int64_t(cube.size()), quads.data(),
                       int64_t(quads.shape(0)), stream_of(stream));
      },
      A("values"), A("tables"), A("kinds"), A("vertex_end"), A("quad_end"), A("cube"), A("members"), A("quads"),
      nb::arg("stream"));
}

scalar_grid marched_grid(const constants& values, const bytes& known, const ids& edge_end, const ids& triangle_end) {
  const iso::Grid g = iso::check_grid(values, {0, 0, 0}, {1, 1, 1});
  expect((known.size() == 0 || known.size() == values.size()) && int64_t(edge_end.size()) == 3 * g.points() &&
             int64_t(triangle_end.size()) == g.cubes(),
         "known must have the shape of values, edge_end be [3 points], triangle_end [cubes]");
  return {g, values.data(), given(known)};
}

void bind_marching(nb::module_& m) {
  m.def(
      "marching_count",
      [](constants values, bytes known, bytes tables, ids edge_end, ids triangle_end, ids totals, bytes scratch,
         uintptr_t stream) {
        const scalar_grid s = marched_grid(values, known, edge_end, triangle_end);
        expect(totals.size() == 2 && scratch.size() >= topology_scratch_bytes(s.grid), "not enough scratch memory");
        count_marching(s, tables_of(tables), ids_of(edge_end), ids_of(triangle_end), totals.data(), scratch.data(),
                       stream_of(stream));
      },
      A("values"), A("known"), A("tables"), A("edge_end"), A("triangle_end"), A("totals"), A("scratch"),
      nb::arg("stream"));
  m.def(
      "marching_write",
      [](constants values, bytes known, bytes tables, ids edge_end, ids triangle_end, array<int64_t> crossed, ids faces,
         uintptr_t stream) {
        const scalar_grid s = marched_grid(values, known, edge_end, triangle_end);
        expect(crossed.ndim() == 1 && faces.ndim() == 2 && faces.shape(1) == 3, "crossed must be [v], faces [f, 3]");
        write_marching(s, tables_of(tables), ids_of(edge_end), ids_of(triangle_end), crossed.data(), faces.data(),
                       stream_of(stream));
      },
      A("values"), A("known"), A("tables"), A("edge_end"), A("triangle_end"), A("crossed"), A("faces"),
      nb::arg("stream"));
}

void bind_meshes(nb::module_& m) {
  m.def(
      "flexible_vertices",
      [](constants values, iso::Numbers origin, iso::Numbers spacing, constants deformed, constants weights,
         indices cube, edge_sets members, indices quads, numbers vertices, numbers deviation, numbers centres,
         uintptr_t stream) {
        const auto mesh = mesh_of(values, origin, spacing, deformed, weights, cube, members, quads);
        expect(vertices.size() == 3 * cube.size() && deviation.size() == cube.size() &&
                   (centres.size() == 0 || centres.size() == 3 * quads.shape(0)),
               "outputs must match cube, centres be [q, 3]");
        flexible_vertices(mesh, vertices.data(), deviation.data(), given(centres), stream_of(stream));
      },
      A("values"), nb::arg("origin"), nb::arg("spacing"), A("deformed"), A("weights"), A("cube"), A("members"),
      A("quads"), A("vertices"), A("deviation"), A("centres"), nb::arg("stream"));
  m.def("flexible_scratch", &flexible_scratch_bytes);
  m.def(
      "flexible_vertices_backward",
      [](constants values, iso::Numbers origin, iso::Numbers spacing, constants deformed, constants weights,
         indices cube, edge_sets members, indices quads, constants vertices, numbers g_vertices, constants g_deviation,
         constants g_centres, numbers g_values, numbers g_deformed, numbers g_weights, bytes scratch,
         uintptr_t stream) {
        const auto mesh = mesh_of(values, origin, spacing, deformed, weights, cube, members, quads);
        expect(vertices.size() == 3 * cube.size() && g_vertices.size() == vertices.size() &&
                   (g_deviation.size() == 0 || g_deviation.size() == cube.size()) &&
                   (g_centres.size() == 0 || g_centres.size() == 3 * quads.shape(0)) &&
                   g_values.size() == values.size() &&
                   (g_deformed.size() == 0 || g_deformed.size() == deformed.size()) &&
                   (g_weights.size() == 0 || g_weights.size() == weights.size()),
               "gradients must have the shapes of what they belong to");
        expect(scratch.size() >= flexible_scratch_bytes(mesh.vertices, mesh.num_quads, mesh.grid.cubes()),
               "not enough scratch memory");
        flexible_vertices_backward(mesh, vertices.data(),
                                   {g_vertices.data(), given(g_deviation), given(g_centres), g_values.data(),
                                    given(g_deformed), given(g_weights)},
                                   scratch.data(), stream_of(stream));
      },
      A("values"), nb::arg("origin"), nb::arg("spacing"), A("deformed"), A("weights"), A("cube"), A("members"),
      A("quads"), A("vertices"), A("g_vertices"), A("g_deviation"), A("g_centres"), A("g_values"), A("g_deformed"),
      A("g_weights"), A("scratch"), nb::arg("stream"));
}
#undef A

}  // namespace
}  // namespace recon::gpu

void bind_iso_cuda(nanobind::module_& m) {
  recon::gpu::bind_grids(m);
  recon::gpu::bind_topology(m);
  recon::gpu::bind_marching(m);
  recon::gpu::bind_meshes(m);
}
