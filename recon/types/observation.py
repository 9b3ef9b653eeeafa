"""Observation: what one optimisation step compares with."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from recon.types.camera import Camera
from recon.types.placement import sent
from recon.types.rays import Rays


@dataclass(frozen=True)
class Observation:
    """A camera at the step's resolution, the photo at that size, and what is behind it.

    target      [3, height, width] uint8 or float32 in 0..1, alpha already composited over ``background``
    mask        [height, width] uint8, 0 = ignore, or None
    background  [3] float32
    index       position of the view in its split
    depth       [height, width] float32 z-depth, 0 = unknown, or None
    rays        where pixels of several views are compared: target and mask are patches of rays, camera is one of them
    alpha       [height, width] uint8, 255 = the object, where a loss reads it and the photo has one, or None
    clipped     [height, width] float32, share of the colours around a pixel that are overexposed, where pixels are
                drawn for a loss that reads it, or None
    """

    camera: Camera
    target: Tensor
    mask: Tensor | None
    background: Tensor
    index: int
    depth: Tensor | None = None
    rays: Rays | None = None
    alpha: Tensor | None = None
    clipped: Tensor | None = None

    def to(self, device: torch.device) -> Observation:
        """The same with its pictures on a device."""
        if self.target.device == device:
            return self
        mask, depth, alpha, clipped = (None if plane is None else sent(plane, device)
                                       for plane in (self.mask, self.depth, self.alpha, self.clipped))
        return replace(self, target=sent(self.target, device), mask=mask, background=sent(self.background, device),
                       depth=depth, rays=None if self.rays is None else self.rays.to(device), alpha=alpha,
                       clipped=clipped)
