"""Rays are opaque where the photo's mask has the object, and empty elsewhere: binary cross entropy of the opacity.

Source: Wang et al., "NeuS", NeurIPS 2021, arXiv 2106.10689, eq. 8 and section 3.3 (L_mask, weight 0.1). The colours
alone push what is opaque through and through hardly out of the way, for behind its front there is more of the same
colour; minus the logarithm of what comes through pushes on every front alike.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from recon.types import Observation, Render

# Added to what passes and to what stays. Not a lower bound as in their code: below that nothing would push, and what a
# march leaves of a ray that it ends early is below theirs.
_LEAST = 1e-5


@dataclass(frozen=True)
class Silhouette:
    """Mean over pixels; zero where photos have no mask."""

    weight: float = 0.1
    reads: ClassVar[Collection[str]] = ("alpha",)

    @property
    def channels(self) -> Collection[str]:
        return ("opacity",)

    def value(self, render: Render, seen: Observation) -> Tensor:
        if seen.alpha is None:
            return torch.zeros(())
        opacity, inside = render.channel("opacity"), seen.alpha.float() / 255.0
        cost = -(inside * torch.log(opacity + _LEAST) + (1 - inside) * torch.log(1 - opacity + _LEAST))
        if seen.mask is None:
            return cost.mean()
        counted = (seen.mask != 0).to(cost.dtype)
        return (cost * counted).sum() / counted.sum().clamp_min(1)
