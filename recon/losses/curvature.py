"""Surfaces should bend little: gradients of the distance should hardly change over a voxel.

Source: the curvature loss of Li et al., "Neuralangelo", CVPR 2023, arXiv 2306.03092, eq. 7, with differences of
gradients in random directions in place of the Laplacian.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor

from recon.ops.chosen import mean_of
from recon.types import Observation, Render


@dataclass(frozen=True)
class Curvature:
    """Mean squared change of the gradient over a voxel, at samples on the surface."""

    weight: float = 0.02

    @property
    def channels(self) -> Collection[str]:
        return ("rgb", "bend")

    def value(self, render: Render, seen: Observation) -> Tensor:
        bends = getattr(render.trace, "bends", None)
        return torch.zeros(()) if bends is None else mean_of(lambda b: b.square().sum(1), bends)
