"""Points that captures get from their own photos: a start where there is none, and many of them for surfaces."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from recon.fields.parts.initial_points import focus_of
from recon.fields.parts.plane_sweep import Progress, swept
from recon.types import Camera, Capture, PointCloud

_ENOUGH = 100  # points that a capture can start from
_FEWEST_VIEWS = 3
_MOST_VIEWS = 24
_RANGE = 4.0  # nearest and farthest depth, as a factor of the middle one
_ROOM = 1.05  # beyond the depths of points that are known
_MOST_POINTS = 20_000
_MOST_ON_SURFACES = 200_000


def with_swept_points(capture: Capture, masks: str | None = None, *, surface: bool = False,
                      progress: Progress | None = None) -> Capture:
    """The capture with points found by plane sweeps, if it has none and nothing better to start from.

    For captures of ``prepare``; held-out views take no part. ``masks``: how they are used, "ignore", "object" or None.
    ``surface``: a fine sweep, whose points are added to those there are. Returned as it is where it has points, opacity
    or object masks (their hull is a better start) and no surface is wanted, with too few views, or where hardly
    anything was found.
    """
    own = capture.points
    has_start = (own is not None and len(own) >= _ENOUGH) or capture.has_alpha or masks == "object"
    views = capture.train[:: max(-(-len(capture.train) // _MOST_VIEWS), 1)]
    if (has_start and not surface) or len(views) < _FEWEST_VIEWS:
        return capture
    near, far = _depths(capture)
    positions, colours = swept(views, near, far, fine=surface, masked=masks is not None, progress=progress)
    if len(positions) < _ENOUGH:
        return capture
    most = _MOST_ON_SURFACES if surface else _MOST_POINTS
    order = torch.randperm(len(positions), generator=torch.Generator().manual_seed(0))[:most].sort().values
    positions, colours = positions[order], colours[order]
    if own is not None:
        positions, colours = torch.cat([own.positions, positions]), torch.cat([own.colours, colours])
    return replace(capture, points=PointCloud(positions, colours))


def _depths(capture: Capture) -> tuple[float, float]:
    """Between which depths views see something: those of points, or else around the middle of the scene."""
    if capture.points is not None and len(capture.points) >= _ENOUGH:
        seen = torch.cat([_depths_seen(v.camera, capture.points.positions) for v in capture.train])
        if len(seen) >= _ENOUGH:
            seen = seen.sort().values
            return float(seen[len(seen) // 100]) / _ROOM, float(seen[-1 - len(seen) // 100]) * _ROOM
    middle = _middle_depth(capture)
    return middle / _RANGE, middle * _RANGE


def _depths_seen(camera: Camera, points: Tensor) -> Tensor:
    pixel, depth = camera.project(points)
    return depth[(depth > 1e-6) & (pixel >= 0).all(1) & (pixel < torch.tensor(camera.size)).all(1)]


def _middle_depth(capture: Capture) -> float:
    """Of the point closest to all optical axes where most cameras look at it; else ten times what lies between them."""
    focus, distance = focus_of(capture)
    ahead = torch.stack([(focus - v.camera.centre) @ v.camera.forward for v in capture.views]) > 0
    if float(ahead.double().mean()) > 0.5:
        return distance
    between = (capture.centres[:, None] - capture.centres[None]).norm(dim=-1).fill_diagonal_(torch.inf)
    return 10.0 * float(between.amin(1).median().clamp_min(1e-6))
