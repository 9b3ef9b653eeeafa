// Real spherical harmonics to degree 3 in the signs of 3DGS (band 1 = 0.4886 (-y, z, -x)), and their derivatives.
#pragma once

#include "scalar.h"

namespace recon {

template <class F>
RECON_HD void sh_basis(int degree, const F& x, const F& y, const F& z, F* Y) {
  using S = scalar_of<F>;
  Y[0] = F(S(0.28209479177387814));
  if (degree < 1) return;
  Y[1] = F(S(-0.4886025119029199)) * y;
  Y[2] = F(S(0.4886025119029199)) * z;
  Y[3] = F(S(-0.4886025119029199)) * x;
  if (degree < 2) return;
  const F xx = x * x, yy = y * y, zz = z * z;
  Y[4] = F(S(1.0925484305920792)) * x * y;
  Y[5] = F(S(-1.0925484305920792)) * y * z;
  Y[6] = F(S(0.31539156525252005)) * (zz + zz - xx - yy);
  Y[7] = F(S(-1.0925484305920792)) * x * z;
  Y[8] = F(S(0.5462742152960396)) * (xx - yy);
  if (degree < 3) return;
  const F three(S(3)), four(S(4)), two(S(2));
  Y[9] = F(S(-0.5900435899266435)) * y * (three * xx - yy);
  Y[10] = F(S(2.890611442640554)) * x * y * z;
  Y[11] = F(S(-0.4570457994644658)) * y * (four * zz - xx - yy);
  Y[12] = F(S(0.3731763325901154)) * z * (two * zz - three * (xx + yy));
  Y[13] = F(S(-0.4570457994644658)) * x * (four * zz - xx - yy);
  Y[14] = F(S(1.445305721320277)) * z * (xx - yy);
  Y[15] = F(S(-0.5900435899266435)) * x * (xx - three * yy);
}

// Given g[k] = dL/dY_k, adds dL/d(x, y, z) for k >= 1 (x, y, z taken as independent).
template <class F>
RECON_HD void sh_basis_backward(int degree, const F& x, const F& y, const F& z, const F* g, F& g_x, F& g_y, F& g_z) {
  using S = scalar_of<F>;
  if (degree < 1) return;
  const F c1(S(0.4886025119029199));
  g_y = g_y - c1 * g[1];
  g_z = g_z + c1 * g[2];
  g_x = g_x - c1 * g[3];
  if (degree < 2) return;
  const F c2(S(1.0925484305920792)), c20(S(0.31539156525252005)), c22(S(0.5462742152960396)), two(S(2)), four(S(4));
  g_x = g_x + c2 * (y * g[4] - z * g[7]) + two * x * (c22 * g[8] - c20 * g[6]);
  g_y = g_y + c2 * (x * g[4] - z * g[5]) - two * y * (c22 * g[8] + c20 * g[6]);
  g_z = g_z - c2 * (y * g[5] + x * g[7]) + four * z * (c20 * g[6]);
  if (degree < 3) return;
  const F xx = x * x, yy = y * y, zz = z * z, xy = x * y, xz = x * z, yz = y * z;
  const F three(S(3)), six(S(6)), eight(S(8));
  const F a9 = F(S(-0.5900435899266435)) * g[9], a10 = F(S(2.890611442640554)) * g[10];
  const F a11 = F(S(-0.4570457994644658)) * g[11], a12 = F(S(0.3731763325901154)) * g[12];
  const F a13 = F(S(-0.4570457994644658)) * g[13], a14 = F(S(1.445305721320277)) * g[14];
  const F a15 = F(S(-0.5900435899266435)) * g[15];
  g_x = g_x + a9 * six * xy + a10 * yz - a11 * two * xy - a12 * six * xz + a13 * (four * zz - three * xx - yy) +
        a14 * two * xz + a15 * three * (xx - yy);
  g_y = g_y + a9 * three * (xx - yy) + a10 * xz + a11 * (four * zz - xx - three * yy) - a12 * six * yz -
        a13 * two * xy - a14 * two * yz - a15 * six * xy;
  g_z = g_z + a10 * xy + a11 * eight * yz + a12 * (six * zz - three * (xx + yy)) + a13 * eight * xz + a14 * (xx - yy);
}

}  // namespace recon
