"""Weights along a ray should be compact.

Source: Barron et al., "Mip-NeRF 360", CVPR 2022, arXiv 2111.12077, eq. 15.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor

from recon.types import Observation, Render


@dataclass(frozen=True)
class Distortion:
    """Mean over rays, eq. 15; nothing for renderers that do not march rays."""

    weight: float = 1e-2

    @property
    def channels(self) -> Collection[str]:
        return ("rgb",)

    def value(self, render: Render, seen: Observation) -> Tensor:
        found = getattr(render.trace, "distortion", None)
        return torch.zeros(()) if found is None else found.mean()
