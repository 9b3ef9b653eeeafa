// Python binding of splatting; no logic. Every array is checked for type and layout by nanobind, never converted.
#include <nanobind/stl/vector.h>

#include <cmath>

#include "camera.h"
#include "core/arrays.h"
#include "driver.h"
#include "newton.h"

namespace recon::RECON_MODULE {  // by name: the list type of each module is its own when several are loaded

using namespace recon;

template <class S>
struct workspace {
  bins lists;
  std::vector<S> slots;
  size_t bytes() const { return lists.bytes() + slots.capacity() * sizeof(S); }
};

template <class S>
using rows_array = array<S>;

template <class S>
gaussian_rows<S> rows_of(const array<S>& mean, const array<S>& log_scale, const array<S>& quaternion,
                         const array<S>& logit, const array<S>& sh0, const array<S>& sh_rest) {
  const size_t n = mean.shape(0);
  expect(mean.size() == 3 * n && log_scale.size() == 3 * n && quaternion.size() == 4 * n && logit.size() == n &&
             sh0.size() == 3 * n && (n == 0 || sh_rest.size() % (3 * n) == 0),
         "Gaussian parameters disagree in their number of rows");
  return {mean.data(),
          log_scale.data(),
          quaternion.data(),
          logit.data(),
          sh0.data(),
          sh_rest.data(),
          n == 0 ? 0 : int(sh_rest.size() / (3 * n))};
}

// camera: float64 on purpose
template <class S>
view<S> view_of(const array<const double>& camera, int degree, bool antialiased) {
  expect(camera.size() == kViewNumbers, "camera must hold 23 numbers");
  return view_from<S>(camera.data(), degree, antialiased);
}

template <class S>
void check_rows(const gaussian_rows<S>& g, int64_t n, const array<S>& records, int degree) {
  expect(int64_t(records.size()) == n * kRecord, "records must be [rows, 12]");
  expect(degree >= 0 && degree <= 3 && (n == 0 || sh_count(degree) - 1 <= g.rest), "not enough SH coefficients");
}

// Rows as a list of six arrays: mean, log_scale, quaternion, logit, sh0, sh_rest.
template <class S>
gaussian_rows<S> rows_of(const std::vector<array<S>>& p) {
  expect(p.size() == 6, "six parameters expected");
  return rows_of<S>(p[0], p[1], p[2], p[3], p[4], p[5]);
}

// Products with the Jacobian of the picture that `lists` were made for.
template <class S>
void bind_normal(nb::module_& m, const char* suffix) {
  const auto name = [&](const char* base) { return std::string(base) + suffix; };
  using rows_list = std::vector<array<S>>;
  m.def(
      name("splat_tangent").c_str(),
      [](workspace<S>& w, rows_list params, rows_list v, array<const double> camera, int degree, bool antialiased,
         array<S> records, array<S> background, array<S> t_records, array<S> t_picture) {
        const auto in = rows_of<S>(params), along = rows_of<S>(v);
        const int64_t n = int64_t(params[0].shape(0));
        check_rows(in, n, records, degree);
        check_rows(along, int64_t(v[0].shape(0)), t_records, degree);
        expect(in.rest == along.rest && records.size() == t_records.size() && background.size() == 3 &&
                   t_picture.size() == 3 * size_t(w.lists.width) * w.lists.height,
               "tangents must have the shapes of what they belong to");
        const auto cam = view_of<S>(camera, degree, antialiased);
        nb::gil_scoped_release release;
        project_tangent<S>(in, along, n, cam, records.data(), t_records.data());
        composite_tangent<S>(records.data(), t_records.data(), w.lists, background.data(), t_picture.data());
      },
      nb::arg("lists"), nb::arg("params").noconvert(), nb::arg("v").noconvert(), nb::arg("camera").noconvert(),
      nb::arg("degree"), nb::arg("antialiased"), nb::arg("records").noconvert(), nb::arg("background").noconvert(),
      nb::arg("t_records").noconvert(), nb::arg("t_picture").noconvert());

  m.def(
      name("splat_camera_tangents").c_str(),
      [](workspace<S>& w, rows_list params, array<const double> camera, int degree, bool antialiased, array<S> records,
         array<S> background, array<S> t_records, array<S> t_pictures) {
        const auto in = rows_of<S>(params);
        const int64_t n = int64_t(params[0].shape(0));
        check_rows(in, n, records, degree);
        expect(t_records.size() == kTwist * records.size() && background.size() == 3 &&
                   t_pictures.size() == 3 * kTwist * size_t(w.lists.width) * w.lists.height,
               "tangents must have the shapes of what they belong to, six times");
        const auto cam = view_of<S>(camera, degree, antialiased);
        nb::gil_scoped_release release;
        camera_tangents<S>(in, n, cam, records.data(), w.lists, background.data(), t_records.data(), t_pictures.data());
      },
      nb::arg("lists"), nb::arg("params").noconvert(), nb::arg("camera").noconvert(), nb::arg("degree"),
      nb::arg("antialiased"), nb::arg("records").noconvert(), nb::arg("background").noconvert(),
      nb::arg("t_records").noconvert(), nb::arg("t_pictures").noconvert(),
      "Derivatives of the picture by the six numbers of the camera's pose");

  m.def(
      name("splat_normal").c_str(),
      [](workspace<S>& w, rows_list params, rows_list v, array<const double> camera, int degree, bool antialiased,
         array<S> records, array<S> background, array<S> picture, array<S> transmittance, array<S> weights,
         array<S> t_records, array<S> g_records, array<S> scratch, workspace<S>& sums, rows_list out) {
        const auto in = rows_of<S>(params), along = rows_of<S>(v), to = rows_of<S>(out);
        const int64_t n = int64_t(params[0].shape(0));
        const size_t pixels = size_t(w.lists.width) * w.lists.height;
        check_rows(in, n, records, degree);
        check_rows(along, int64_t(v[0].shape(0)), t_records, degree);
        check_rows(to, int64_t(out[0].shape(0)), g_records, degree);
        expect(in.rest == along.rest && in.rest == to.rest && records.size() == t_records.size() &&
                   records.size() == g_records.size() && background.size() == 3 && picture.size() == 3 * pixels &&
                   weights.size() == 3 * pixels && scratch.size() == 3 * pixels && transmittance.size() == pixels,
               "everything must have the shapes of the picture");
        const auto cam = view_of<S>(camera, degree, antialiased);
        nb::gil_scoped_release release;
        project_tangent<S>(in, along, n, cam, records.data(), t_records.data());
        composite_normal<S>(records.data(), t_records.data(), n, w.lists, background.data(), picture.data(),
                            transmittance.data(), weights.data(), scratch.data(), sums.slots, g_records.data());
        project_backward_add<S>(in, n, cam, records.data(), g_records.data(), to);
      },
      nb::arg("lists"), nb::arg("params").noconvert(), nb::arg("v").noconvert(), nb::arg("camera").noconvert(),
      nb::arg("degree"), nb::arg("antialiased"), nb::arg("records").noconvert(), nb::arg("background").noconvert(),
      nb::arg("picture").noconvert(), nb::arg("transmittance").noconvert(), nb::arg("weights").noconvert(),
      nb::arg("t_records").noconvert(), nb::arg("g_records").noconvert(), nb::arg("scratch").noconvert(),
      nb::arg("sums"), nb::arg("out").noconvert(), "Adds J^T W J v to `out`");

  m.def(
      name("splat_normal_diagonal").c_str(),
      [](workspace<S>& w, rows_list params, array<const double> camera, int degree, bool antialiased, array<S> records,
         array<S> picture, array<S> weights, workspace<S>& sums, rows_list out, array<S> blocks) {
        const auto in = rows_of<S>(params), to = rows_of<S>(out);
        const int64_t n = int64_t(params[0].shape(0));
        expect(blocks.size() == 0 || int64_t(blocks.size()) == n * 66, "blocks must be [rows, 66], or empty");
        const size_t pixels = size_t(w.lists.width) * w.lists.height;
        check_rows(in, n, records, degree);
        check_rows(to, int64_t(out[0].shape(0)), records, degree);
        expect(in.rest == to.rest && picture.size() == 3 * pixels && weights.size() == 3 * pixels,
               "everything must have the shapes of the picture");
        const auto cam = view_of<S>(camera, degree, antialiased);
        nb::gil_scoped_release release;
        normal_diagonal<S>(in, n, cam, records.data(), w.lists, picture.data(), weights.data(), sums.slots, to,
                           blocks.size() ? blocks.data() : nullptr);
      },
      nb::arg("lists"), nb::arg("params").noconvert(), nb::arg("camera").noconvert(), nb::arg("degree"),
      nb::arg("antialiased"), nb::arg("records").noconvert(), nb::arg("picture").noconvert(),
      nb::arg("weights").noconvert(), nb::arg("sums"), nb::arg("out").noconvert(), nb::arg("blocks").noconvert(),
      "Adds diag(J^T W J) to `out`, and the blocks of geometry to `blocks`");

  m.def(
      name("splat_factor_blocks").c_str(),
      [](rows_list added, array<S> blocks) {
        const auto diagonal = rows_of<S>(added);
        const int64_t n = int64_t(added[0].shape(0));
        expect(int64_t(blocks.size()) == n * 66, "blocks must be [rows, 66]");
        nb::gil_scoped_release release;
        factor_blocks<S>(diagonal, n, blocks.data());
      },
      nb::arg("added").noconvert(), nb::arg("blocks").noconvert(), "Blocks plus a diagonal to their factors, in place");

  m.def(
      name("splat_solve_blocks").c_str(),
      [](array<S> factors, rows_list x) {
        const auto in = rows_of<S>(x);
        const int64_t n = int64_t(x[0].shape(0));
        expect(int64_t(factors.size()) == n * 66, "factors must be [rows, 66]");
        nb::gil_scoped_release release;
        solve_blocks<S>(factors.data(), n, in);
      },
      nb::arg("factors").noconvert(), nb::arg("x").noconvert(), "Solves with factored blocks, in place");

  m.def(
      name("splat_pull_back").c_str(),
      [](rows_list params, array<const double> camera, int degree, bool antialiased, array<S> records,
         array<S> g_records, rows_list out) {
        const auto in = rows_of<S>(params), to = rows_of<S>(out);
        const int64_t n = int64_t(params[0].shape(0));
        check_rows(in, n, records, degree);
        check_rows(to, int64_t(out[0].shape(0)), g_records, degree);
        expect(in.rest == to.rest, "sh_rest and its gradient disagree");
        const auto cam = view_of<S>(camera, degree, antialiased);
        nb::gil_scoped_release release;
        project_backward_add<S>(in, n, cam, records.data(), g_records.data(), to);
      },
      nb::arg("params").noconvert(), nb::arg("camera").noconvert(), nb::arg("degree"), nb::arg("antialiased"),
      nb::arg("records").noconvert(), nb::arg("g_records").noconvert(), nb::arg("out").noconvert(),
      "Adds the gradient of the parameters to `out`");
}

template <class S>
void bind(nb::module_& m, const char* suffix) {
  const auto name = [&](const char* base) { return std::string(base) + suffix; };
  nb::class_<workspace<S>>(m, name("SplatLists").c_str(), "Tile lists of one picture, reused between pictures")
      .def(nb::init<>())
      .def_prop_ro("bytes", &workspace<S>::bytes)
      .def_prop_ro("visible", [](const workspace<S>& w) { return w.lists.visible; })
      .def_prop_ro("block_visits", [](const workspace<S>& w) { return w.lists.block_visits(); })
      .def_prop_ro("instances", [](const workspace<S>& w) { return w.lists.instances(); });

  m.def(
      name("splat_project").c_str(),
      [](array<S> mean, array<S> log_scale, array<S> quaternion, array<S> logit, array<S> sh0, array<S> sh_rest,
         array<const double> camera, int degree, bool antialiased, array<S> records) {
        const auto in = rows_of(mean, log_scale, quaternion, logit, sh0, sh_rest);
        const int64_t n = int64_t(mean.shape(0));
        check_rows(in, n, records, degree);
        const auto cam = view_of<S>(camera, degree, antialiased);
        nb::gil_scoped_release release;
        project<S>(in, n, cam, records.data());
      },
      nb::arg("mean").noconvert(), nb::arg("log_scale").noconvert(), nb::arg("quaternion").noconvert(),
      nb::arg("logit").noconvert(), nb::arg("sh0").noconvert(), nb::arg("sh_rest").noconvert(),
      nb::arg("camera").noconvert(), nb::arg("degree"), nb::arg("antialiased"), nb::arg("records").noconvert());

  m.def(
      name("splat_project_backward").c_str(),
      [](array<S> mean, array<S> log_scale, array<S> quaternion, array<S> logit, array<S> sh0, array<S> sh_rest,
         array<const double> camera, int degree, bool antialiased, array<S> records, array<S> g_records,
         array<S> g_mean, array<S> g_log_scale, array<S> g_quaternion, array<S> g_logit, array<S> g_sh0,
         array<S> g_sh_rest) {
        const auto in = rows_of(mean, log_scale, quaternion, logit, sh0, sh_rest);
        const auto out = rows_of(g_mean, g_log_scale, g_quaternion, g_logit, g_sh0, g_sh_rest);
        const int64_t n = int64_t(mean.shape(0));
        check_rows(in, n, records, degree);
        check_rows(out, int64_t(g_mean.shape(0)), g_records, degree);
        expect(in.rest == out.rest, "sh_rest and its gradient disagree");
        const auto cam = view_of<S>(camera, degree, antialiased);
        nb::gil_scoped_release release;
        project_backward<S>(in, n, cam, records.data(), g_records.data(), out);
      },
      nb::arg("mean").noconvert(), nb::arg("log_scale").noconvert(), nb::arg("quaternion").noconvert(),
      nb::arg("logit").noconvert(), nb::arg("sh0").noconvert(), nb::arg("sh_rest").noconvert(),
      nb::arg("camera").noconvert(), nb::arg("degree"), nb::arg("antialiased"), nb::arg("records").noconvert(),
      nb::arg("g_records").noconvert(), nb::arg("g_mean").noconvert(), nb::arg("g_log_scale").noconvert(),
      nb::arg("g_quaternion").noconvert(), nb::arg("g_logit").noconvert(), nb::arg("g_sh0").noconvert(),
      nb::arg("g_sh_rest").noconvert());

  m.def(
      name("splat_composite").c_str(),
      [](workspace<S>& w, array<S> records, int width, int height, array<S> background, array<S> picture,
         array<S> transmittance) {
        const int64_t n = int64_t(records.size()) / kRecord;
        const size_t pixels = size_t(width) * height;
        expect(width > 0 && height > 0 && background.size() == 3 && transmittance.size() == pixels &&
                   (picture.size() == 3 * pixels || picture.size() == 4 * pixels),
               "picture must be [3 or 4, height, width], background [3], transmittance [height, width]");
        nb::gil_scoped_release release;
        composite<S>(records.data(), n, w.lists, width, height, int(picture.size() / pixels), background.data(),
                     picture.data(), transmittance.data());
      },
      nb::arg("lists"), nb::arg("records").noconvert(), nb::arg("width"), nb::arg("height"),
      nb::arg("background").noconvert(), nb::arg("picture").noconvert(), nb::arg("transmittance").noconvert());

  m.def(
      name("splat_composite_depth").c_str(),
      [](workspace<S>& w, array<S> records, array<S> slopes, int width, int height, double low, double high,
         array<S> depth, array<S> spread) {
        const int64_t n = int64_t(records.size()) / kRecord;
        const size_t pixels = size_t(width) * height;
        expect(width > 0 && height > 0 && int64_t(slopes.size()) == n * 3 && depth.size() == pixels &&
                   spread.size() == pixels && low >= 0 && low < high && high <= 1,
               "slopes must be [rows, 3], depth and spread [height, width], 0 <= low < high <= 1");
        nb::gil_scoped_release release;
        composite_depth<S>(records.data(), slopes.data(), n, w.lists, width, height, S(low), S(high), depth.data(),
                           spread.data());
      },
      nb::arg("lists"), nb::arg("records").noconvert(), nb::arg("slopes").noconvert(), nb::arg("width"),
      nb::arg("height"), nb::arg("low"), nb::arg("high"), nb::arg("depth").noconvert(), nb::arg("spread").noconvert());

  m.def(
      name("splat_composite_backward").c_str(),
      [](workspace<S>& w, array<S> records, array<S> picture, array<S> transmittance, array<S> g_picture,
         array<S> g_transmittance, bool absolute, array<S> g_records) {
        const size_t pixels = size_t(w.lists.width) * w.lists.height;
        expect(pixels > 0 && picture.size() == g_picture.size() && picture.size() % pixels == 0 &&
                   records.size() == g_records.size() && transmittance.size() == pixels &&
                   (g_transmittance.size() == pixels || g_transmittance.size() == 0),
               "gradients must have the shapes of the forward pass");
        nb::gil_scoped_release release;
        composite_backward<S>(records.data(), int64_t(records.size()) / kRecord, w.lists, int(picture.size() / pixels),
                              absolute, picture.data(), transmittance.data(), g_picture.data(),
                              g_transmittance.size() ? g_transmittance.data() : nullptr, w.slots, g_records.data());
      },
      nb::arg("lists"), nb::arg("records").noconvert(), nb::arg("picture").noconvert(),
      nb::arg("transmittance").noconvert(), nb::arg("g_picture").noconvert(), nb::arg("g_transmittance").noconvert(),
      nb::arg("absolute"), nb::arg("g_records").noconvert());
}

}  // namespace recon::RECON_MODULE

