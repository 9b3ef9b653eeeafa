// Python binding of the CUDA drivers of the products with the Jacobian; no logic.
#include "bind.cuh"
#include "blocks.h"
#include "jacobian.h"

namespace recon::gpu {
namespace {

// Rows of a shape that the rows `like` have.
gaussian_rows<float> rows_like(const std::vector<numbers>& like, const std::vector<numbers>& rows) {
  const auto out = rows_of(rows);
  for (int i = 0; i < 6; ++i) expect(rows[i].size() == like[i].size(), "rows must have the shapes of the parameters");
  return out;
}

#define A(name) nb::arg(name).noconvert()
void bind(nb::module_& m) {
  m.def(
      "splat_project_tangent",
      [](std::vector<numbers> params, std::vector<numbers> v, camera_numbers camera, bool there, int degree,
         bool antialiased, numbers records, numbers tangents, uintptr_t stream) {
        const auto in = rows_of(params), along = rows_like(params, v);
        const int64_t n = check_records(in, params[0].shape(0), records, degree);
        check_records(in, params[0].shape(0), tangents, degree);
        project_tangent(in, along, n, view_of(camera, there, degree, antialiased), records.data(), tangents.data(),
                        stream_of(stream));
      },
      A("params"), A("v"), A("camera"), nb::arg("there"), nb::arg("degree"), nb::arg("antialiased"), A("records"),
      A("tangents"), nb::arg("stream"));
  m.def(
      "splat_composite_tangent",
      [](numbers records, numbers tangents, int width, int height, ids tile_begin, ids row, ids slot,
         numbers background, numbers weights, numbers out, uintptr_t stream) {
        const auto lists = lists_of(width, height, tile_begin, row, slot);
        const size_t size = size_t(3) * width * height;
        expect(tangents.size() == records.size() && out.size() == size && background.size() == 3 &&
                   (weights.size() == 0 || weights.size() == size),
               "tangents must be as large as records, out and weights [3, height, width]");
        composite_tangent(records.data(), tangents.data(), lists, background.data(),
                          weights.size() ? weights.data() : nullptr, out.data(), stream_of(stream));
      },
      A("records"), A("tangents"), nb::arg("width"), nb::arg("height"), A("tile_begin"), A("row"), A("slot"),
      A("background"), A("weights"), A("out"), nb::arg("stream"));
  m.def(
      "splat_pull_back",
      [](std::vector<numbers> params, camera_numbers camera, bool there, int degree, bool antialiased, numbers records,
         numbers g_records, std::vector<numbers> out, uintptr_t stream) {
        const auto in = rows_of(params), to = rows_like(params, out);
        const int64_t n = check_records(in, params[0].shape(0), records, degree);
        check_records(in, params[0].shape(0), g_records, degree);
        project_backward_add(in, n, view_of(camera, there, degree, antialiased), records.data(), g_records.data(), to,
                             stream_of(stream));
      },
      A("params"), A("camera"), nb::arg("there"), nb::arg("degree"), nb::arg("antialiased"), A("records"),
      A("g_records"), A("out"), nb::arg("stream"));
  m.attr("splat_moments") = kDiagonalSums;
  m.def(
      "splat_normal_diagonal",
      [](std::vector<numbers> params, camera_numbers camera, bool there, int degree, bool antialiased, numbers records,
         int width, int height, ids order, ids begin, ids tile_begin, ids row, ids slot, numbers picture,
         numbers weights, numbers moments, std::vector<numbers> out, numbers blocks, uintptr_t stream) {
        const auto in = rows_of(params), to = rows_like(params, out);
        const int64_t n = check_records(in, params[0].shape(0), records, degree);
        const auto lists = lists_of(width, height, tile_begin, row, slot);
        expect(picture.size() == size_t(3) * width * height && weights.size() == picture.size() &&
                   int64_t(order.size()) == n && int64_t(begin.size()) == n + 1,
               "picture and weights must be [3, height, width], order [n], begin [n + 1]");
        expect(moments.size() == row.size() * kDiagonalSums, "moments must be [entries, 18]");
        expect(blocks.size() == 0 || int64_t(blocks.size()) == n * kTriangle, "blocks must be [rows, 66], or empty");
        composite_moments(records.data(), lists, picture.data(), weights.data(), moments.data(), stream_of(stream));
        project_diagonal(in, n, view_of(camera, there, degree, antialiased), records.data(), lists, ids_of(order),
                         ids_of(begin), moments.data(), to, blocks.size() ? blocks.data() : nullptr, stream_of(stream));
      },
      A("params"), A("camera"), nb::arg("there"), nb::arg("degree"), nb::arg("antialiased"), A("records"),
      nb::arg("width"), nb::arg("height"), A("order"), A("begin"), A("tile_begin"), A("row"), A("slot"), A("picture"),
      A("weights"), A("moments"), A("out"), A("blocks"), nb::arg("stream"));
  m.def(
      "splat_factor_blocks",
      [](std::vector<numbers> added, numbers blocks, uintptr_t stream) {
        const auto rows = rows_of(added);
        const int64_t n = int64_t(added[0].shape(0));
        expect(int64_t(blocks.size()) == n * kTriangle, "blocks must be [rows, 66]");
        factor_blocks(rows, n, blocks.data(), stream_of(stream));
      },
      A("added"), A("blocks"), nb::arg("stream"));
  m.def(
      "splat_solve_blocks",
      [](numbers factors, std::vector<numbers> x, uintptr_t stream) {
        const auto rows = rows_of(x);
        const int64_t n = int64_t(x[0].shape(0));
        expect(int64_t(factors.size()) == n * kTriangle, "factors must be [rows, 66]");
        solve_blocks(factors.data(), n, rows, stream_of(stream));
      },
      A("factors"), A("x"), nb::arg("stream"));
  m.def(
      "splat_project_backward_newton",
      [](std::vector<numbers> params, std::vector<numbers> momentum, numbers factors, numbers inverse_sh0,
         numbers inverse_sh_rest, host_array<const double> camera, int degree, bool antialiased, numbers records,
         numbers g_records, numbers extra_log_scale, numbers extra_logit, double keep, double rate, double most,
         ids refused, uintptr_t stream) {
        const newton_rows rows{rows_of(params), rows_like(params, momentum), factors.data(), inverse_sh0.data(),
                               inverse_sh_rest.data()};
        const int64_t n = check_records(rows.x, params[0].shape(0), records, degree);
        check_records(rows.x, params[0].shape(0), g_records, degree);
        expect(int64_t(factors.size()) == n * kTriangle && inverse_sh0.size() == params[4].size() &&
                   inverse_sh_rest.size() == params[5].size() && refused.size() == 1,
               "momentum and curvature must have the rows of the parameters");
        expect_extra(n, extra_log_scale, extra_logit);
        project_backward_newton(rows, n, view_of(camera, degree, antialiased), records.data(), g_records.data(),
                                or_null(extra_log_scale), or_null(extra_logit), {float(keep), float(rate), float(most)},
                                refused.data(), stream_of(stream));
      },
      A("params"), A("momentum"), A("factors"), A("inverse_sh0"), A("inverse_sh_rest"), A("camera"), nb::arg("degree"),
      nb::arg("antialiased"), A("records"), A("g_records"), A("extra_log_scale"), A("extra_logit"), nb::arg("keep"),
      nb::arg("rate"), nb::arg("most"), A("refused"), nb::arg("stream"));
}
#undef A

}  // namespace
}  // namespace recon::gpu

void bind_splat_normal_cuda(nanobind::module_& m) { recon::gpu::bind(m); }
