"""Mean squared error of colours, the loss of ray-marched fields.

Source: Mildenhall et al., "NeRF", ECCV 2020, arXiv 2003.08934, eq. 6.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor

from recon.types import Observation, Render


@dataclass(frozen=True)
class SquaredError:
    """Mean over pixels and channels of the squared difference to the photo."""

    weight: float = 1.0

    @property
    def channels(self) -> Collection[str]:
        return ("rgb",)

    def value(self, render: Render, seen: Observation) -> Tensor:
        target = seen.target.float() / 255.0 if seen.target.dtype == torch.uint8 else seen.target
        error = (render.rgb - target.permute(1, 2, 0)).square()
        if seen.mask is None:
            return error.mean()
        counted = (seen.mask != 0).float()[..., None]
        return (error * counted).sum() / (3 * counted.sum()).clamp_min(1)