using namespace recon::RECON_MODULE;

void bind_splat(nb::module_& m) {
  bind<float>(m, "");
  bind<double>(m, "_f64");
  bind_normal<float>(m, "");
  bind_normal<double>(m, "_f64");
  m.def(
      "splat_project_backward_adam",
      [](std::vector<array<float>> params, std::vector<array<float>> ms, std::vector<array<float>> vs,
         std::vector<double> rates, array<const double> camera, int degree, bool antialiased, array<float> records,
         array<float> g_records, array<float> extra_log_scale, array<float> extra_logit, double beta1, double beta2,
         double eps, int64_t step) {
        expect(params.size() == 6 && ms.size() == 6 && vs.size() == 6 && rates.size() == 6, "six parameters expected");
        const auto rows = rows_of(params[0], params[1], params[2], params[3], params[4], params[5]);
        const int64_t n = int64_t(params[0].shape(0));
        check_rows(rows, n, records, degree);
        check_rows(rows, n, g_records, degree);
        expect((extra_log_scale.size() == 0 || int64_t(extra_log_scale.size()) == 3 * n) &&
                   (extra_logit.size() == 0 || int64_t(extra_logit.size()) == n),
               "extra gradients must have the shape of their parameter");
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
        const auto cam = view_of<float>(camera, degree, antialiased);
        nb::gil_scoped_release release;
        return project_backward_adam(tensors, n, cam, records.data(), g_records.data(),
                                     extra_log_scale.size() ? extra_log_scale.data() : nullptr,
                                     extra_logit.size() ? extra_logit.data() : nullptr, constants);
      },
      nb::arg("params").noconvert(), nb::arg("ms").noconvert(), nb::arg("vs").noconvert(), nb::arg("rates"),
      nb::arg("camera").noconvert(), nb::arg("degree"), nb::arg("antialiased"), nb::arg("records").noconvert(),
      nb::arg("g_records").noconvert(), nb::arg("extra_log_scale").noconvert(), nb::arg("extra_logit").noconvert(),
      nb::arg("beta1"), nb::arg("beta2"), nb::arg("eps"), nb::arg("step"),
      "Gradients of the records -> one Adam update of all visible rows; returns the rows refused as not finite");
  m.def(
      "splat_project_backward_newton",
      [](std::vector<array<float>> params, std::vector<array<float>> momentum, array<float> factors,
         array<float> inverse_sh0, array<float> inverse_sh_rest, array<const double> camera, int degree,
         bool antialiased, array<float> records, array<float> g_records, array<float> extra_log_scale,
         array<float> extra_logit, double keep, double rate, double most) {
        const newton_rows rows{rows_of<float>(params), rows_of<float>(momentum), factors.data(), inverse_sh0.data(),
                               inverse_sh_rest.data()};
        const int64_t n = int64_t(params[0].shape(0));
        check_rows(rows.x, n, records, degree);
        check_rows(rows.momentum, int64_t(momentum[0].shape(0)), g_records, degree);
        expect(rows.x.rest == rows.momentum.rest && int64_t(factors.size()) == n * kTriangle &&
                   inverse_sh0.size() == params[4].size() && inverse_sh_rest.size() == params[5].size(),
               "momentum and curvature must have the rows of the parameters");
        expect((extra_log_scale.size() == 0 || int64_t(extra_log_scale.size()) == 3 * n) &&
                   (extra_logit.size() == 0 || int64_t(extra_logit.size()) == n),
               "extra gradients must have the shape of their parameter");
        const auto cam = view_of<float>(camera, degree, antialiased);
        nb::gil_scoped_release release;
        return project_backward_newton(
            rows, n, cam, records.data(), g_records.data(), extra_log_scale.size() ? extra_log_scale.data() : nullptr,
            extra_logit.size() ? extra_logit.data() : nullptr, {float(keep), float(rate), float(most)});
      },
      nb::arg("params").noconvert(), nb::arg("momentum").noconvert(), nb::arg("factors").noconvert(),
      nb::arg("inverse_sh0").noconvert(), nb::arg("inverse_sh_rest").noconvert(), nb::arg("camera").noconvert(),
      nb::arg("degree"), nb::arg("antialiased"), nb::arg("records").noconvert(), nb::arg("g_records").noconvert(),
      nb::arg("extra_log_scale").noconvert(), nb::arg("extra_logit").noconvert(), nb::arg("keep"), nb::arg("rate"),
      nb::arg("most"), "One local Newton step of all visible rows; returns the rows refused as not finite");
  using A = array<double>;
  m.def(
      "splat_project_jvp",
      [](A mean, A log_scale, A quaternion, A logit, A sh0, A sh_rest, A t_mean, A t_log_scale, A t_quaternion,
         A t_logit, A t_sh0, A t_sh_rest, array<const double> camera, int degree, bool antialiased, A records,
         A t_records) {
        const auto in = rows_of(mean, log_scale, quaternion, logit, sh0, sh_rest);
        const auto tangent = rows_of(t_mean, t_log_scale, t_quaternion, t_logit, t_sh0, t_sh_rest);
        check_rows(in, int64_t(mean.shape(0)), records, degree);
        check_rows(tangent, int64_t(mean.shape(0)), t_records, degree);
        project_jvp(in, tangent, int64_t(mean.shape(0)), view_of<double>(camera, degree, antialiased), records.data(),
                    t_records.data());
      },
      "Records and their derivative along a tangent of the parameters, by dual numbers (float64)");
  m.def(
      "splat_composite_jvp",
      [](A records, A t_records, int width, int height, A background, A picture, A t_picture, A transmittance,
         A t_transmittance) {
        const size_t pixels = size_t(width) * height;
        expect(records.size() == t_records.size() && picture.size() == 4 * pixels && t_picture.size() == 4 * pixels &&
                   transmittance.size() == pixels && t_transmittance.size() == pixels && background.size() == 3,
               "composite_jvp: shapes");
        composite_jvp(records.data(), t_records.data(), int64_t(records.size()) / kRecord, width, height,
                      background.data(), picture.data(), t_picture.data(), transmittance.data(),
                      t_transmittance.data());
      },
      "Picture and its derivative along a tangent of the records, pixel by pixel, by dual numbers (float64)");
}
