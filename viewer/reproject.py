"""A photo as another camera would see it, by the depth of the render."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from recon.types import Camera, Photo, View


def seen_by(camera: Camera, depth: Tensor, photo: Tensor, photo_camera: Camera) -> tuple[Tensor, Tensor]:
    """The photo's colour for every pixel of ``camera``.

    depth   [height, width] z-depth in ``camera``; where it is 0 something far away is assumed
    photo   [3, h, w] uint8 at the size of ``photo_camera``

    Returns colours [height, width, 3] float32 in 0..1 and valid [height, width] bool, false where the photo shows
    nothing of that place. What something nearer hides from the photo is not found out.
    """
    y, x = torch.meshgrid(torch.arange(camera.height) + 0.5, torch.arange(camera.width) + 0.5, indexing="ij")
    origin, direction = camera.rays(torch.stack([x, y], dim=-1))
    far = float(depth.max()) * 10 + 1.0
    z = torch.where(depth > 0, depth, torch.full_like(depth, far))
    along = (direction @ camera.forward.to(direction.dtype)).clamp_min(1e-6)
    pixels, ahead = photo_camera.project(origin + direction * (z / along)[..., None])
    size = torch.tensor([photo_camera.width, photo_camera.height], dtype=pixels.dtype)
    grid = pixels / size * 2.0 - 1.0
    valid = (ahead > 0) & (grid.abs() <= 1.0).all(-1)
    grid = torch.where(valid[..., None], grid, torch.full_like(grid, 2.0))
    colours = torch.nn.functional.grid_sample(photo[None].float() / 255.0, grid[None].float(), align_corners=False,
                                              padding_mode="border")[0]
    return colours.permute(1, 2, 0), valid


def over(photo: Photo, background: Tensor) -> Tensor:
    """[3, height, width] uint8: the photo as renders show it, before ``background`` [3] where it is see-through."""
    if photo.alpha is None:
        return photo.rgb
    share = photo.alpha.float() / 255.0
    shown = photo.rgb.float() * share + 255.0 * background.float().clamp(0, 1).view(3, 1, 1) * (1.0 - share)
    return shown.round().to(torch.uint8)


def nearest(camera: Camera, views: Sequence[View]) -> int:
    """Index of the view that was taken from the most similar place in the most similar direction."""
    centres = torch.stack([v.camera.centre for v in views])
    forward = torch.stack([v.camera.forward for v in views])
    spread = (centres - centres.mean(0)).norm(dim=1).max().clamp_min(1e-9)
    score = (centres - camera.centre).norm(dim=1) / spread + (1.0 - forward @ camera.forward)
    return int(score.argmin())
