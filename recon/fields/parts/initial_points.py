"""Where a fit starts: points with colours, from structure from motion, from alpha masks, or at random."""

from __future__ import annotations

import torch
from torch import Tensor

from recon.fields.parts.visual_hull import visual_hull
from recon.types import Capture, View

_ENOUGH = 100  # points that make a start
_CELLS = 14  # cells of the grid, along the longer side of a picture, that should all hold a point
_VIEWS = 40  # views looked at
_ROOM = 1.2  # the sphere that holds all cameras, by how much it is larger


def initial_points(capture: Capture, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Positions [n, 3] float32 in the world and colours [n, 3] in 0..1.

    The capture's own points where it has at least a hundred, with far points added where pictures show something but
    no point lies (walls, backdrops, sky); else points inside every alpha mask (a visual hull); else points drawn in
    front of the cameras.
    """
    generator = torch.Generator().manual_seed(seed)
    points = capture.points
    if points is not None and len(points) >= _ENOUGH:
        found = points.positions.float(), points.colours.float() / 255.0
        if capture.has_alpha:
            return found
        return _joined(found, _behind(capture, points.positions, generator))
    focus, distance = focus_of(capture)
    if capture.has_alpha:
        hull = visual_hull(_some_views(capture), focus, 0.6 * distance, count, generator)
        if len(hull[0]) >= _ENOUGH:
            return hull
    drawn = _in_front_of_cameras(capture, distance, count, generator)
    if points is not None and len(points):
        return _joined((points.positions.float(), points.colours.float() / 255.0), drawn)
    return drawn


def focus_of(capture: Capture) -> tuple[Tensor, float]:
    """The point closest to all optical axes, and the median distance of the cameras to it."""
    centres = capture.centres
    axes = torch.stack([v.camera.forward for v in capture.views])
    eye = torch.eye(3, dtype=torch.float64)
    across = eye - axes[:, :, None] * axes[:, None, :]
    lhs, rhs = across.sum(0), (across @ centres[:, :, None]).sum(0)
    focus = torch.linalg.lstsq(lhs + 1e-6 * eye, rhs).solution[:, 0]
    distance = float((centres - focus).norm(dim=1).median())
    return focus, max(distance, 1e-3)


def _joined(a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return torch.cat([a[0], b[0]]), torch.cat([a[1], b[1]])


def _some_views(capture: Capture) -> tuple[View, ...]:
    views = capture.train or capture.views
    return views[:: max(1, len(views) // _VIEWS)]


def _behind(capture: Capture, points: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Points for the cells of pictures in which no point falls: on a ray through the cell, beyond the farthest points
    of that view, coloured by the photo."""
    positions, colours = [torch.empty(0, 3)], [torch.empty(0, 3)]
    for view in _some_views(capture):
        camera = view.camera
        cell = max(camera.size) / _CELLS
        across, down = max(round(camera.width / cell), 1), max(round(camera.height / cell), 1)
        pixel, depth = camera.project(points)
        size = torch.tensor(camera.size, dtype=torch.float64)
        seen = (depth > 1e-6) & (pixel >= 0).all(1) & (pixel < size).all(1)
        filled = torch.zeros(down, across, dtype=torch.bool)
        if bool(seen.any()):
            column = (pixel[seen, 0] / size[0] * across).long().clamp(0, across - 1)
            row = (pixel[seen, 1] / size[1] * down).long().clamp(0, down - 1)
            filled[row, column] = True
            far = float(torch.quantile(depth[seen][:: max(1, int(seen.sum()) // 20_000)], 0.98))
        else:
            far = 2.0 * focus_of(capture)[1]
        empty = (~filled).nonzero().double()
        if len(empty) == 0:
            continue
        jitter = torch.rand(len(empty), 2, generator=generator, dtype=torch.float64)
        cells = torch.tensor([across, down], dtype=torch.float64)
        at = (empty.flip(1) + jitter) / cells * size
        origin, direction = camera.rays(at)
        z = direction @ camera.forward
        start = torch.maximum(far / z.clamp_min(1e-3), _leaves(origin, direction, capture))
        beyond = start * torch.exp(torch.rand(len(empty), generator=generator, dtype=torch.float64) * 1.5)
        positions.append((origin + direction * beyond[:, None]).float())
        photo = view.photo().rgb
        colours.append(photo[:, at[:, 1].long(), at[:, 0].long()].T.float() / 255.0)
    return torch.cat(positions), torch.cat(colours)


def _leaves(origin: Tensor, direction: Tensor, capture: Capture) -> Tensor:
    """[n] distance along rays from a camera at which they leave the sphere that holds all cameras.

    Where cameras go round an object, what one sees behind it lies behind the cameras on the other side: they would look
    through anything nearer.
    """
    centres = capture.centres
    middle = centres.mean(0)
    radius = float((centres - middle).norm(dim=1).max()) * _ROOM
    offset = origin - middle
    along = (offset * direction).sum(-1)
    return -along + (along * along + (radius * radius - (offset * offset).sum(-1))).clamp_min(0).sqrt()


def _in_front_of_cameras(capture: Capture, distance: float, count: int,
                         generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Random points along the rays of random pixels, most of them near the focus of the cameras.

    Grey: in the colours of those pixels they explain a photo at any depth, and haze stays before its camera.
    """
    views = _some_views(capture)
    pick = torch.randint(len(views), (count,), generator=generator)
    uv = torch.rand(count, 2, generator=generator, dtype=torch.float64)
    depth = distance * torch.exp(torch.randn(count, generator=generator, dtype=torch.float64) * 0.5)
    positions = torch.empty(count, 3)
    for i, view in enumerate(views):
        rows = (pick == i).nonzero().squeeze(1)
        at = uv[rows] * torch.tensor(view.camera.size, dtype=torch.float64)
        origin, direction = view.camera.rays(at)
        positions[rows] = (origin + direction * depth[rows, None]).float()
    return positions, torch.full((count, 3), 0.5)
