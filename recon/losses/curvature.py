"""Surfaces should bend little, or else in few places: gradients of the distance should hardly change nearby.

Source: the curvature loss of Li et al., "Neuralangelo", CVPR 2023, arXiv 2306.03092, eq. 7, with differences of
gradients in random directions in place of the Laplacian. Lengths, not their squares: a crease costs no more than the
same turn made in a hundred small ones, so that waves on bare walls go and edges may stay. Where photos of a
masked object are overexposed, colours say nothing of the shape: there it counts more. Without a mask such a place may
be the sky, and no surface at all.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from recon.ops.chosen import Counted, mean_of
from recon.types import Observation, Render

_ROUND = 0.01  # changes of direction well below that, in radians, count by their squares


@dataclass(frozen=True)
class Curvature:
    """Mean length of the change of the gradient over one to four voxels, at samples on the surface."""

    weight: float = 0.01
    # how many times as much it counts where a masked object is overexposed
    clipped: float = 4.0
    reads: ClassVar[Collection[str]] = ("alpha", "clipped")

    @property
    def channels(self) -> Collection[str]:
        return ("rgb", "bend")

    def value(self, render: Render, seen: Observation) -> Tensor:
        bends = getattr(render.trace, "bends", None)
        if bends is None:
            return torch.zeros(())
        if seen.clipped is None or seen.alpha is None:
            return mean_of(_length, bends)
        factor = 1 + (self.clipped - 1) * seen.clipped * seen.alpha / 255
        factor = factor.reshape(-1).index_select(0, render.trace.bend_rays.long())
        rows = torch.cat([bends.rows, factor[:, None]], dim=1)
        return mean_of(lambda row: _length(row[:, :3]) * row[:, 3], Counted(rows, bends.counted))


def _length(bend: Tensor) -> Tensor:
    return (bend.square().sum(1) + _ROUND * _ROUND).sqrt() - _ROUND
