// 3D Gaussian splatting: the math of one Gaussian and of one (pixel, Gaussian) pair, forward and backward.
// Kerbl et al., "3D Gaussian Splatting for Real-Time Radiance Field Rendering", SIGGRAPH 2023, arXiv 2308.04079.
// Projection: Zwicker et al., "EWA Volume Splatting", 2001. Anti-aliasing: Yu et al., "Mip-Splatting", CVPR 2024.
//
// Conventions: OpenCV camera axes, pixel centres at +0.5, quaternions w x y z. g_x is dL/dx.
// Differences from the original, each for agreement between passes or for speed:
//  - a Gaussian reaches a pixel exactly where alpha >= 1/255, by one test in binning, forward and backward;
//  - the Gaussian that brings the transmittance below 1e-4 is still blended, then the pixel ends;
//  - exponentials are base 2, with log2(opacity) in the exponent.
#pragma once

#include "core/sh.h"

namespace recon {

inline constexpr float kAlphaMax = 0.99f;
inline constexpr double kLog2Of255 = 7.99435343685885793764;  // a Gaussian ends where alpha = 1/255
inline constexpr float kTransmittanceMin = 1e-4f;

template <class F>
struct vec3 {
  F x, y, z;
};

// A pinhole camera and the settings of a projection, as plain scalars.
template <class S>
struct view {
  S rotation[9];     // camera from world, row major
  S translation[3];  // camera from world
  S centre[3];       // camera position in the world
  S fx, fy, cx, cy;
  S width, height;
  S near;       // Gaussians with z <= near are not drawn
  S dilation;   // variance added to both screen axes, pixels^2
  int degree;   // spherical harmonics used
  bool antialiased;
};

// From 23 numbers: rotation 9, translation 3, centre 3, fx fy cx cy, width height, near, dilation.
inline constexpr int kViewNumbers = 23;
template <class S>
RECON_HD view<S> view_from(const double* c, int degree, bool antialiased) {
  view<S> v;
  for (int i = 0; i < 9; ++i) v.rotation[i] = S(c[i]);
  for (int i = 0; i < 3; ++i) v.translation[i] = S(c[9 + i]);
  for (int i = 0; i < 3; ++i) v.centre[i] = S(c[12 + i]);
  v.fx = S(c[15]), v.fy = S(c[16]), v.cx = S(c[17]), v.cy = S(c[18]);
  v.width = S(c[19]), v.height = S(c[20]), v.near = S(c[21]), v.dilation = S(c[22]);
  v.degree = degree;
  v.antialiased = antialiased;
  return v;
}

// One Gaussian on the screen.
template <class F>
struct splat {
  F mx, my;           // centre, pixels
  F A, B, C;          // inverse covariance
  F opacity;          // with anti-aliasing compensation
  F r, g, b;          // colour
  F z;                // depth
  F log2_opacity;
  F radius;           // half extent of the alpha >= 1/255 box, pixels; 0 = not drawn
};

template <class F>
struct gaussian {
  F mean[3], log_scale[3], quaternion[4], logit;
};

// Everything between the parameters and the screen that forward and backward share.
template <class F>
struct projection {
  F x, y, z, rz;            // mean in the camera, 1/z
  F xz, yz, cxz, cyz;       // x/z, y/z and their clamped values
  F inside_x, inside_y;     // 1 where not clamped
  F q[4], rq, R[9], s[3];   // unit quaternion, 1/|q|, its rotation, scales
  F V[9];                   // axes of the Gaussian, scaled, in the camera: R_camera R diag(s)
  F jx, jxz, jy, jyz;       // Jacobian of the projection
  F U0[3], U1[3];           // rows of J V
  F a0, b, c0, det0, a, c, det;
  F sigma, compensation;    // sigmoid(logit)
};

template <class F>
RECON_HD void project_geometry(const gaussian<F>& G, const view<scalar_of<F>>& cam, projection<F>& p) {
  using S = scalar_of<F>;
  const auto* w = cam.rotation;
  const F one(S(1)), zero(S(0)), two(S(2));
  p.x = fma(F(w[0]), G.mean[0], fma(F(w[1]), G.mean[1], fma(F(w[2]), G.mean[2], F(cam.translation[0]))));
  p.y = fma(F(w[3]), G.mean[0], fma(F(w[4]), G.mean[1], fma(F(w[5]), G.mean[2], F(cam.translation[1]))));
  p.z = fma(F(w[6]), G.mean[0], fma(F(w[7]), G.mean[1], fma(F(w[8]), G.mean[2], F(cam.translation[2]))));
  p.z = max(p.z, F(cam.near));  // culled Gaussians stay finite in their lanes
  p.rz = one / p.z;
  p.xz = p.x * p.rz;
  p.yz = p.y * p.rz;
  // The linearisation degrades far outside the picture: x/z is limited there, for the Jacobian only.
  const S mx = S(0.15) * cam.width / cam.fx, my = S(0.15) * cam.height / cam.fy;
  const F lo_x(-(cam.cx / cam.fx) - mx), hi_x((cam.width - cam.cx) / cam.fx + mx);
  const F lo_y(-(cam.cy / cam.fy) - my), hi_y((cam.height - cam.cy) / cam.fy + my);
  p.cxz = min(max(p.xz, lo_x), hi_x);
  p.cyz = min(max(p.yz, lo_y), hi_y);
  p.inside_x = select((p.xz >= lo_x) & (p.xz <= hi_x), one, zero);
  p.inside_y = select((p.yz >= lo_y) & (p.yz <= hi_y), one, zero);

  const F* Q = G.quaternion;
  const F norm2 = fma(Q[0], Q[0], fma(Q[1], Q[1], fma(Q[2], Q[2], Q[3] * Q[3])));
  p.rq = one / sqrt(max(norm2, F(S(1e-24))));
  for (int i = 0; i < 4; ++i) p.q[i] = Q[i] * p.rq;
  const F qw = p.q[0], qx = p.q[1], qy = p.q[2], qz = p.q[3];
  p.R[0] = one - two * (qy * qy + qz * qz);
  p.R[1] = two * (qx * qy - qw * qz);
  p.R[2] = two * (qx * qz + qw * qy);
  p.R[3] = two * (qx * qy + qw * qz);
  p.R[4] = one - two * (qx * qx + qz * qz);
  p.R[5] = two * (qy * qz - qw * qx);
  p.R[6] = two * (qx * qz - qw * qy);
  p.R[7] = two * (qy * qz + qw * qx);
  p.R[8] = one - two * (qx * qx + qy * qy);
  for (int j = 0; j < 3; ++j) p.s[j] = exp(G.log_scale[j]);
  for (int i = 0; i < 3; ++i)
    for (int j = 0; j < 3; ++j)
      p.V[3 * i + j] =
          p.s[j] * fma(F(w[3 * i]), p.R[j], fma(F(w[3 * i + 1]), p.R[3 + j], F(w[3 * i + 2]) * p.R[6 + j]));
  p.jx = F(cam.fx) * p.rz;
  p.jy = F(cam.fy) * p.rz;
  p.jxz = -(p.jx * p.cxz);
  p.jyz = -(p.jy * p.cyz);
  for (int j = 0; j < 3; ++j) {
    p.U0[j] = fma(p.jx, p.V[j], p.jxz * p.V[6 + j]);
    p.U1[j] = fma(p.jy, p.V[3 + j], p.jyz * p.V[6 + j]);
  }
  p.a0 = fma(p.U0[0], p.U0[0], fma(p.U0[1], p.U0[1], p.U0[2] * p.U0[2]));
  p.b = fma(p.U0[0], p.U1[0], fma(p.U0[1], p.U1[1], p.U0[2] * p.U1[2]));
  p.c0 = fma(p.U1[0], p.U1[0], fma(p.U1[1], p.U1[1], p.U1[2] * p.U1[2]));
  // det of J V V^T J^T is |U0 x U1|^2: no cancellation for needles.
  const F nx = p.U0[1] * p.U1[2] - p.U0[2] * p.U1[1];
  const F ny = p.U0[2] * p.U1[0] - p.U0[0] * p.U1[2];
  const F nz = p.U0[0] * p.U1[1] - p.U0[1] * p.U1[0];
  p.det0 = fma(nx, nx, fma(ny, ny, nz * nz));
  const F d(cam.dilation);
  p.a = p.a0 + d;
  p.c = p.c0 + d;
  p.det = p.det0 + d * (p.a0 + p.c0 + d);
  p.sigma = sigmoid(G.logit);
  p.compensation = cam.antialiased ? sqrt(max(p.det0 / p.det, F(S(2.5e-5)))) : one;
}

// Screen-space Gaussian without its colour. `visible` lanes reach at least one pixel centre by their bounding box.
template <class F>
RECON_HD splat<F> project_forward(const gaussian<F>& G, const view<scalar_of<F>>& cam, const projection<F>& p) {
  using S = scalar_of<F>;
  splat<F> out;
  const F zero(S(0));
  const F inverse = F(S(1)) / p.det;
  out.mx = fma(F(cam.fx), p.xz, F(cam.cx));
  out.my = fma(F(cam.fy), p.yz, F(cam.cy));
  out.A = p.c * inverse;
  out.B = -(p.b * inverse);
  out.C = p.a * inverse;
  out.opacity = p.sigma * p.compensation;
  out.z = p.z;
  out.log2_opacity = log2(max(out.opacity, F(S(1e-30))));
  const F t = F(S(2 * kLn2)) * (out.log2_opacity + F(S(kLog2Of255)));
  const F reach = max(t, zero);
  const F hx = sqrt(reach * p.a), hy = sqrt(reach * p.c);
  const F* m = G.mean;
  const auto* w = cam.rotation;
  const F z_raw = fma(F(w[6]), m[0], fma(F(w[7]), m[1], fma(F(w[8]), m[2], F(cam.translation[2]))));
  const F half(S(0.5));
  const auto visible = (t > zero) & (z_raw > F(cam.near)) & (out.mx + hx >= half) &
                       (out.mx - hx <= F(cam.width) - half) & (out.my + hy >= half) &
                       (out.my - hy <= F(cam.height) - half) & (hx + hy < F(S(1e7)));
  out.radius = select(visible, max(hx, hy), zero);
  return out;
}

// dL/d(screen) -> dL/d(parameters). `g.opacity` is with respect to the compensated opacity.
template <class F>
RECON_HD void project_backward(const gaussian<F>& G, const view<scalar_of<F>>& cam, const projection<F>& p,
                               const splat<F>& g, gaussian<F>& out) {
  using S = scalar_of<F>;
  const F one(S(1)), two(S(2)), half(S(0.5)), zero(S(0));
  const F inverse = one / p.det;
  const F A = p.c * inverse, B = -(p.b * inverse), C = p.a * inverse;
  // K = Sigma^-1:  dL/dSigma = -K (dL/dK) K with dL/dK = [[gA, gB/2], [gB/2, gC]]
  const F hB = half * g.B;
  const F m00 = A * g.A + B * hB, m01 = A * hB + B * g.C, m10 = B * g.A + C * hB, m11 = B * hB + C * g.C;
  F g_a = -(m00 * A + m01 * B);
  F g_b = -(two * (m00 * B + m01 * C));
  F g_c = -(m10 * B + m11 * C);
  F g_sigma = g.opacity;
  if (cam.antialiased) {
    g_sigma = g.opacity * p.compensation;
    const F ratio = p.det0 * inverse;
    const F g_ratio = select(ratio > F(S(2.5e-5)), g.opacity * p.sigma * half / p.compensation, zero);
    const F g_det0 = g_ratio * inverse, g_det = -(g_ratio * ratio * inverse);
    g_a = g_a + g_det0 * p.c0 + g_det * p.c;
    g_c = g_c + g_det0 * p.a0 + g_det * p.a;
    g_b = g_b - two * p.b * (g_det0 + g_det);
  }
  F g_V[9];
  F g_jx = zero, g_jxz = zero, g_jy = zero, g_jyz = zero;
  for (int j = 0; j < 3; ++j) {
    const F g_U0 = two * g_a * p.U0[j] + g_b * p.U1[j];
    const F g_U1 = two * g_c * p.U1[j] + g_b * p.U0[j];
    g_V[j] = p.jx * g_U0;
    g_V[3 + j] = p.jy * g_U1;
    g_V[6 + j] = p.jxz * g_U0 + p.jyz * g_U1;
    g_jx = fma(g_U0, p.V[j], g_jx);
    g_jxz = fma(g_U0, p.V[6 + j], g_jxz);
    g_jy = fma(g_U1, p.V[3 + j], g_jy);
    g_jyz = fma(g_U1, p.V[6 + j], g_jyz);
  }
  const F fx(cam.fx), fy(cam.fy);
  const F g_xz = fx * g.mx - p.inside_x * (p.jx * g_jxz);
  const F g_yz = fy * g.my - p.inside_y * (p.jy * g_jyz);
  const F g_rz = fx * (g_jx - p.cxz * g_jxz) + fy * (g_jy - p.cyz * g_jyz) + g_xz * p.x + g_yz * p.y;
  const F g_x = g_xz * p.rz, g_y = g_yz * p.rz, g_z = g.z - g_rz * p.rz * p.rz;
  const auto* w = cam.rotation;
  for (int i = 0; i < 3; ++i) out.mean[i] = fma(F(w[i]), g_x, fma(F(w[3 + i]), g_y, F(w[6 + i]) * g_z));
  F g_R[9];
  for (int j = 0; j < 3; ++j) {
    F g_s = zero;
    for (int i = 0; i < 3; ++i) {
      const F g_M = fma(F(w[i]), g_V[j], fma(F(w[3 + i]), g_V[3 + j], F(w[6 + i]) * g_V[6 + j]));
      g_s = fma(g_M, p.R[3 * i + j], g_s);
      g_R[3 * i + j] = g_M * p.s[j];
    }
    out.log_scale[j] = g_s * p.s[j];
  }
  const F qw = p.q[0], qx = p.q[1], qy = p.q[2], qz = p.q[3];
  F g_q[4];
  g_q[0] = two * (qx * (g_R[7] - g_R[5]) + qy * (g_R[2] - g_R[6]) + qz * (g_R[3] - g_R[1]));
  g_q[1] =
      two * (qy * (g_R[1] + g_R[3]) + qz * (g_R[2] + g_R[6]) + qw * (g_R[7] - g_R[5]) - two * qx * (g_R[4] + g_R[8]));
  g_q[2] =
      two * (qx * (g_R[1] + g_R[3]) + qz * (g_R[5] + g_R[7]) + qw * (g_R[2] - g_R[6]) - two * qy * (g_R[0] + g_R[8]));
  g_q[3] =
      two * (qx * (g_R[2] + g_R[6]) + qy * (g_R[5] + g_R[7]) + qw * (g_R[3] - g_R[1]) - two * qz * (g_R[0] + g_R[4]));
  const F along = fma(g_q[0], qw, fma(g_q[1], qx, fma(g_q[2], qy, g_q[3] * qz)));
  for (int i = 0; i < 4; ++i) out.quaternion[i] = (g_q[i] - p.q[i] * along) * p.rq;
  out.logit = g_sigma * p.sigma * (one - p.sigma);
  (void)G;
}

// Unit direction from the camera to the Gaussian, in the world.
template <class F>
RECON_HD vec3<F> view_direction(const F* mean, const view<scalar_of<F>>& cam, F& inverse_length) {
  const F x = mean[0] - F(cam.centre[0]), y = mean[1] - F(cam.centre[1]), z = mean[2] - F(cam.centre[2]);
  inverse_length = F(scalar_of<F>(1)) / sqrt(max(fma(x, x, fma(y, y, z * z)), F(scalar_of<F>(1e-24))));
  return {x * inverse_length, y * inverse_length, z * inverse_length};
}

// Gradient through d = x / |x|: removes the radial part.
template <class F>
RECON_HD void view_direction_backward(const vec3<F>& d, const F& inverse_length, const vec3<F>& g, F* g_mean) {
  const F along = fma(g.x, d.x, fma(g.y, d.y, g.z * d.z));
  g_mean[0] = g_mean[0] + (g.x - d.x * along) * inverse_length;
  g_mean[1] = g_mean[1] + (g.y - d.y * along) * inverse_length;
  g_mean[2] = g_mean[2] + (g.z - d.z * along) * inverse_length;
}

// ---------------------------------------------------------------- one (pixel, Gaussian) pair

// A Gaussian as the compositing loop wants it: exponent in base 2, alpha = 2^(lo - q2(d)).
template <class F>
struct blob {
  F mx, my;
  F A2, B2, C2;  // q2(d) = A2 dx^2 + B2 dx dy + C2 dy^2
  F lo;
};

template <class F>
RECON_HD blob<F> blob_from_splat(const F& mx, const F& my, const F& A, const F& B, const F& C, const F& lo) {
  using S = scalar_of<F>;
  return {mx, my, F(S(0.5 * kLog2E)) * A, F(S(kLog2E)) * B, F(S(0.5 * kLog2E)) * C, lo};
}

// alpha before clamping, and whether the Gaussian counts at this pixel.
template <class F>
RECON_HD mask_of<F> blob_alpha(const blob<F>& b, const F& dx, const F& dy, const F& transmittance, F& alpha) {
  using S = scalar_of<F>;
  const F e = fnma(dx, fma(b.A2, dx, b.B2 * dy), fnma(b.C2 * dy, dy, b.lo));
  alpha = exp2_near(e);
  return (e >= F(S(-kLog2Of255))) & (transmittance >= F(S(kTransmittanceMin)));
}

// Share of the ray that this Gaussian takes at a pixel; 0 where it does not count.
template <class F>
RECON_HD F blend_weight(const blob<F>& b, const F& dx, const F& dy, const F& transmittance) {
  using S = scalar_of<F>;
  F alpha;
  const auto counts = blob_alpha(b, dx, dy, transmittance, alpha);
  return select(counts, min(alpha, F(S(kAlphaMax))) * transmittance, F(S(0)));
}

// One step of the backward pass, front to back: h = (dL/dcolour) . colour of this Gaussian, `rest` = the same product
// with all that is still to come, the background included. Moves both on; returns dL/d log(opacity) at this pixel.
template <class F>
RECON_HD F blend_backward(const blob<F>& b, const F& dx, const F& dy, const F& h, F& transmittance, F& rest,
                          F& weight) {
  using S = scalar_of<F>;
  const F zero{S(0)}, one{S(1)}, limit{S(kAlphaMax)};
  F raw;
  const auto counts = blob_alpha(b, dx, dy, transmittance, raw);
  const F alpha = select(counts, min(raw, limit), zero);
  weight = alpha * transmittance;
  const F own = weight * h;
  rest = rest - own;
  transmittance = transmittance - weight;
  return select(raw <= limit, fnma(rest, alpha * rcp(one - alpha), own), zero);
}

// Slopes of the lines on which q2 is smallest for given dx, and for given dy.
template <class F>
struct blob_slopes {
  F dy_per_dx, dx_per_dy;
};
template <class F>
RECON_HD blob_slopes<F> slopes_of(const blob<F>& b) {
  using S = scalar_of<F>;
  const F half(S(-0.5)), tiny(S(1e-30));
  return {half * b.B2 / max(b.C2, tiny), half * b.B2 / max(b.A2, tiny)};
}

// Smallest q2 over rectangles [x0, x1] x [y0, y1] of pixel centres, given relative to the centre of the Gaussian.
// Exact: the quadratic is convex, so the minimum is at the centre if that is inside, else on an edge that faces it.
template <class F>
RECON_HD F blob_min_over(const blob<F>& b, const blob_slopes<F>& slope, const F& x0, const F& y0, const F& x1,
                         const F& y1) {
  const F zero(scalar_of<F>(0));
  const F cx = min(max(zero, x0), x1), cy = min(max(zero, y0), y1);
  const F dy = min(max(slope.dy_per_dx * cx, y0), y1), dx = min(max(slope.dx_per_dy * cy, x0), x1);
  const F qx = fma(cx, fma(b.A2, cx, b.B2 * dy), b.C2 * dy * dy);
  const F qy = fma(dx, fma(b.A2, dx, b.B2 * cy), b.C2 * cy * cy);
  return min(qx, qy);
}

}  // namespace recon
