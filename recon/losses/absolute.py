"""Mean absolute error against the photo: the colour loss of NeuS and VolSDF, less drawn to highlights than squares."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor

from recon.types import Observation, Render


@dataclass(frozen=True)
class AbsoluteError:
    weight: float = 1.0

    @property
    def channels(self) -> Collection[str]:
        return ("rgb",)

    def value(self, render: Render, seen: Observation) -> Tensor:
        target = seen.target.float() / 255.0 if seen.target.dtype == torch.uint8 else seen.target
        error = (render.rgb.permute(2, 0, 1) - target).abs()
        if seen.mask is None:
            return error.mean()
        counted = (seen.mask != 0).to(error.dtype)
        return (error * counted).sum() / (3 * counted.sum()).clamp_min(1)
