// CPU driver of the products with the Jacobian: over rows and tiles.
#include "normal.h"

#include "camera.h"
#include "driver.h"
#include "newton.h"

namespace recon {

template <class S>
void project_tangent(const gaussian_rows<S>& in, const gaussian_rows<S>& v, int64_t rows, const view<S>& cam,
                     const S* records, S* tangents) {
  project_rows_tangent<typename lanes_of<S>::type>(in, v, rows, cam, records, tangents);
}

template <class S>
void project_backward_add(const gaussian_rows<S>& in, int64_t rows, const view<S>& cam, const S* records,
                          const S* g_records, const gaussian_rows<S>& out) {
  project_rows_backward_add<typename lanes_of<S>::type>(in, rows, cam, records, g_records, out);
}

template <class S>
void composite_tangent(const S* records, const S* tangents, const bins& b, const S* background, S* picture_tangent) {
  using P = typename lanes_of<S>::type;
  parallel_for(int64_t(b.tiles_x) * b.tiles_y, [&](int64_t tile) {
    composite_tile_tangent<P>(int(tile), records, tangents, b, background, nullptr, picture_tangent);
  });
}

template <class S>
void camera_tangents(const gaussian_rows<S>& in, int64_t rows, const view<S>& cam, const S* records, const bins& b,
                     const S* background, S* tangents, S* out) {
  using P = typename lanes_of<S>::type;
  project_rows_camera<P>(in, rows, cam, records, tangents);
  parallel_for(int64_t(b.tiles_x) * b.tiles_y, [&](int64_t tile) {
    for (int d = 0; d < kTwist; ++d)  // one after the other while the tile's list is in the cache
      composite_tile_tangent<P>(int(tile), records, tangents + d * rows * kRecord, b, background, nullptr,
                                out + d * 3 * int64_t(b.width) * b.height);
  });
}

template <class S>
void composite_normal(const S* records, const S* tangents, int64_t rows, const bins& b, const S* background,
                      const S* picture, const S* transmittance, const S* weights, S* scratch, std::vector<S>& slots,
                      S* g_records) {
  using P = typename lanes_of<S>::type;
  slots.resize(b.instances() * kSums);
  S* s = slots.data();
  parallel_for(int64_t(b.tiles_x) * b.tiles_y, [&](int64_t t) {  // forth and back, so that W J v never leaves the cache
    const int tile = int(t);
    composite_tile_tangent<P>(tile, records, tangents, b, background, weights, scratch);
    composite_tile_backward<P, 3, false>(tile, records, b, picture, transmittance, scratch, nullptr, s);
  });
  gather_sums(records, b, s, g_records);
}

template <class S>
void normal_diagonal(const gaussian_rows<S>& in, int64_t rows, const view<S>& cam, const S* records, const bins& b,
                     const S* picture, const S* weights, std::vector<S>& slots, const gaussian_rows<S>& out,
                     S* blocks) {
  using P = typename lanes_of<S>::type;
  slots.resize(b.instances() * kDiagonalSlot);
  parallel_for(int64_t(b.tiles_x) * b.tiles_y,
               [&](int64_t tile) { composite_tile_moments<P>(int(tile), records, b, picture, weights, slots.data()); });
  std::vector<S> moments(size_t(rows) * kDiagonalSums, S(0));
  gather_moments(b, slots.data(), moments.data());
  project_rows_diagonal<P>(in, rows, cam, records, moments.data(), out, blocks);
}

template <class S>
void factor_blocks(const gaussian_rows<S>& added, int64_t rows, S* blocks) {
  factor_rows<typename lanes_of<S>::type>(added, rows, blocks);
}

template <class S>
void solve_blocks(const S* factors, int64_t rows, const gaussian_rows<S>& x) {
  solve_rows<typename lanes_of<S>::type>(factors, rows, x);
}

int64_t project_backward_newton(const newton_rows& tensors, int64_t rows, const view<float>& cam, const float* records,
                                const float* g_records, const float* extra_log_scale, const float* extra_logit,
                                const newton_constants& constants) {
  return newton_update_rows<lanes>(tensors, rows, cam, records, g_records, extra_log_scale, extra_logit, constants);
}

#define RECON_INSTANTIATE(S)                                                                                          \
  template void project_tangent<S>(const gaussian_rows<S>&, const gaussian_rows<S>&, int64_t, const view<S>&,         \
                                   const S*, S*);                                                                     \
  template void project_backward_add<S>(const gaussian_rows<S>&, int64_t, const view<S>&, const S*, const S*,         \
                                        const gaussian_rows<S>&);                                                     \
  template void composite_tangent<S>(const S*, const S*, const bins&, const S*, S*);                                  \
  template void camera_tangents<S>(const gaussian_rows<S>&, int64_t, const view<S>&, const S*, const bins&, const S*, \
                                   S*, S*);                                                                           \
  template void composite_normal<S>(const S*, const S*, int64_t, const bins&, const S*, const S*, const S*, const S*, \
                                    S*, std::vector<S>&, S*);                                                         \
  template void normal_diagonal<S>(const gaussian_rows<S>&, int64_t, const view<S>&, const S*, const bins&, const S*, \
                                   const S*, std::vector<S>&, const gaussian_rows<S>&, S*);                           \
  template void factor_blocks<S>(const gaussian_rows<S>&, int64_t, S*);                                               \
  template void solve_blocks<S>(const S*, int64_t, const gaussian_rows<S>&);
RECON_INSTANTIATE(float)
RECON_INSTANTIATE(double)
#undef RECON_INSTANTIATE

}  // namespace recon
