// Python's view of isosurfaces; shapes are checked with better words in recon/ops/flexicubes.py and marching_cubes.py.
#include <nanobind/stl/array.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/tuple.h>

#include "core/arrays.h"
#include "core/dual.h"
#include "iso/check.h"
#include "iso/iso.h"
#include "iso/iso_cpu.h"
#include "iso/tables.h"

namespace {

using namespace recon;
template <class S>
using Optional = std::optional<array<S>>;
using iso::Numbers;

template <class T>
nb::ndarray<nb::numpy, T> owned(std::vector<T>&& values, size_t columns) {
  auto* kept = new std::vector<T>(std::move(values));
  nb::capsule owner(kept, [](void* p) noexcept { delete static_cast<std::vector<T>*>(p); });
  const size_t shape[2] = {kept->size() / columns, columns};
  return nb::ndarray<nb::numpy, T>(kept->data(), columns == 1 ? 1 : 2, shape, owner);
}

template <class S>
auto dual_topology(array<const S> values) {
  const iso::Grid g = iso::check_grid(values, {0, 0, 0}, {1, 1, 1});
  iso::DualTopology found;
  {
    nb::gil_scoped_release release;
    found = iso::dual_topology(values.data(), g);
  }
  return std::tuple{owned(std::move(found.cube), 1), owned(std::move(found.members), 1),
                    owned(std::move(found.quads), 4)};
}

template <class S>
auto marching_cubes(array<const S> values, Optional<const uint8_t> known) {
  const iso::Grid g = iso::check_grid(values, {0, 0, 0}, {1, 1, 1});
  expect(!known || known->size() == values.size(), "known must have the shape of values");
  if (known)
    for (size_t i = 0; i < known->size(); ++i) expect(known->data()[i] < 2, "known must be 0 or 1");
  iso::Triangles found;
  {
    nb::gil_scoped_release release;
    found = iso::marching_cubes(values.data(), known ? known->data() : nullptr, g);
  }
  return std::tuple{owned(std::move(found.edge), 1), owned(std::move(found.faces), 3)};
}

// The tensors of a flexible mesh, checked: everything the kernel indexes with lies in range.
template <class S>
iso::Flexible<S> flexible(const array<const S>& values, const Numbers& origin, const Numbers& spacing,
                          const Optional<const S>& deformed, const Optional<const S>& weights,
                          const array<const int32_t>& cube, const array<const uint16_t>& members,
                          const array<const int32_t>& quads) {
  const iso::Grid g = iso::check_grid(values, origin, spacing);
  expect(!deformed || deformed->size() == 3 * values.size(), "deformed must be [points, 3]");
  expect(!weights || weights->size() == size_t(iso::kWeights * g.cubes()), "weights must be [cubes, 21]");
  expect(cube.ndim() == 1 && members.ndim() == 1 && cube.size() == members.size(), "cube and members must match");
  expect(quads.ndim() == 2 && quads.shape(1) == 4, "quads must be [q, 4]");
  for (size_t i = 0; i < cube.size(); ++i) {
    expect(cube.data()[i] >= (i ? cube.data()[i - 1] : 0) && cube.data()[i] < g.cubes(), "cube must be ascending");
    expect(members.data()[i] != 0 && members.data()[i] < (1 << 12), "members must name edges");
  }
  for (size_t i = 0; i < quads.size(); ++i)
    expect(quads.data()[i] >= 0 && quads.data()[i] < int64_t(cube.size()), "quads must name vertices");
  return {g,
          values.data(),
          deformed ? deformed->data() : nullptr,
          weights ? weights->data() : nullptr,
          cube.data(),
          members.data(),
          int64_t(cube.size()),
          quads.data(),
          int64_t(quads.shape(0))};
}

template <class S>
void flexible_vertices(array<const S> values, Numbers origin, Numbers spacing, Optional<const S> deformed,
                       Optional<const S> weights, array<const int32_t> cube, array<const uint16_t> members,
                       array<const int32_t> quads, array<S> vertices, array<S> deviation, Optional<S> centres) {
  const auto mesh = flexible<S>(values, origin, spacing, deformed, weights, cube, members, quads);
  expect(vertices.size() == 3 * cube.size() && deviation.size() == cube.size(), "outputs must match cube");
  expect(!centres || centres->size() == 3 * quads.shape(0), "centres must be [q, 3]");
  S* const c = centres ? centres->data() : nullptr;
  nb::gil_scoped_release release;
  iso::flexible_vertices(mesh, vertices.data(), deviation.data(), c);
}

template <class S>
void flexible_vertices_backward(array<const S> values, Numbers origin, Numbers spacing, Optional<const S> deformed,
                                Optional<const S> weights, array<const int32_t> cube, array<const uint16_t> members,
                                array<const int32_t> quads, array<const S> vertices, array<S> g_vertices,
                                Optional<const S> g_deviation, Optional<const S> g_centres, array<S> g_values,
                                Optional<S> g_deformed, Optional<S> g_weights) {
  const auto mesh = flexible<S>(values, origin, spacing, deformed, weights, cube, members, quads);
  expect(vertices.size() == 3 * cube.size() && g_vertices.size() == vertices.size(), "g_vertices must match cube");
  expect(!g_deviation || g_deviation->size() == cube.size(), "g_deviation must match cube");
  expect(!g_centres || g_centres->size() == 3 * quads.shape(0), "g_centres must be [q, 3]");
  expect(g_values.size() == values.size(), "g_values must have the shape of values");
  expect(!g_deformed || (deformed && g_deformed->size() == deformed->size()), "g_deformed must match deformed");
  expect(!g_weights || (weights && g_weights->size() == weights->size()), "g_weights must match weights");
  const S* const gd = g_deviation ? g_deviation->data() : nullptr;
  const S* const gc = g_centres ? g_centres->data() : nullptr;
  S* const gx = g_deformed ? g_deformed->data() : nullptr;
  S* const gw = g_weights ? g_weights->data() : nullptr;
  nb::gil_scoped_release release;
  iso::flexible_vertices_backward(mesh, vertices.data(), g_vertices.data(), gd, gc, g_values.data(), gx, gw);
}

template <class S>
void deform(array<const S> raw, Numbers origin, Numbers spacing, array<S> deformed) {
  const auto g = iso::check_places(raw, origin, spacing);
  expect(deformed.size() == raw.size(), "deformed must have the shape of raw");
  nb::gil_scoped_release release;
  iso::deform(g, raw.data(), deformed.data());
}
template <class S>
void deform_backward(array<const S> deformed, Numbers origin, Numbers spacing, array<S> gradient) {
  const auto g = iso::check_places(deformed, origin, spacing);
  expect(gradient.size() == deformed.size(), "gradient must have the shape of deformed");
  nb::gil_scoped_release release;
  iso::deform_backward(g, deformed.data(), gradient.data());
}

template <class S>
double sign_change(array<const S> values, array<S> gradient) {
  const iso::Grid g = iso::check_grid(values, {0, 0, 0}, {1, 1, 1});
  expect(gradient.size() == values.size(), "gradient must have the shape of values");
  nb::gil_scoped_release release;
  return iso::sign_change(values.data(), g, gradient.data());
}

// For tests: derivatives of v . g[0:3] + g[3] deviation for one cube, inputs [52] = s 8, x 24, alpha 8, beta 12.
void flexible_derivatives(array<const double> inputs, array<const double> g_out, int members, array<double> by_hand,
                          array<double> by_dual) {
  constexpr int kInputs = 52;
  static_assert(sizeof(iso::cube<double>) == kInputs * sizeof(double));
  expect(inputs.size() == kInputs && g_out.size() == 4 && by_hand.size() == kInputs && by_dual.size() == kInputs,
         "inputs must be [52] and g_out [4]");
  iso::cube<double> c, g{};
  std::copy(inputs.data(), inputs.data() + kInputs, c.s);
  iso::dual_vertex_backward(c, unsigned(members), g_out.data(), g_out.data()[3], g);
  std::copy(g.s, g.s + kInputs, by_hand.data());
  for (int i = 0; i < kInputs; ++i) {
    iso::cube<dual<double>> d;
    dual<double>* flat = d.s;
    for (int j = 0; j < kInputs; ++j) flat[j] = dual<double>(inputs.data()[j], i == j ? 1.0 : 0.0);
    dual<double> v[3], deviation;
    iso::dual_vertex(d, unsigned(members), v, deviation);
    by_dual.data()[i] = g_out.data()[3] * deviation.d;
    for (int k = 0; k < 3; ++k) by_dual.data()[i] += g_out.data()[k] * v[k].d;
  }
}

// For tests: per case the loops as bit sets of edges, plain and flipped, and the pinched face (6: none).
nb::list case_tables() {
  nb::list out;
  for (int c = 0; c < 256; ++c) {
    nb::list plain, flipped;
    for (int flip = 0; flip < 2; ++flip) {
      const iso::Fans& fans = iso::tables().fans[256 * flip + c];
      for (int f = 0; f < fans.count; ++f) (flip ? flipped : plain).append(int(fans.members[f]));
    }
    out.append(nb::make_tuple(plain, flipped, int(iso::tables().plain[c].pinched)));
  }
  return out;
}

template <class S>
void bind_number(nb::module_& m) {
  using nb::arg;
  const auto opt = [](const char* name) { return nb::arg(name).noconvert().none(); };
  m.def("dual_topology", &dual_topology<S>, arg("values").noconvert());
  m.def("marching_cubes", &marching_cubes<S>, arg("values").noconvert(), opt("known"));
  m.def("flexible_vertices", &flexible_vertices<S>, arg("values").noconvert(), arg("origin"), arg("spacing"),
        opt("deformed"), opt("weights"), arg("cube").noconvert(), arg("members").noconvert(), arg("quads").noconvert(),
        arg("vertices").noconvert(), arg("deviation").noconvert(), opt("centres"));
  m.def("flexible_vertices_backward", &flexible_vertices_backward<S>, arg("values").noconvert(), arg("origin"),
        arg("spacing"), opt("deformed"), opt("weights"), arg("cube").noconvert(), arg("members").noconvert(),
        arg("quads").noconvert(), arg("vertices").noconvert(), arg("g_vertices").noconvert(), opt("g_deviation"),
        opt("g_centres"), arg("g_values").noconvert(), opt("g_deformed"), opt("g_weights"));
  m.def("deform_grid", &deform<S>, arg("raw").noconvert(), arg("origin"), arg("spacing"), arg("deformed").noconvert());
  m.def("deform_grid_backward", &deform_backward<S>, arg("deformed").noconvert(), arg("origin"), arg("spacing"),
        arg("gradient").noconvert());
  m.def("sign_change", &sign_change<S>, arg("values").noconvert(), arg("gradient").noconvert());
}

}  // namespace

void bind_iso(nb::module_& m) {
  bind_number<float>(m);
  bind_number<double>(m);
  m.def("flexible_derivatives", &flexible_derivatives, nb::arg("inputs").noconvert(), nb::arg("g_out").noconvert(),
        nb::arg("members"), nb::arg("by_hand").noconvert(), nb::arg("by_dual").noconvert());
  m.def("case_tables", &case_tables);
}
