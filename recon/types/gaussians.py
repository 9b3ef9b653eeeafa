"""Gaussians: a set of anisotropic 3D Gaussians with view-dependent colour, as plain tensors.

Source: Kerbl et al., "3D Gaussian Splatting for Real-Time Radiance Field Rendering", SIGGRAPH 2023, arXiv 2308.04079.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from recon.types.sh import rotate_sh
from recon.types.similarity import Similarity

SH_C0 = 0.28209479177387814


@dataclass(frozen=True)
class Gaussians:
    """Raw (unconstrained) parameters, float32, one row per Gaussian.

    means        [n, 3]     centres in the world
    log_scales   [n, 3]     natural logarithm of the standard deviations along the local axes
    quaternions  [n, 4]     w, x, y, z; need not be unit, used normalised; rotates local axes to the world
    logits       [n]        opacity = sigmoid(logit)
    sh           [n, k, 3]  real spherical harmonics, k = 1, 4, 9 or 16; colour = max(0, 0.5 + sum_k sh_k Y_k(d)),
                            d from the camera to the Gaussian; colour in the photos' own (sRGB) encoding
    antialiased  rendered with the 2D compensation of Mip-Splatting
    """

    means: Tensor
    log_scales: Tensor
    quaternions: Tensor
    logits: Tensor
    sh: Tensor
    antialiased: bool = False

    def __len__(self) -> int:
        return len(self.means)

    @property
    def sh_degree(self) -> int:
        return round(self.sh.shape[1] ** 0.5) - 1

    @property
    def tensors(self) -> dict[str, Tensor]:
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "antialiased"}

    def select(self, rows: Tensor) -> Gaussians:
        """The Gaussians of an index or boolean tensor."""
        chosen = {k: v[rows] for k, v in self.tensors.items()}
        return Gaussians(**chosen, antialiased=self.antialiased)

    def transformed(self, target_from_source: Similarity) -> Gaussians:
        """Moves, turns and scales the whole set; spherical harmonics turn along, so pictures stay the same.

        The rotation may be a mirror (determinant -1): a Gaussian looks the same from both sides, so its shape turns by
        the negated matrix, which is a rotation, while positions and colours are mirrored.
        """
        s = target_from_source
        turn = s.rotation if float(torch.linalg.det(s.rotation)) > 0 else -s.rotation
        return replace(
            self,
            means=s.points(self.means),
            log_scales=self.log_scales + math.log(s.scale),
            quaternions=_multiply(_quaternion_from_rotation(turn), self.quaternions),
            sh=rotate_sh(self.sh, s.rotation),
        )


def _quaternion_from_rotation(r: Tensor) -> Tensor:
    """[3, 3] rotation -> [4] w, x, y, z. Largest-component branch of Shepperd's method."""
    m: list[list[float]] = r.to(torch.float64).tolist()
    trace = m[0][0] + m[1][1] + m[2][2]
    candidates = [trace, m[0][0], m[1][1], m[2][2]]
    i = max(range(4), key=lambda k: candidates[k])
    if i == 0:
        q = [1 + trace, m[2][1] - m[1][2], m[0][2] - m[2][0], m[1][0] - m[0][1]]
    elif i == 1:
        q = [m[2][1] - m[1][2], 1 + 2 * m[0][0] - trace, m[0][1] + m[1][0], m[0][2] + m[2][0]]
    elif i == 2:
        q = [m[0][2] - m[2][0], m[0][1] + m[1][0], 1 + 2 * m[1][1] - trace, m[1][2] + m[2][1]]
    else:
        q = [m[1][0] - m[0][1], m[0][2] + m[2][0], m[1][2] + m[2][1], 1 + 2 * m[2][2] - trace]
    out = torch.tensor(q, dtype=torch.float64)
    return out / out.norm()


def _multiply(a: Tensor, b: Tensor) -> Tensor:
    """Hamilton product of one quaternion [4] with rows [n, 4]."""
    w, x, y, z = a.tolist()
    bw, bx, by, bz = b.to(torch.float64).unbind(-1)
    product = [
        w * bw - x * bx - y * by - z * bz,
        w * bx + x * bw + y * bz - z * by,
        w * by - x * bz + y * bw + z * bx,
        w * bz + x * by - y * bx + z * bw,
    ]
    return torch.stack(product, dim=-1).to(b.dtype)
