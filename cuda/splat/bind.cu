// Python binding of the CUDA drivers of splatting; no logic. Scratch memory and the stream are the caller's.
#include <cmath>

#include "bind.cuh"

namespace recon::gpu {
namespace {

void bind_rows(nb::module_& m) {
  m.def(
      "splat_project",
      [](std::vector<numbers> params, camera_numbers camera, bool there, int degree, bool antialiased, numbers records,
         uintptr_t stream) {
        const auto in = rows_of(params);
        const int64_t n = check_records(in, params[0].shape(0), records, degree);
        project(in, n, view_of(camera, there, degree, antialiased), records.data(), stream_of(stream));
      },
      nb::arg("params").noconvert(), nb::arg("camera").noconvert(), nb::arg("there"), nb::arg("degree"),
      nb::arg("antialiased"), nb::arg("records").noconvert(), nb::arg("stream"));
  m.def(
      "splat_project_backward",
      [](std::vector<numbers> params, host_array<const double> camera, int degree, bool antialiased, numbers records,
         numbers g_records, std::vector<numbers> out, uintptr_t stream) {
        const auto in = rows_of(params), to = rows_of(out);
        const int64_t n = check_records(in, params[0].shape(0), records, degree);
        check_records(to, out[0].shape(0), g_records, degree);
        expect(in.rest == to.rest, "sh_rest and its gradient disagree");
        project_backward(in, n, view_of(camera, degree, antialiased), records.data(), g_records.data(), to,
                         stream_of(stream));
      },
      nb::arg("params").noconvert(), nb::arg("camera").noconvert(), nb::arg("degree"), nb::arg("antialiased"),
      nb::arg("records").noconvert(), nb::arg("g_records").noconvert(), nb::arg("out").noconvert(), nb::arg("stream"));
  m.def(
      "splat_project_backward_adam",
      [](std::vector<numbers> params, std::vector<numbers> ms, std::vector<numbers> vs, std::vector<double> rates,
         host_array<const double> camera, int degree, bool antialiased, numbers records, numbers g_records,
         numbers extra_log_scale, numbers extra_logit, double beta1, double beta2, double eps, int64_t step,
         ids refused, uintptr_t stream) {
        expect(ms.size() == 6 && vs.size() == 6 && rates.size() == 6 && refused.size() == 1, "six parameters expected");
        const auto in = rows_of(params);
        const int64_t n = check_records(in, params[0].shape(0), records, degree);
        check_records(in, n, g_records, degree);
        expect_extra(n, extra_log_scale, extra_logit);
        adam_rows tensors[6];
        for (int i = 0; i < 6; ++i) {
          expect(ms[i].size() == params[i].size() && vs[i].size() == params[i].size(),
                 "moments must have the shape of their parameter");
          tensors[i] = {params[i].data(), ms[i].data(), vs[i].data(), n ? int(params[i].size() / n) : 0,
                        float(rates[i])};
        }
        const adam_constants constants{float(beta1), float(beta2), float(eps),
                                       float(1 / (1 - std::pow(beta1, double(step)))),
                                       float(1 / std::sqrt(1 - std::pow(beta2, double(step))))};
        project_backward_adam(tensors, n, view_of(camera, degree, antialiased), records.data(), g_records.data(),
                              or_null(extra_log_scale), or_null(extra_logit), constants, refused.data(),
                              stream_of(stream));
      },
      nb::arg("params").noconvert(), nb::arg("ms").noconvert(), nb::arg("vs").noconvert(), nb::arg("rates"),
      nb::arg("camera").noconvert(), nb::arg("degree"), nb::arg("antialiased"), nb::arg("records").noconvert(),
      nb::arg("g_records").noconvert(), nb::arg("extra_log_scale").noconvert(), nb::arg("extra_logit").noconvert(),
      nb::arg("beta1"), nb::arg("beta2"), nb::arg("eps"), nb::arg("step"), nb::arg("refused").noconvert(),
      nb::arg("stream"));
}

void bind_lists(nb::module_& m) {
  m.def("splat_tiles", [](int width, int height) { return int64_t(tiles_across(width)) * tiles_down(height); });
  m.def("splat_depth_scratch", [](int64_t rows) { return depth_scratch_bytes(rows); });
  m.def("splat_tile_scratch", [](int64_t entries) { return tile_scratch_bytes(entries); });
  m.def(
      "splat_sort_by_depth",
      [](numbers records, int width, int height, ids order, ids begin, bytes scratch, uintptr_t stream) {
        const int64_t n = int64_t(order.size());
        expect(int64_t(records.size()) == n * kRecord && int64_t(begin.size()) == n + 1 && width > 0 && height > 0 &&
                   width <= 32000 && height <= 32000 && scratch.size() >= depth_scratch_bytes(n),
               "records [n, 12], order [n], begin [n + 1], enough scratch memory");
        sort_by_depth(records.data(), n, width, height, ids_of(order), ids_of(begin), scratch.data(),
                      stream_of(stream));
      },
      nb::arg("records").noconvert(), nb::arg("width"), nb::arg("height"), nb::arg("order").noconvert(),
      nb::arg("begin").noconvert(), nb::arg("scratch").noconvert(), nb::arg("stream"));
  m.def(
      "splat_sort_by_tile",
      [](numbers records, int width, int height, ids order, ids begin, ids tile_begin, ids row, ids slot, bytes scratch,
         uintptr_t stream) {
        const int64_t n = int64_t(order.size()), entries = int64_t(row.size());
        lists_of(width, height, tile_begin, row, slot);
        expect(int64_t(records.size()) == n * kRecord && int64_t(begin.size()) == n + 1 &&
                   scratch.size() >= tile_scratch_bytes(entries),
               "records [n, 12], order [n], begin [n + 1], enough scratch memory");
        sort_by_tile(records.data(), n, width, height, ids_of(order), ids_of(begin), entries, ids_of(tile_begin),
                     ids_of(row), ids_of(slot), scratch.data(), stream_of(stream));
      },
      nb::arg("records").noconvert(), nb::arg("width"), nb::arg("height"), nb::arg("order").noconvert(),
      nb::arg("begin").noconvert(), nb::arg("tile_begin").noconvert(), nb::arg("row").noconvert(),
      nb::arg("slot").noconvert(), nb::arg("scratch").noconvert(), nb::arg("stream"));
}

void bind_composite(nb::module_& m) {
  m.def(
      "splat_composite",
      [](numbers records, int width, int height, ids tile_begin, ids row, ids slot, numbers background, numbers picture,
         numbers transmittance, uintptr_t stream) {
        const auto lists = lists_of(width, height, tile_begin, row, slot);
        const size_t pixels = size_t(width) * height;
        expect(background.size() == 3 && transmittance.size() == pixels &&
                   (picture.size() == 3 * pixels || picture.size() == 4 * pixels),
               "picture must be [3 or 4, height, width], background [3], transmittance [height, width]");
        composite(records.data(), lists, int(picture.size() / pixels), background.data(), picture.data(),
                  transmittance.data(), stream_of(stream));
      },
      nb::arg("records").noconvert(), nb::arg("width"), nb::arg("height"), nb::arg("tile_begin").noconvert(),
      nb::arg("row").noconvert(), nb::arg("slot").noconvert(), nb::arg("background").noconvert(),
      nb::arg("picture").noconvert(), nb::arg("transmittance").noconvert(), nb::arg("stream"));
  m.def(
      "splat_composite_depth",
      [](numbers records, numbers slopes, int width, int height, ids tile_begin, ids row, ids slot, float low,
         float high, numbers depth, numbers spread, uintptr_t stream) {
        const auto lists = lists_of(width, height, tile_begin, row, slot);
        const size_t pixels = size_t(width) * height, n = records.size() / kRecord;
        expect(slopes.size() == 3 * n && depth.size() == pixels && spread.size() == pixels && 0 <= low && low < high &&
                   high <= 1,
               "slopes must be [rows, 3], depth and spread [height, width], 0 <= low < high <= 1");
        composite_depth(records.data(), slopes.data(), lists, low, high, depth.data(), spread.data(),
                        stream_of(stream));
      },
      nb::arg("records").noconvert(), nb::arg("slopes").noconvert(), nb::arg("width"), nb::arg("height"),
      nb::arg("tile_begin").noconvert(), nb::arg("row").noconvert(), nb::arg("slot").noconvert(), nb::arg("low"),
      nb::arg("high"), nb::arg("depth").noconvert(), nb::arg("spread").noconvert(), nb::arg("stream"));
  m.def(
      "splat_composite_backward",
      [](numbers records, int width, int height, ids order, ids begin, ids tile_begin, ids row, ids slot,
         numbers picture, numbers transmittance, numbers g_picture, numbers g_transmittance, bool absolute,
         bool fixed_order, numbers sums, numbers g_records, uintptr_t stream) {
        const auto lists = lists_of(width, height, tile_begin, row, slot);
        const size_t pixels = size_t(width) * height, n = records.size() / kRecord;
        expect((picture.size() == 3 * pixels || picture.size() == 4 * pixels) && g_picture.size() == picture.size() &&
                   transmittance.size() == pixels && g_records.size() == records.size() && order.size() == n &&
                   begin.size() == n + 1 && (g_transmittance.size() == pixels || g_transmittance.size() == 0),
               "gradients must have the shapes of the forward pass");
        expect(sums.size() == (fixed_order ? row.size() : n) * kSums, "sums must be [entries or rows, 12]");
        const backward_inputs in{picture.data(),
                                 transmittance.data(),
                                 g_picture.data(),
                                 g_transmittance.size() ? g_transmittance.data() : nullptr,
                                 int(picture.size() / pixels),
                                 absolute,
                                 fixed_order};
        composite_backward(records.data(), int64_t(n), lists, in, ids_of(order), ids_of(begin), sums.data(),
                           g_records.data(), stream_of(stream));
      },
      nb::arg("records").noconvert(), nb::arg("width"), nb::arg("height"), nb::arg("order").noconvert(),
      nb::arg("begin").noconvert(), nb::arg("tile_begin").noconvert(), nb::arg("row").noconvert(),
      nb::arg("slot").noconvert(), nb::arg("picture").noconvert(), nb::arg("transmittance").noconvert(),
      nb::arg("g_picture").noconvert(), nb::arg("g_transmittance").noconvert(), nb::arg("absolute"),
      nb::arg("fixed_order"), nb::arg("sums").noconvert(), nb::arg("g_records").noconvert(), nb::arg("stream"));
}

}  // namespace
}  // namespace recon::gpu

void bind_splat_normal_cuda(nanobind::module_& m);

void bind_splat_cuda(nanobind::module_& m) {
  recon::gpu::bind_rows(m);
  recon::gpu::bind_lists(m);
  recon::gpu::bind_composite(m);
  bind_splat_normal_cuda(m);
}
