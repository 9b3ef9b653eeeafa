"""Rays: pixels of any views, as a step that does not look at whole pictures compares them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from recon.types.placement import sent


@dataclass(frozen=True)
class Rays:
    """A batch of rays, in a patch of height x width where neighbours matter to a loss (else 1 x n).

    origin, direction   [n, 3] float32 in the world, unit directions
    footprint           [n] float32 width of the pixel at distance 1 (square root of its area)
    size                (width, height) of the patch; n = width * height
    seed                of what is drawn at random along them
    """

    origin: Tensor
    direction: Tensor
    footprint: Tensor
    size: tuple[int, int]
    seed: int = 0

    def __len__(self) -> int:
        return len(self.origin)

    def to(self, device: torch.device) -> Rays:
        """The same on a device."""
        if self.origin.device == device:
            return self
        return replace(self, origin=sent(self.origin, device), direction=sent(self.direction, device),
                       footprint=sent(self.footprint, device))
