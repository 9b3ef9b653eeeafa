"""Gaussians should lie flat on a surface: density and normals around them as a surface of flat, opaque ones has them.

Source: Guedon and Lepetit, "SuGaR: Surface-Aligned Gaussian Splatting", CVPR 2024, arXiv 2311.12775, eqs. 5 to 9, where
densities are compared. Differences: fewer samples, and not in every step; neighbours are always up to date.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from recon.ops.elementwise import sigmoid
from recon.ops.gather import rows_of
from recon.ops.knn import nearest
from recon.types.placement import sent

_SPREAD = 1.5  # standard deviations of the samples around their Gaussian, in those of the Gaussian


@dataclass(frozen=True)
class SurfaceAlignment:
    """Density term plus normal term, over random points near random Gaussians; needs a field of Gaussians."""

    weight: float = 0.2
    # share of the fit after which it acts
    begin: float = 0.5
    # every so many steps, then as much stronger
    every: int = 5
    # points, and Gaussians that a density is summed over
    samples: int = 4_000
    neighbours: int = 16

    def of_field(self, field: Any) -> Tensor:
        return self.of_field_at(field, 0, 1, 0) if self.begin <= 0 else torch.zeros(())

    def of_field_at(self, field: Any, step: int, total_steps: int, seed: int) -> Tensor:
        """Scalar; drawn from (seed, step)."""
        if step < self.begin * total_steps or step % self.every:
            return torch.zeros(())
        generator = torch.Generator().manual_seed(seed * 86_028_121 + step)
        p = field.params
        count = len(p["means"])
        if count <= self.neighbours:
            return torch.zeros(())
        chosen = torch.randint(count, (self.samples,), generator=generator)
        noise = torch.randn(self.samples, 3, generator=generator)
        density, normal = alignment(p["means"], p["log_scales"], p["quaternions"], sigmoid(p["logits"]), chosen,
                                    noise, self.neighbours)
        return self.every * (density + normal)


def alignment(means: Tensor, log_scales: Tensor, quaternions: Tensor, opacities: Tensor, chosen: Tensor, noise: Tensor,
              neighbours: int) -> tuple[Tensor, Tensor]:
    """The density term and the normal term.

    means [n, 3], log_scales [n, 3], quaternions [n, 4], opacities [n]; chosen [m] the Gaussians that samples are drawn
    around, with noise [m, 3] of unit variance. Differentiable in the first four.
    """
    centres = means.detach().contiguous()
    among, inverse = torch.unique(chosen, return_inverse=True)
    among, inverse, chosen, noise = (sent(t, means.device) for t in (among, inverse, chosen, noise))
    _, near = nearest(centres[among].contiguous(), centres, neighbours)  # a Gaussian is its own neighbour
    near = near.long()[inverse]
    scales, turns = log_scales.exp(), rotations(quaternions)
    with torch.no_grad():
        offset = _SPREAD * scales[chosen] * noise
        x = centres[chosen] + (turns[chosen] @ offset[..., None])[..., 0]
    away = x[:, None] - rows_of(means, near)  # [m, k, 3]
    local = (away[..., None, :] @ rows_of(turns, near))[..., 0, :] / rows_of(scales, near)
    share = rows_of(opacities, near) * torch.exp(-0.5 * local.square().sum(-1))  # [m, k]
    density = share.sum(1)
    thin, axis = scales.min(1)
    normals = turns.gather(2, axis[:, None, None].expand(-1, 3, 1))[..., 0]
    around, mine, thickness = rows_of(normals, near), rows_of(normals, chosen), rows_of(thin, near)
    width = thickness.mean(1)
    distance = ((x - rows_of(means, chosen)) * mine).sum(1)
    wanted = torch.exp(-0.5 * (distance / width).square())
    apart = (away * around).sum(-1).abs()
    weight = (share * apart / thickness.square()).detach()
    total = weight.sum(1, keepdim=True)
    weight = torch.where(total > 1e-12, weight / total.clamp_min(1e-12), 1.0 / neighbours)
    facing = torch.where((around * mine[:, None]).sum(-1, keepdim=True) < 0, -1.0, 1.0)
    mean = (weight[..., None] * facing * around).sum(1)
    return (density - wanted).abs().mean(), (mine - mean).square().sum(1).mean()


def rotations(quaternions: Tensor) -> Tensor:
    """[n, 4] w x y z of any length -> [n, 3, 3], differentiable; columns are the local axes."""
    w, x, y, z = torch.nn.functional.normalize(quaternions, dim=1).unbind(1)
    rows = [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
            2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
            2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)]
    return torch.stack(rows, dim=1).view(-1, 3, 3)
