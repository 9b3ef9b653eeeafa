"""Mean squared error against the photo: what PSNR measures, and a true sum of squares for second-order optimizers.

The loss of ray-marched fields: Mildenhall et al., "NeRF", ECCV 2020, arXiv 2003.08934, eq. 6.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor

from recon.ops.cuda import number
from recon.types import Observation, Render


@dataclass(frozen=True)
class SquaredError:
    # weight of this term in the objective
    weight: float = 1.0

    @property
    def channels(self) -> Collection[str]:
        return ("rgb",)

    def value(self, render: Render, seen: Observation) -> Tensor:
        error, count = _error(render.rgb.permute(2, 0, 1), seen)
        return error.square().sum() / (count.clamp_min(1) if isinstance(count, Tensor) else max(count, 1))

    def curvature(self, rgb: Tensor, seen: Observation) -> tuple[float | Tensor, Tensor, Tensor]:
        """Loss, gradient and weights of squares, exact; see ``recon.protocols.Curved``."""
        error, counted = _error(rgb, seen)
        count = counted.clamp_min(1) if isinstance(counted, Tensor) else max(counted, 1)
        weights = torch.ones_like(rgb) * (2 / count)
        if seen.mask is not None:
            weights *= seen.mask != 0
        return number(error.square().sum()) / count, error * (2 / count), weights


def _error(rgb: Tensor, seen: Observation) -> tuple[Tensor, int | Tensor]:
    """rgb - photo [3, height, width], 0 where ignored, and the number of counted values (on a GPU where it is)."""
    target = seen.target.float() / 255.0 if seen.target.dtype == torch.uint8 else seen.target
    error = rgb - target
    if seen.mask is None:
        return error, error.numel()
    counted = seen.mask != 0
    count = 3 * counted.sum()
    return torch.where(counted, error, torch.zeros_like(error)), count if counted.is_cuda else int(count)
