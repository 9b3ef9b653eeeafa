"""Random pixels of random views, the batches of ray-marched fields."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from recon.ops.rows import gathered
from recon.types import Camera, Observation, Rays

_NEAR = 2  # pixels to each side that are looked at for overexposure
_TOP = 253.5 / 255  # colours from there on are at the end of their range


@dataclass(frozen=True)
class RandomPixels:
    """Every step looks at some views and at random pixels of each."""

    # rays of a step, fewer where that is more than a sixteenth of all pixels; whole squares (4096 = 64 x 64) suit
    # losses that look at patches
    rays: int = 4096
    # views that they come from
    views: int = 16

    def draw(self, observations: Any, step: int, seed: int, scale: float, most: int = 0) -> Observation:
        """See the Sampler protocol. The background is one for all rays."""
        generator = torch.Generator().manual_seed(seed * 104_729 + step)
        count = min(self.views, len(observations))
        chosen = torch.randperm(len(observations), generator=generator)[:count].tolist()
        pixels = sum(v.camera.width * v.camera.height for v in observations.views)
        rays = max(min(self.rays, pixels // 16), min(self.rays, 256))
        rays = min(rays, most) if most else rays
        height = 1 << (max(rays, 1).bit_length() - 1) // 2
        width = max(rays // height, 1)
        total = width * height
        background = observations.background
        if observations.random_background:
            background = torch.rand(3, generator=generator)
        order = torch.randperm(total, generator=generator)  # neighbours of a patch come from different views
        cameras, places, colours, widths, masks, alphas, clips = [], [], [], [], [], [], []
        for i, index in enumerate(chosen):
            taken = total * (i + 1) // count - total * i // count
            seen = observations.over(index, scale, background)
            w, h = seen.camera.size
            pixel = torch.randint(w * h, (taken,), generator=generator)
            colour = seen.target.reshape(3, -1).index_select(1, pixel).float()
            colours.append(colour / 255.0 if seen.target.dtype == torch.uint8 else colour)
            cameras.append(seen.camera)
            places.append(torch.stack([pixel % w, pixel // w], dim=1).double() + 0.5)
            widths.append(torch.full((taken,), float((seen.camera.intrinsics[0] * seen.camera.intrinsics[1]) ** -0.5)))
            masks.append(None if seen.mask is None else seen.mask.reshape(-1).index_select(0, pixel))
            alphas.append(None if seen.alpha is None else seen.alpha.reshape(-1).index_select(0, pixel))
            if "clipped" in observations.reads:
                clips.append(clipped(seen.target, pixel))
        place = torch.empty_like(order)  # of every pixel of the patch among those drawn, view after view
        place[order] = torch.arange(total)

        def spread(parts: list[Tensor], dim: int = 0) -> Tensor:
            return torch.cat(parts, dim).index_select(dim, place)

        def planes(parts: list[Tensor | None]) -> Tensor | None:
            if all(p is None for p in parts):
                return None
            whole = [torch.full((len(o),), 255, dtype=torch.uint8) if p is None else p for p, o in zip(parts, places)]
            return spread(whole).view(height, width)

        origins, directions = rays_of_cameras(cameras, places)
        rays = Rays(spread([origins]), spread([directions]), spread(widths), (width, height), seed * 15_485_863 + step)
        return Observation(cameras[0], spread(colours, 1).view(3, height, width), planes(masks), background, chosen[0],
                           rays=rays, alpha=planes(alphas),
                           clipped=spread(clips).view(height, width) if clips else None)


def rays_of_cameras(cameras: Sequence[Camera], pixels: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """``Camera.rays`` of every camera's pixels [n_i, 2], one after another: origins and directions [n, 3] float32.

    Pinhole cameras are computed together: with few pixels of each, calls cost more than numbers.
    """
    if not all(c.lens.is_pinhole for c in cameras):
        each = [camera.rays(at) for camera, at in zip(cameras, pixels, strict=True)]
        return torch.cat([o.float() for o, _ in each]), torch.cat([d.float() for _, d in each])
    owner = torch.repeat_interleave(torch.tensor([len(at) for at in pixels]))
    fx, fy, cx, cy = torch.stack([c.intrinsics for c in cameras]).index_select(0, owner).unbind(1)
    x, y = torch.cat(list(pixels)).unbind(1)
    poses = torch.stack([c.world_from_camera[:3] for c in cameras])
    right, down, forward, origin = (gathered(column.contiguous(), owner) for column in poses.unbind(2))
    direction = right * ((x - cx) / fx)[:, None] + down * ((y - cy) / fy)[:, None] + forward
    return origin.float(), (direction / direction.norm(dim=1, keepdim=True)).float()


def clipped(picture: Tensor, pixel: Tensor) -> Tensor:
    """[n] share of the colours around pixels [n] (flat) of a picture [3, h, w], uint8 or 0..1, that are overexposed."""
    h, w = picture.shape[1:]
    near = torch.arange(-_NEAR, _NEAR + 1)
    y = (pixel[:, None] // w + near).clamp(0, h - 1)
    x = (pixel[:, None] % w + near).clamp(0, w - 1)
    around = picture.reshape(3, -1)[:, (y[:, :, None] * w + x[:, None, :]).reshape(len(pixel), -1).to(picture.device)]
    return (around >= _TOP * (255 if picture.dtype == torch.uint8 else 1)).float().mean((0, 2))
