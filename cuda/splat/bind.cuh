// Python's arrays as the CUDA drivers of splatting take them, checked.
#pragma once

#include <nanobind/stl/vector.h>

#include "core/arrays_cuda.h"
#include "splat_cuda.h"

namespace recon::gpu {

inline gaussian_rows<float> rows_of(const std::vector<numbers>& p) {
  expect(p.size() == 6, "six parameters expected");
  const size_t n = p[0].shape(0);
  expect(p[0].size() == 3 * n && p[1].size() == 3 * n && p[2].size() == 4 * n && p[3].size() == n &&
             p[4].size() == 3 * n && (n == 0 || p[5].size() % (3 * n) == 0),
         "Gaussian parameters disagree in their number of rows");
  return {p[0].data(),
          p[1].data(),
          p[2].data(),
          p[3].data(),
          p[4].data(),
          p[5].data(),
          n == 0 ? 0 : int(p[5].size() / (3 * n))};
}

inline view<float> view_of(const host_array<const double>& camera, int degree, bool antialiased) {
  expect(camera.size() == kViewNumbers, "camera must hold 23 numbers");
  return view_from<float>(camera.data(), degree, antialiased);
}

// `there`: the camera's numbers are in device memory, not in the host's.
using camera_numbers = nb::ndarray<const double, nb::c_contig>;
inline any_view view_of(const camera_numbers& camera, bool there, int degree, bool antialiased) {
  expect(camera.size() == kViewNumbers, "camera must hold 23 numbers");
  expect(camera.device_type() == (there ? device::value : nb::device::cpu::value), "camera is not where it should be");
  if (there) return device_view{camera.data(), degree, antialiased};
  return view_from<float>(camera.data(), degree, antialiased);
}

inline int64_t check_records(const gaussian_rows<float>& g, size_t n, const numbers& records, int degree) {
  expect(records.size() == n * kRecord, "records must be [rows, 12]");
  expect(degree >= 0 && degree <= 3 && (n == 0 || (degree + 1) * (degree + 1) - 1 <= g.rest),
         "not enough SH coefficients");
  return int64_t(n);
}

inline tile_lists lists_of(int width, int height, const ids& tile_begin, const ids& row, const ids& slot) {
  expect(width > 0 && height > 0 && width <= 32000 && height <= 32000 && row.size() == slot.size() &&
             tile_begin.size() == size_t(tiles_across(width)) * tiles_down(height) + 1,
         "tile lists do not belong to this picture");
  return {width, height, ids_of(tile_begin), ids_of(row), ids_of(slot), uint32_t(row.size())};
}

// Further gradients, of regularizers: with the shape of their parameter, or empty.
inline void expect_extra(int64_t rows, const numbers& log_scale, const numbers& logit) {
  expect((log_scale.size() == 0 || int64_t(log_scale.size()) == 3 * rows) &&
             (logit.size() == 0 || int64_t(logit.size()) == rows),
         "extra gradients must have the shape of their parameter");
}

inline float* or_null(const numbers& a) { return a.size() ? a.data() : nullptr; }

}  // namespace recon::gpu
