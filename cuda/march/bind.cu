// Python binding of the CUDA drivers of ray marching; no logic. Scratch memory and the stream are the caller's.
#include "core/arrays_cuda.h"
#include "march/check.h"
#include "march/march_cuda.h"

namespace recon::gpu {
namespace {

using constants = array<const float>;
using indices = array<const int32_t>;

packed packed_of(const constants& raw, const constants& t, const indices& offsets, float delta, float shift) {
  expect(offsets.size() >= 1, "offsets must be [rays + 1]");
  return {raw.data(), t.data(), offsets.data(), int64_t(offsets.size()) - 1, int64_t(raw.size()), delta, shift};
}

#define A(name) nb::arg(name).noconvert()
void bind_samples(nb::module_& m) {
  m.def("march_scratch", &march_scratch_bytes);
  m.def(
      "march_count",
      [](constants origin, constants direction, constants offset, host_array<const float> box,
         array<const uint8_t> cells, float near, float far, float step, ids offsets, bytes scratch, uintptr_t stream) {
        const auto d = march::check_rays(origin, direction, offset, box, cells, far, step);
        const int64_t n = int64_t(offset.size());
        expect(offsets.size() == offset.size() + 1 && scratch.size() >= march_scratch_bytes(n),
               "offsets must be [rays + 1], and enough scratch memory");
        count_samples({origin.data(), direction.data(), offset.data(), n, near, far, step}, d,
                      march::check_cells(cells), ids_of(offsets), scratch.data(), stream_of(stream));
      },
      A("origin"), A("direction"), A("offset"), A("box"), A("cells"), nb::arg("near"), nb::arg("far"), nb::arg("step"),
      A("offsets"), A("scratch"), nb::arg("stream"));
  m.def(
      "march_write",
      [](constants origin, constants direction, constants offset, host_array<const float> box,
         array<const uint8_t> cells, float near, float far, float step, ids offsets, numbers position, numbers t,
         uintptr_t stream) {
        const auto d = march::check_rays(origin, direction, offset, box, cells, far, step);
        expect(offsets.size() == offset.size() + 1 && position.size() == 3 * t.size(),
               "offsets must be [rays + 1], position [capacity, 3]");
        write_samples({origin.data(), direction.data(), offset.data(), int64_t(offset.size()), near, far, step}, d,
                      march::check_cells(cells), ids_of(offsets), int64_t(t.size()), position.data(), t.data(),
                      stream_of(stream));
      },
      A("origin"), A("direction"), A("offset"), A("box"), A("cells"), nb::arg("near"), nb::arg("far"), nb::arg("step"),
      A("offsets"), A("position"), A("t"), nb::arg("stream"));
  m.def(
      "march_distances",
      [](bytes cells, bytes scratch, uintptr_t stream) {
        expect(scratch.size() == cells.size(), "scratch must be as large as cells");
        distance_to_occupied(cells.data(), march::check_cells(cells).size, scratch.data(), stream_of(stream));
      },
      A("cells"), A("scratch"), nb::arg("stream"));
  m.attr("march_chunk") = kChunk;
  m.def(
      "march_total",
      [](constants values, numbers scratch, numbers out, uintptr_t stream) {
        expect(scratch.size() * kChunk >= values.size() && out.size() == 1, "scratch must be [chunks], out [1]");
        total(values.data(), int64_t(values.size()), scratch.data(), out.data(), stream_of(stream));
      },
      A("values"), A("scratch"), A("out"), nb::arg("stream"));
}

void bind_rendering(nb::module_& m) {
  m.def(
      "march_weights",
      [](constants raw, indices offsets, float delta, float shift, float end, numbers weight, uintptr_t stream) {
        expect(weight.size() == raw.size(), "weight must be [samples]");
        weights(packed_of(raw, raw, offsets, delta, shift), end, weight.data(), stream_of(stream));
      },
      A("raw"), A("offsets"), nb::arg("delta"), nb::arg("shift"), nb::arg("end"), A("weight"), nb::arg("stream"));
  m.def(
      "march_composite",
      [](constants raw, constants t, indices offsets, constants colour, indices index, constants background,
         float delta, float shift, numbers rgb, numbers depth, numbers T, numbers distortion, ids slot,
         uintptr_t stream) {
        march::check_samples(raw, t, colour, index, background);
        march::check_blended(offsets.size() - 1, rgb, depth, T, distortion);
        expect(slot.size() == raw.size(), "slot must be [samples]");
        composite_rays(packed_of(raw, t, offsets, delta, shift),
                       {colour.data(), index.data(), int64_t(index.size()), background.data()}, slot.data(), rgb.data(),
                       depth.data(), T.data(), distortion.data(), stream_of(stream));
      },
      A("raw"), A("t"), A("offsets"), A("colour"), A("index"), A("background"), nb::arg("delta"), nb::arg("shift"),
      A("rgb"), A("depth"), A("T"), A("distortion"), A("slot"), nb::arg("stream"));
  m.def(
      "march_composite_backward",
      [](constants raw, constants t, indices offsets, constants colour, indices index, constants background,
         float delta, float shift, constants g_rgb, constants g_T, constants g_distortion, numbers g_raw,
         numbers g_colour, ids slot, uintptr_t stream) {
        march::check_samples(raw, t, colour, index, background);
        march::check_gradients(offsets.size() - 1, raw, colour, g_rgb, g_T, g_distortion, g_raw, g_colour);
        expect(slot.size() == raw.size(), "slot must be [samples]");
        composite_rays_backward(packed_of(raw, t, offsets, delta, shift),
                                {colour.data(), index.data(), int64_t(index.size()), background.data()}, slot.data(),
                                {g_rgb.data(), g_T.data(), g_distortion.data()}, g_raw.data(), g_colour.data(),
                                stream_of(stream));
      },
      A("raw"), A("t"), A("offsets"), A("colour"), A("index"), A("background"), nb::arg("delta"), nb::arg("shift"),
      A("g_rgb"), A("g_T"), A("g_distortion"), A("g_raw"), A("g_colour"), A("slot"), nb::arg("stream"));
}
#undef A

}  // namespace
}  // namespace recon::gpu

void bind_march_cuda(nanobind::module_& m) {
  recon::gpu::bind_samples(m);
  recon::gpu::bind_rendering(m);
}
