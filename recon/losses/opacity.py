"""Pixels should be either opaque or empty: entropy of the opacity.

Source: Sun et al., "Direct voxel grid optimization", CVPR 2022, arXiv 2111.11215, eq. 12 (background entropy).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor

from recon.types import Observation, Render


@dataclass(frozen=True)
class OpacityEntropy:
    """Mean of -T log T - (1 - T) log(1 - T) over pixels, T what a ray lets through."""

    weight: float = 1e-3

    @property
    def channels(self) -> Collection[str]:
        return ("opacity",)

    def value(self, render: Render, seen: Observation) -> Tensor:
        through = 1.0 - render.channel("opacity").clamp(1e-6, 1 - 1e-6)
        return -(through * torch.log(through) + (1 - through) * torch.log(1 - through)).mean()
