"""What renderers that march along rays share: pictures in bands, and the channels that follow from blended rays."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import torch
from torch import Tensor

from recon.ops import room
from recon.ops.gather import rows_added
from recon.ops.march import Blended
from recon.types import Camera, Rays, Render
from recon.types.placement import sent

# (field, rays, background, want, z-depth per distance along each ray, offsets of the first samples or None) -> picture
March = Callable[[Any, Rays, Tensor | None, Collection[str], Tensor, Tensor | None], Render]


def whole_picture(march: March, field: Any, camera: Camera, chunk: int, background: Tensor | None,
                  want: Collection[str]) -> Render:
    """The picture of a camera, marched in bands of about ``chunk`` rays."""
    width, height = camera.size
    on = field.volume().cells.device
    background = None if background is None else sent(background, on)
    rows = max(chunk // width, 1)
    pixel = float((camera.intrinsics[0] * camera.intrinsics[1]) ** -0.5)
    parts = []
    for top in range(0, height, rows):
        count = min(rows, height - top)
        y, x = torch.meshgrid(torch.arange(top, top + count), torch.arange(width), indexing="ij")
        origin, direction = camera.rays(torch.stack([x, y], dim=-1).reshape(-1, 2).double() + 0.5)
        rays = Rays(origin.float().contiguous(), direction.float().contiguous(), torch.full((len(origin),), pixel),
                    (width, count))
        z_of_t = (rays.direction * camera.forward.float()).sum(1)
        with room.lists_of("band of a picture"):
            parts.append(march(field, rays.to(on), background, want, sent(z_of_t, on), None))
    return parts[0] if len(parts) == 1 else _joined(parts)


def ray_batch(march: March, field: Any, rays: Rays, background: Tensor | None, want: Collection[str]) -> Render:
    """A batch of rays as a patch [height, width]; depth is along the rays, which begin within a step."""
    offset = torch.rand(len(rays), generator=torch.Generator().manual_seed(rays.seed))
    z_of_t = torch.ones(len(rays), device=rays.origin.device)
    return march(field, rays, background, want, z_of_t, sent(offset, rays.origin.device))


def framed(out: Blended, rays: Rays, z_of_t: Tensor, want: Collection[str], normal: Tensor | None, trace: Any
           ) -> Render:
    """Blended rays as a picture. ``normal`` [rays, 3]; the depth of an opaque ray is the mean of its samples."""
    width, height = rays.size
    opacity = 1.0 - out.transmittance
    depth = None
    if {"depth", "surface"} & set(want):
        z = out.depth.detach() / opacity.detach().clamp_min(1e-6) * z_of_t
        depth = torch.where(opacity.detach() > 1e-3, z, torch.zeros_like(z)).view(height, width)
    return Render(
        rgb=out.rgb.view(height, width, 3), depth=depth,
        normal=None if normal is None else normal.view(height, width, 3),
        opacity=opacity.view(height, width) if "opacity" in want else None, trace=trace,
    )


def mean_normals(normals: Tensor, w: Tensor, ray: Tensor, rays: Rays) -> Tensor:
    """[rays, 3] unit: weighted means of the normals [m, 3] of samples, turned towards the camera; 0 where there are
    none."""
    total = rows_added(normals.new_zeros(len(rays), 3), ray.long(), normals * w[:, None])
    total = torch.where((total * rays.direction).sum(1, keepdim=True) > 0, -total, total)
    length = total.norm(dim=1, keepdim=True)
    return torch.where(length > 1e-3, total / length.clamp_min(1e-6), torch.zeros_like(total))


def _joined(parts: list[Render]) -> Render:
    """Bands one below the other, without their traces."""

    def channel(name: str) -> Tensor | None:
        pieces = [getattr(p, name) for p in parts]
        return None if pieces[0] is None else torch.cat(pieces)

    rgb = channel("rgb")
    assert rgb is not None
    return Render(rgb, channel("depth"), channel("normal"), channel("opacity"))
