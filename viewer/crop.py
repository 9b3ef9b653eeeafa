"""Crop: a turned box in the world that pictures and exports obey."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from recon.types import Gaussians


@dataclass(frozen=True)
class Crop:
    """centre [3], rotation [3, 3] world_from_box, size [3]: lengths of the edges, all in the world."""

    centre: Tensor
    rotation: Tensor
    size: Tensor

    def inside(self, x_world: Tensor) -> Tensor:
        """Points [n, 3] -> [n] bool."""
        local = (x_world.double() - self.centre) @ self.rotation
        return (local.abs() <= self.size / 2).all(-1)

    def gaussians(self, whole: Gaussians) -> Gaussians:
        return whole.select(self.inside(whole.means))

    def edit(self, field: Any) -> Frozen:
        """For ``Look.edit``."""
        return Frozen(self.gaussians(field.gaussians()))


@dataclass(frozen=True)
class Frozen:
    """A field that is only looked at."""

    fixed: Gaussians

    def gaussians(self, t: float = 0.0) -> Gaussians:
        return self.fixed


def level(up: Tensor) -> Tensor:
    """[3, 3] rotation whose z axis is up."""
    z = up / up.norm()
    helper = torch.eye(3, dtype=torch.float64)[int(z.abs().argmin())]
    x = torch.linalg.cross(helper, z)
    x = x / x.norm()
    return torch.stack([x, torch.linalg.cross(z, x), z], dim=1)
