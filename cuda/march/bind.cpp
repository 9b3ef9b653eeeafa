// Python's view of ray marching; shapes are checked with better words in recon/ops/march.py.
#include <nanobind/stl/tuple.h>

#include "core/arrays.h"
#include "march/check.h"
#include "march/march_cpu.h"

namespace {

using namespace recon;
template <class S>
using S1 = array<const S>;

template <class T>
nb::object owned(std::unique_ptr<T[]>& values, size_t rows, size_t columns) {
  T* data = values.release();
  nb::capsule owner(data, [](void* p) noexcept { delete[] static_cast<T*>(p); });
  const size_t shape[2] = {rows, columns};
  return nb::cast(nb::ndarray<nb::numpy, T>(data, columns ? 2 : 1, shape, owner));
}

nb::tuple sample(array<const float> origin, array<const float> direction, array<const float> offset,
                 array<const float> box, array<const uint8_t> cells, float near, float far, float step) {
  const auto d = march::check_rays(origin, direction, offset, box, cells, far, step);
  const auto grid = march::check_cells(cells);
  march::samples found;
  {
    nb::gil_scoped_release release;
    found = march::sample_rays(origin.data(), direction.data(), offset.data(), int64_t(offset.size()), d, grid, near,
                               far, step);
  }
  const size_t m = size_t(found.count);
  return nb::make_tuple(owned(found.position, m, 3), owned(found.t, m, 0), owned(found.offsets, offset.size() + 1, 0));
}

void distances(array<uint8_t> cells) { march::distance_to_occupied(cells.data(), march::check_cells(cells).size); }

void check_offsets(const array<const int32_t>& offsets, size_t samples) {
  expect(offsets.size() >= 1 && offsets.data()[0] == 0 && size_t(offsets.data()[offsets.size() - 1]) == samples,
         "offsets must go from 0 to the number of samples");
}

template <class S>
void weights(S1<S> raw, array<const int32_t> offsets, S delta, S shift, S end, array<S> weight) {
  check_offsets(offsets, raw.size());
  expect(weight.size() == raw.size(), "weight must be [samples]");
  nb::gil_scoped_release release;
  march::weights<S>(raw.data(), offsets.data(), int64_t(offsets.size()) - 1, delta, shift, end, weight.data());
}

template <class S>
void composite(S1<S> raw, S1<S> t, array<const int32_t> offsets, S1<S> colour, array<const int32_t> index,
               S1<S> background, S delta, S shift, array<S> rgb, array<S> depth, array<S> T, array<S> distortion) {
  check_offsets(offsets, raw.size());
  const size_t n = offsets.size() - 1;
  march::check_samples(raw, t, colour, index, background);
  march::check_blended(n, rgb, depth, T, distortion);
  nb::gil_scoped_release release;
  march::composite<S>(raw.data(), t.data(), offsets.data(), int64_t(n), colour.data(), index.data(),
                      int64_t(index.size()), background.data(), delta, shift, rgb.data(), depth.data(), T.data(),
                      distortion.data());
}

template <class S>
void composite_backward(S1<S> raw, S1<S> t, array<const int32_t> offsets, S1<S> colour, array<const int32_t> index,
                        S1<S> background, S delta, S shift, S1<S> g_rgb, S1<S> g_T, S1<S> g_distortion, array<S> g_raw,
                        array<S> g_colour) {
  check_offsets(offsets, raw.size());
  const size_t n = offsets.size() - 1;
  march::check_samples(raw, t, colour, index, background);
  march::check_gradients(n, raw, colour, g_rgb, g_T, g_distortion, g_raw, g_colour);
  nb::gil_scoped_release release;
  march::composite_backward<S>(raw.data(), t.data(), offsets.data(), int64_t(n), colour.data(), index.data(),
                               int64_t(index.size()), background.data(), delta, shift, g_rgb.data(), g_T.data(),
                               g_distortion.data(), g_raw.data(), g_colour.data());
}

#define A(name) nb::arg(name).noconvert()
template <class S>
void bind_for(nb::module_& m) {
  m.def("march_weights", &weights<S>, A("raw"), A("offsets"), nb::arg("delta"), nb::arg("shift"), nb::arg("end"),
        A("weight"));
  m.def("march_composite", &composite<S>, A("raw"), A("t"), A("offsets"), A("colour"), A("index"), A("background"),
        nb::arg("delta"), nb::arg("shift"), A("rgb"), A("depth"), A("T"), A("distortion"));
  m.def("march_composite_backward", &composite_backward<S>, A("raw"), A("t"), A("offsets"), A("colour"), A("index"),
        A("background"), nb::arg("delta"), nb::arg("shift"), A("g_rgb"), A("g_T"), A("g_distortion"), A("g_raw"),
        A("g_colour"));
}

}  // namespace

void bind_march(nb::module_& m) {
  m.def("march_sample", &sample, A("origin"), A("direction"), A("offset"), A("box"), A("cells"), nb::arg("near"),
        nb::arg("far"), nb::arg("step"));
  m.def("march_distances", &distances, A("cells"));
  bind_for<float>(m);
  bind_for<double>(m);
}
#undef A
