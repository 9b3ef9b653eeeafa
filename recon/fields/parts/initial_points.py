"""Where a fit starts: points with colours, from structure from motion, from alpha masks, or at random."""

from __future__ import annotations

import torch
from torch import Tensor

from recon.types import Capture


def initial_points(capture: Capture, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Positions [n, 3] float32 in the world and colours [n, 3] in 0..1.

    The capture's own points where it has at least a hundred; else points inside every alpha mask (a visual hull);
    else points drawn in front of the cameras.
    """
    if capture.points is not None and len(capture.points) >= 100:
        return capture.points.positions.float(), capture.points.colours.float() / 255.0
    generator = torch.Generator().manual_seed(seed)
    if capture.has_alpha:
        points, colours = _visual_hull(capture, count, generator)
        if len(points) >= 100:
            return points, colours
    points = _in_front_of_cameras(capture, count, generator)
    colours = torch.full((len(points), 3), 0.5)
    if capture.points is not None and len(capture.points):
        points = torch.cat([capture.points.positions.float(), points])
        colours = torch.cat([capture.points.colours.float() / 255.0, colours])
    return points, colours


def _focus(capture: Capture) -> tuple[Tensor, float]:
    """The point closest to all optical axes, and the median distance of the cameras to it."""
    centres = capture.centres
    axes = torch.stack([v.camera.forward for v in capture.views])
    across = torch.eye(3, dtype=torch.float64) - axes[:, :, None] * axes[:, None, :]
    lhs, rhs = across.sum(0), (across @ centres[:, :, None]).sum(0)
    focus = torch.linalg.lstsq(lhs + 1e-6 * torch.eye(3, dtype=torch.float64), rhs).solution[:, 0]
    distance = float((centres - focus).norm(dim=1).median())
    return focus, max(distance, 1e-3)


def _in_front_of_cameras(capture: Capture, count: int, generator: torch.Generator) -> Tensor:
    """Random points along the rays of random pixels, denser near the focus of the cameras than far away."""
    _, distance = _focus(capture)
    views = capture.train or capture.views
    pick = torch.randint(len(views), (count,), generator=generator)
    uv = torch.rand(count, 2, generator=generator, dtype=torch.float64)
    depth = distance * torch.exp(torch.randn(count, generator=generator, dtype=torch.float64) * 0.5)
    out = torch.empty(count, 3)
    for i, view in enumerate(views):
        rows = (pick == i).nonzero().squeeze(1)
        size = torch.tensor(view.camera.size, dtype=torch.float64)
        origin, direction = view.camera.rays(uv[rows] * size)
        out[rows] = (origin + direction * depth[rows, None]).float()
    return out


def _visual_hull(capture: Capture, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Random points of a box around the focus that fall on opaque pixels in all views that see them; colours are means
    over the views (occlusion is ignored: it is only a start)."""
    focus, distance = _focus(capture)
    views = (capture.train or capture.views)[:: max(1, len(capture.train) // 40)]
    cameras = [v.camera for v in views]
    photos = [v.photo() for v in views]
    kept: list[Tensor] = []
    shades: list[Tensor] = []
    half = 0.6 * distance
    for attempt in range(12):  # most of the box is empty; twelve rounds bound the work
        points = focus + (torch.rand(4 * count, 3, generator=generator, dtype=torch.float64) * 2 - 1) * half
        colour_sum = torch.zeros(len(points), 3)
        seen = torch.zeros(len(points))
        for camera, photo in zip(cameras, photos, strict=True):
            if photo.alpha is None:
                continue
            pixel, depth = camera.project(points)
            x, y = pixel[:, 0].floor().long(), pixel[:, 1].floor().long()
            inside = (depth > 1e-6) & (x >= 0) & (y >= 0) & (x < camera.width) & (y < camera.height)
            x, y = x.clamp(0, camera.width - 1), y.clamp(0, camera.height - 1)
            opaque = photo.alpha[y, x] > 127
            keep = ~inside | opaque
            colour_sum += torch.where((inside & opaque)[:, None], photo.rgb[:, y, x].T.float() / 255.0, 0.0)
            seen += inside.float()
            points, colour_sum, seen = points[keep], colour_sum[keep], seen[keep]
        enough = seen >= 0.5 * len(views)
        kept.append(points[enough].float())
        shades.append(colour_sum[enough] / seen[enough, None].clamp_min(1))
        found = sum(len(k) for k in kept)
        if (found == 0 and attempt > 2) or found >= count:
            break
    return torch.cat(kept)[:count], torch.cat(shades)[:count].clamp(0, 1)
