"""Neighbouring points of a volume should be alike: total variation of raw density and of colour features.

Source: Yu et al., "Plenoxels", CVPR 2022, arXiv 2112.05131, eq. 4; Sun et al., "Direct voxel grid optimization", CVPR
2022, arXiv 2111.11215 (Huber instead of a square root). Differences: taken at random points of occupied cells and one
voxel further along each axis, not at all nodes, so that it means the same for factored and hashed fields too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import huber_loss

from recon.errors import InputError
from recon.protocols import Volumetric
from recon.types.volume import random_points


@dataclass(frozen=True)
class TotalVariation:
    """Mean over points and axes of the Huber norm of the difference over a voxel (linear beyond 1)."""

    weight: float = 1e-2
    # points that are looked at in a step
    points: int = 4096
    # only in volumes that hold what is far away, too: photos with alpha need it less, and their details lose by it
    unbounded: bool = False
    # share of the fit up to which it counts
    until: float = 1.0

    def of_points(self, field: Any, generator: torch.Generator) -> Tensor:
        """See ``recon.protocols.PointRegularizer``. Raises InputError for fields that are no volumes."""
        if not isinstance(field, Volumetric):
            raise InputError("total variation is for volumes, and this method has none",
                             fix="Leave out --losses.total-variation.")
        volume = field.volume()
        if self.unbounded and not volume.unbounded:
            return torch.zeros(())
        here = random_points(volume, self.points, generator)
        if not len(here):
            return torch.zeros(())
        footprint = here.new_zeros(len(here))
        extent = [(high - low) * (1 + volume.margin) for low, high in zip(volume.low, volume.high)]
        middle = field.density(here, footprint)
        total = torch.zeros(())
        for axis in range(3):
            there = here.clone()
            step = volume.step / volume.delta / extent[axis]  # a voxel of the finest grid
            there[:, axis] += torch.where(there[:, axis] + step > 1, -step, step)
            total = total + huber_loss(field.density(there.contiguous(), footprint), middle)
        return total / 3
