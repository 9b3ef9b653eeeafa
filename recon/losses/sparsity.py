"""Regularizers that free what the picture does not need: opacity of anything, size of Gaussians.

Source: Kheradmand et al., "3D Gaussian Splatting as Markov Chain Monte Carlo", NeurIPS 2024, arXiv 2404.09591, eq. 11.
For volumes the same mean is taken at random points: Yu et al., "PlenOctrees", ICCV 2021, arXiv 2103.14024, eq. 7.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from recon.errors import InputError
from recon.ops.elementwise import sigmoid
from recon.protocols import Volumetric
from recon.types.volume import random_points


@dataclass(frozen=True)
class OpacitySparsity:
    """Mean opacity of the Gaussians; of volumes, mean opacity of a voxel at random points of occupied cells."""

    weight: float = 0.01
    # points of a volume that are looked at in a step
    points: int = 4096

    def of_points(self, field: Any, generator: torch.Generator) -> Tensor:
        """See ``recon.protocols.PointRegularizer``."""
        if not isinstance(field, Volumetric):
            return sigmoid(_rows(field, "logits")).mean()
        at = random_points(field.volume(), self.points, generator)
        if not len(at):
            return torch.zeros(())
        raw = field.density(at, at.new_zeros(len(at))) + field.volume().shift
        return sigmoid(raw).mean()  # 1 - exp(-softplus(raw)) over a step of optical length 1


@dataclass(frozen=True)
class ScaleSparsity:
    """Mean standard deviation of the Gaussians, in units of the normalised scene."""

    weight: float = 0.01

    def of_field(self, field: Any) -> Tensor:
        return _rows(field, "log_scales").exp().mean()


def _rows(field: Any, name: str) -> Tensor:
    if name not in field.params:
        raise InputError(f"this regularizer needs {name}, which this method does not have", fix="Leave it out.")
    return field.params[name]
