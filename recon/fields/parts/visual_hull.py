"""Points inside every alpha mask: a start where photos are cut out and no points are known.

Laurentini, "The visual hull concept for silhouette-based image understanding", PAMI 1994.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from recon.types import Photo, View

_GRID = 48  # cells along each side of the box in the coarse pass


def visual_hull(views: Sequence[View], centre: Tensor, half: float, count: int,
                generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Up to ``count`` random points [n, 3] of the box centre +- half that are opaque in every view that sees them, and
    their mean colours [n, 3] (occlusion is ignored: it is only a start). Empty when nothing is left."""
    photos = [(v, v.photo()) for v in views]
    photos = [(v, p) for v, p in photos if p.alpha is not None]
    if not photos:
        return torch.empty(0, 3), torch.empty(0, 3)
    steps = (torch.arange(_GRID, dtype=torch.float64) + 0.5) / _GRID * 2 - 1
    grid = torch.stack(torch.meshgrid(steps, steps, steps, indexing="ij"), dim=-1).reshape(-1, 3)
    margin = 0.87 * 2 * half / _GRID  # half a cell's diagonal: a cell that touches the hull is kept
    cells, _ = carve(centre + grid * half, photos, margin)
    if len(cells) == 0:
        return torch.empty(0, 3), torch.empty(0, 3)
    kept, shades, found = [], [], 0
    for _ in range(6):
        pick = torch.randint(len(cells), (2 * count,), generator=generator)
        jitter = torch.rand(2 * count, 3, generator=generator, dtype=torch.float64) * 2 - 1
        points, colours = carve(cells[pick] + jitter * (half / _GRID), photos, 0.0)
        kept.append(points.float())
        shades.append(colours)
        found += len(points)
        if found >= count:
            break
    return torch.cat(kept)[:count], torch.cat(shades)[:count].clamp(0, 1)


def carve(points: Tensor, photos: Sequence[tuple[View, Photo]], margin: float) -> tuple[Tensor, Tensor]:
    """The points that are opaque (within ``margin`` scene units) wherever they are seen, seen by half of the views, and
    their mean colours."""
    colour_sum, seen = torch.zeros(len(points), 3), torch.zeros(len(points))
    for view, photo in photos:
        camera, alpha = view.camera, photo.alpha
        assert alpha is not None
        pixel, depth = camera.project(points)
        opaque_map = alpha > 127
        if margin > 0:
            reach = int(margin * float(camera.intrinsics[0]) / max(float(depth.median()), 1e-6)) + 1
            window = 2 * reach + 1
            grown = torch.nn.functional.max_pool2d(opaque_map[None].float(), (1, window), 1, (0, reach))
            opaque_map = torch.nn.functional.max_pool2d(grown, (window, 1), 1, (reach, 0))[0] > 0
        x, y = pixel[:, 0].floor().long(), pixel[:, 1].floor().long()
        inside = (depth > 1e-6) & (x >= 0) & (y >= 0) & (x < camera.width) & (y < camera.height)
        x, y = x.clamp(0, camera.width - 1), y.clamp(0, camera.height - 1)
        opaque = opaque_map[y, x]
        if margin == 0:
            colour_sum += torch.where((inside & opaque)[:, None], photo.rgb[:, y, x].T.float() / 255.0, 0.0)
        seen += inside.float()
        keep = ~inside | opaque
        points, colour_sum, seen = points[keep], colour_sum[keep], seen[keep]
    enough = seen >= 0.5 * len(photos)
    return points[enough], colour_sum[enough] / seen[enough, None].clamp_min(1)
