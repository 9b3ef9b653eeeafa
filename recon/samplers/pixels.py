"""Random pixels of random views, the batches of ray-marched fields."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from recon.types import Observation, Rays


@dataclass(frozen=True)
class RandomPixels:
    """Every step looks at some views and at random pixels of each."""

    # rays of a step, fewer where that is more than a sixteenth of all pixels; whole squares (4096 = 64 x 64) suit
    # losses that look at patches
    rays: int = 4096
    # views that they come from
    views: int = 16

    def draw(self, observations: Any, step: int, seed: int, scale: float) -> Observation:
        """See the Sampler protocol. The background is one for all rays."""
        generator = torch.Generator().manual_seed(seed * 104_729 + step)
        count = min(self.views, len(observations))
        chosen = torch.randperm(len(observations), generator=generator)[:count].tolist()
        pixels = sum(v.camera.width * v.camera.height for v in observations.views)
        rays = max(min(self.rays, pixels // 16), min(self.rays, 256))
        height = 1 << (max(rays, 1).bit_length() - 1) // 2
        width = max(rays // height, 1)
        total = width * height
        background = observations.background
        if observations.random_background:
            background = torch.rand(3, generator=generator)
        target, origins, directions = torch.empty(3, total), torch.empty(total, 3), torch.empty(total, 3)
        footprint, mask = torch.empty(total), None
        camera = None
        order = torch.randperm(total, generator=generator)  # neighbours of a patch come from different views
        for i, index in enumerate(chosen):
            rows = order[total * i // count:total * (i + 1) // count]
            seen = observations.over(index, scale, background)
            camera = camera or seen.camera
            w, h = seen.camera.size
            pixel = torch.randint(w * h, (len(rows),), generator=generator)
            colour = seen.target.reshape(3, -1)[:, pixel].float()
            target[:, rows] = colour / 255.0 if seen.target.dtype == torch.uint8 else colour
            at = torch.stack([pixel % w, pixel // w], dim=1).double() + 0.5
            origin, direction = seen.camera.rays(at)
            origins[rows], directions[rows] = origin.float(), direction.float()
            footprint[rows] = float((seen.camera.intrinsics[0] * seen.camera.intrinsics[1]) ** -0.5)
            if seen.mask is not None:
                mask = torch.ones(total, dtype=torch.uint8) if mask is None else mask
                mask[rows] = seen.mask.reshape(-1)[pixel]
        assert camera is not None
        rays = Rays(origins, directions, footprint, (width, height), seed * 15_485_863 + step)
        return Observation(camera, target.view(3, height, width),
                           None if mask is None else mask.view(height, width), background, chosen[0], rays=rays)
