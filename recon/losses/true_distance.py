"""The distance of a field should be that of a surface that is known, where the scene is one (a mesh).

Source: supervision by signed distances as in Park et al., "DeepSDF", CVPR 2019, arXiv 1901.05103, eq. 4 (clamped L1).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor

from recon.types import Observation, Render


@dataclass(frozen=True)
class TrueDistance:
    """Mean absolute error of the distance in voxels of the finest grid; nothing where no surface is known."""

    weight: float = 0.1
    # errors beyond so many voxels count no more
    most: float = 30.0

    @property
    def channels(self) -> Collection[str]:
        return ("rgb", "distance")

    def value(self, render: Render, seen: Observation) -> Tensor:
        misses = getattr(render.trace, "misses", None)
        return torch.zeros(()) if misses is None or not len(misses) else misses.abs().clamp(max=self.most).mean()
