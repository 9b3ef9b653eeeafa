// CPU driver of splatting: projection, binning and compositing over all rows, tiles and pixels of one picture.
#include "driver.h"

#include "composite.h"
#include "core/dual.h"
#include "depth.h"
#include "project.h"

namespace recon {

template <class S>
void project(const gaussian_rows<S>& in, int64_t rows, const view<S>& cam, S* records) {
  project_rows_forward<typename lanes_of<S>::type>(in, rows, cam, records);
}
template <class S>
void project_backward(const gaussian_rows<S>& in, int64_t rows, const view<S>& cam, const S* records,
                      const S* g_records, const gaussian_rows<S>& out) {
  project_rows_backward<typename lanes_of<S>::type>(in, rows, cam, records, g_records, out);
}

template <class S>
void composite(const S* records, int64_t rows, bins& b, int width, int height, int channels, const S* background,
               S* picture, S* transmittance) {
  using P = typename lanes_of<S>::type;
  bin_splats<typename block_shape<P>::tile, P>(records, rows, width, height, b);
  b.block_mask.resize(b.instances());
  parallel_for(int64_t(b.tiles_x) * b.tiles_y, [&](int64_t tile) {
    if (channels == 3)
      composite_tile_forward<P, 3>(int(tile), records, b, background, picture, transmittance);
    else
      composite_tile_forward<P, 4>(int(tile), records, b, background, picture, transmittance);
  });
}

template <class S>
void composite_depth(const S* records, const S* slopes, int64_t rows, bins& b, int width, int height, S low, S high,
                     S* depth, S* spread) {
  using P = typename lanes_of<S>::type;
  bin_splats<typename block_shape<P>::tile, P>(records, rows, width, height, b);
  parallel_for(int64_t(b.tiles_x) * b.tiles_y,
               [&](int64_t tile) { depth_tile<P>(int(tile), records, slopes, b, low, high, depth, spread); });
}

template <class S>
void composite_backward(const S* records, int64_t rows, const bins& b, int channels, bool absolute, const S* picture,
                        const S* transmittance, const S* g_picture, const S* g_transmittance, std::vector<S>& slots,
                        S* g_records) {
  using P = typename lanes_of<S>::type;
  slots.resize(b.instances() * kSums);
  S* s = slots.data();
  parallel_for(int64_t(b.tiles_x) * b.tiles_y, [&](int64_t t) {
    const int tile = int(t);
    if (channels == 3) {
      if (absolute)
        composite_tile_backward<P, 3, true>(tile, records, b, picture, transmittance, g_picture, g_transmittance, s);
      else
        composite_tile_backward<P, 3, false>(tile, records, b, picture, transmittance, g_picture, g_transmittance, s);
    } else {
      if (absolute)
        composite_tile_backward<P, 4, true>(tile, records, b, picture, transmittance, g_picture, g_transmittance, s);
      else
        composite_tile_backward<P, 4, false>(tile, records, b, picture, transmittance, g_picture, g_transmittance, s);
    }
  });
  gather_sums(records, b, s, g_records);
}

#define RECON_INSTANTIATE(S)                                                                                   \
  template void project<S>(const gaussian_rows<S>&, int64_t, const view<S>&, S*);                              \
  template void project_backward<S>(const gaussian_rows<S>&, int64_t, const view<S>&, const S*, const S*,      \
                                    const gaussian_rows<S>&);                                                  \
  template void composite<S>(const S*, int64_t, bins&, int, int, int, const S*, S*, S*);                       \
  template void composite_depth<S>(const S*, const S*, int64_t, bins&, int, int, S, S, S*, S*);                \
  template void composite_backward<S>(const S*, int64_t, const bins&, int, bool, const S*, const S*, const S*, \
                                      const S*, std::vector<S>&, S*);
RECON_INSTANTIATE(float)
RECON_INSTANTIATE(double)
#undef RECON_INSTANTIATE

int64_t project_backward_adam(const adam_rows* tensors, int64_t rows, const view<float>& cam, const float* records,
                              const float* g_records, const float* extra_log_scale, const float* extra_logit,
                              const adam_constants& constants) {
  return update_rows<lanes>(tensors, rows, cam, records, g_records, extra_log_scale, extra_logit, constants);
}

// ---------------------------------------------------------------- dual numbers: J v of one Gaussian, of one picture

void project_jvp(const gaussian_rows<double>& in, const gaussian_rows<double>& tangent, int64_t rows,
                 const view<double>& cam, double* records, double* g_records) {
  using D = dual<double>;
  const int used = sh_count(cam.degree);
  for (int64_t i = 0; i < rows; ++i) {
    gaussian<D> G;
    for (int j = 0; j < 3; ++j) G.mean[j] = D(in.mean[3 * i + j], tangent.mean[3 * i + j]);
    for (int j = 0; j < 3; ++j) G.log_scale[j] = D(in.log_scale[3 * i + j], tangent.log_scale[3 * i + j]);
    for (int j = 0; j < 4; ++j) G.quaternion[j] = D(in.quaternion[4 * i + j], tangent.quaternion[4 * i + j]);
    G.logit = D(in.logit[i], tangent.logit[i]);
    projection<D> p;
    project_geometry(G, cam, p);
    splat<D> s = project_forward(G, cam, p);
    D inverse_length, Y[16], colour[3];
    const vec3<D> d = view_direction(G.mean, cam, inverse_length);
    sh_basis(cam.degree, d.x, d.y, d.z, Y);
    for (int c = 0; c < 3; ++c) {
      colour[c] = D(0.5) + D(in.sh0[3 * i + c], tangent.sh0[3 * i + c]) * Y[0];
      for (int k = 1; k < used; ++k) {
        const int64_t at = (i * in.rest + k - 1) * 3 + c;
        colour[c] = colour[c] + D(in.sh_rest[at], tangent.sh_rest[at]) * Y[k];
      }
      colour[c] = max(colour[c], D(0.0));
    }
    const D out[kRecord] = {s.mx, s.my,           s.A,     s.B, s.C, s.opacity, colour[0], colour[1], colour[2],
                            s.z,  s.log2_opacity, s.radius};
    for (int j = 0; j < kRecord; ++j) {
      records[i * kRecord + j] = out[j].v;
      g_records[i * kRecord + j] = out[j].d;
    }
  }
}

void composite_jvp(const double* records, const double* tangents, int64_t rows, int width, int height,
                   const double* background, double* picture, double* g_picture, double* transmittance,
                   double* g_transmittance) {
  using D = dual<double>;
  std::vector<int64_t> order;
  for (int64_t i = 0; i < rows; ++i)
    if (records[i * kRecord + kRadius] > 0) order.push_back(i);
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t a, int64_t b) { return records[a * kRecord + kDepth] < records[b * kRecord + kDepth]; });
  const int64_t plane = int64_t(width) * height;
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x) {
      D T(1.0), colour[4] = {D(0.0), D(0.0), D(0.0), D(0.0)};
      for (int64_t i : order) {
        const double *r = records + i * kRecord, *t = tangents + i * kRecord;
        const auto at = [&](int c) { return D(r[c], t[c]); };
        const blob<D> b = blob_from_splat(at(kMx), at(kMy), at(kA), at(kB), at(kC), log2(at(kOpacity)));
        D alpha;
        if (!blob_alpha(b, D(x + 0.5) - b.mx, D(y + 0.5) - b.my, T, alpha)) continue;
        const D w = min(alpha, D(double(kAlphaMax))) * T;
        for (int c = 0; c < 4; ++c) colour[c] = colour[c] + w * at(kRed + c);
        T = T - w;
      }
      const int64_t pixel = int64_t(y) * width + x;
      for (int c = 0; c < 4; ++c) {
        if (c < 3) colour[c] = colour[c] + T * D(background[c]);
        picture[c * plane + pixel] = colour[c].v;
        g_picture[c * plane + pixel] = colour[c].d;
      }
      transmittance[pixel] = T.v;
      g_transmittance[pixel] = T.d;
    }
}

}  // namespace recon
