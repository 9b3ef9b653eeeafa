"""Where masks show that there is nothing, distances are positive.

Rays end at the border of the cells that the photos' visual hull touches. A surface that has reached it would stay:
rays that enter a solid through a border meet no zero of the distance that they could move.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class EmptySpace:
    """Mean depth below the surface, in voxels of the finest grid, of random points just outside of those cells; nothing
    without masks."""

    weight: float = 0.1
    # points of a step
    count: int = 512

    def of_points(self, field: Any, generator: torch.Generator) -> Tensor:
        """Scalar, see ``PointRegularizer``; a field has ``empty_points``, ``signed_distance`` and ``voxel``."""
        drawn = getattr(field, "empty_points", None)
        u = None if drawn is None else drawn(self.count, generator)
        if u is None or not len(u):
            return torch.zeros(())
        depth: Tensor = -field.signed_distance(u)[0] / field.voxel
        return depth.clamp_min(0).mean()
