"""Real spherical harmonics to degree 3 in the sign convention of 3DGS, and their rotation."""

from __future__ import annotations

import torch
from torch import Tensor

_ROWS = 1 << 16


def basis(d: Tensor, degree: int) -> Tensor:
    """Unit directions [..., 3] -> values [..., (degree + 1)^2] of the real basis Y_k."""
    x, y, z = d.unbind(-1)
    out = [torch.full_like(x, 0.28209479177387814)]
    if degree >= 1:
        out += [-0.4886025119029199 * y, 0.4886025119029199 * z, -0.4886025119029199 * x]
    if degree >= 2:
        xx, yy, zz = x * x, y * y, z * z
        out += [
            1.0925484305920792 * x * y,
            -1.0925484305920792 * y * z,
            0.31539156525252005 * (2 * zz - xx - yy),
            -1.0925484305920792 * x * z,
            0.5462742152960396 * (xx - yy),
        ]
    if degree >= 3:
        out += [
            -0.5900435899266435 * y * (3 * xx - yy),
            2.890611442640554 * x * y * z,
            -0.4570457994644658 * y * (4 * zz - xx - yy),
            0.3731763325901154 * z * (2 * zz - 3 * xx - 3 * yy),
            -0.4570457994644658 * x * (4 * zz - xx - yy),
            1.445305721320277 * z * (xx - yy),
            -0.5900435899266435 * x * (xx - 3 * yy),
        ]
    return torch.stack(out, dim=-1)


def rotation_matrices(rotation: Tensor, degree: int) -> list[Tensor]:
    """Matrices D_l [2l + 1, 2l + 1] (float64) of the bands 1..degree for a ``rotation`` [3, 3], mirrors included.

    c' = D_l c are the coefficients of the turned light: Y(d) D c = Y(R^T d) c for every direction d. Each D_l is the
    least-squares solution over fixed directions; that is exact, because an orthogonal map takes each band onto itself.
    Entries within rounding of 0, 1 or -1 are set to them, so turns between axis conventions only swap and flip signs.
    """
    generator = torch.Generator().manual_seed(0)
    d = torch.nn.functional.normalize(torch.randn(64, 3, generator=generator, dtype=torch.float64), dim=-1)
    turned, fixed = basis(d @ rotation.detach().cpu().to(torch.float64), degree), basis(d, degree)
    out = []
    for band in range(1, degree + 1):
        rows = slice(band * band, (band + 1) * (band + 1))
        matrix = torch.linalg.lstsq(fixed[:, rows], turned[:, rows]).solution
        whole = matrix.round()
        out.append(torch.where((matrix - whole).abs() < 1e-13, whole, matrix))
    return out


def rotate_sh(sh: Tensor, rotation: Tensor) -> Tensor:
    """Coefficients [n, k, 3] of light turned by ``rotation`` [3, 3] (a mirror is allowed too).

    Computed in float64, some rows at a time so that a large scene does not need several copies of itself.
    """
    degree = round(sh.shape[1] ** 0.5) - 1
    if degree == 0:
        return sh
    matrices = [m.to(sh.device) for m in rotation_matrices(rotation, degree)]
    out = torch.empty_like(sh)
    out[:, 0] = sh[:, 0]
    for start in range(0, len(sh), _ROWS):
        part = sh[start:start + _ROWS]
        for band, matrix in enumerate(matrices, start=1):
            rows = slice(band * band, (band + 1) * (band + 1))
            out[start:start + _ROWS, rows] = (matrix @ part[:, rows].to(torch.float64)).to(sh.dtype)
    return out
