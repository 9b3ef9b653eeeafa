"""Points that structure from motion and plane sweeps found lie on the surface.

Source: Fu et al., "Geo-Neus: Geometry-Consistent Neural Implicit Surfaces Learning for Multi-view Reconstruction",
NeurIPS 2022, arXiv 2205.15848, section 3.3; clamped here, because such points have outliers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor


@dataclass(frozen=True)
class SurfacePoints:
    """Mean distance between the capture's points and the surface in voxels of the finest grid; nothing without them."""

    dense: ClassVar[bool] = True  # wants many points: plane sweeps are made for it

    weight: float = 0.01
    # points of a step
    count: int = 512
    # distances beyond so many voxels count no more
    most: float = 30.0

    def of_points(self, field: Any, generator: torch.Generator) -> Tensor:
        """Scalar, see ``PointRegularizer``; a field has ``surface_points``, ``signed_distance`` and ``voxel``."""
        drawn = getattr(field, "surface_points", None)
        u = None if drawn is None else drawn(self.count, generator)
        if u is None or not len(u):
            return torch.zeros(())
        away: Tensor = field.signed_distance(u)[0] / field.voxel
        return away.abs().clamp(max=self.most).mean()
