"""Surfaces should bend little, or else in few places: gradients of the distance should hardly change nearby.

Source: the curvature loss of Li et al., "Neuralangelo", CVPR 2023, arXiv 2306.03092, eq. 7, with differences of
gradients in random directions in place of the Laplacian. Lengths, not their squares: a crease costs no more than the
same turn made in a hundred small ones, so that waves on bare walls go and edges may stay.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor

from recon.ops.chosen import mean_of
from recon.types import Observation, Render

_ROUND = 0.01  # changes of direction well below that, in radians, count by their squares


@dataclass(frozen=True)
class Curvature:
    """Mean length of the change of the gradient over one to four voxels, at samples on the surface."""

    weight: float = 0.01

    @property
    def channels(self) -> Collection[str]:
        return ("rgb", "bend")

    def value(self, render: Render, seen: Observation) -> Tensor:
        bends = getattr(render.trace, "bends", None)
        return torch.zeros(()) if bends is None else mean_of(_length, bends)


def _length(bend: Tensor) -> Tensor:
    return (bend.square().sum(1) + _ROUND * _ROUND).sqrt() - _ROUND
