"""The region of scenes that all cameras see from one side: layers of depth from a near plane to infinity."""

from __future__ import annotations

import torch
from torch import Tensor

from recon.fields.parts.region import Region
from recon.types import Camera, Capture
from recon.types.perspective import Perspective

_SAME_WAY = 0.94  # cosine: no camera looks farther than 20 degrees away from the mean direction
_MOST = 4.0  # tangent of the widest angle that is covered
_FEW_POINTS = 100
_NEARER = 0.9  # the near plane lies in front of the nearest points by this factor


def faces_forward(capture: Capture) -> bool:
    """Whether nothing is cut out and all cameras look the same way, from places that lie beside each other."""
    if capture.has_alpha or len(capture.views) < 2:
        return False
    axes = torch.stack([v.camera.forward.double() for v in capture.views])
    mean = axes.mean(0) / axes.mean(0).norm().clamp_min(1e-9)
    if float((axes @ mean).min()) < _SAME_WAY:
        return False
    away = capture.centres.double() - capture.centres.double().mean(0)
    along, across = (away @ mean).abs().max(), (away - (away @ mean)[:, None] * mean).norm(dim=1).max()
    return bool(along <= across)


def forward_region(capture: Capture, cells: int, layers: int) -> Region:
    """The region in perspective coordinates of the mean camera, wide enough for all that the fitted views see."""
    views = capture.train or capture.views
    cameras = [v.camera for v in views]
    frame = _mean_camera(cameras)
    perspective = Perspective(frame.float(), _near_plane(capture, cameras, frame))
    ends = []
    for camera in cameras:
        w, h = camera.size
        edge = torch.cartesian_prod(torch.tensor([0.0, w / 2, w]), torch.tensor([0.0, h / 2, h])).double()
        origin, direction = camera.rays(edge)
        start, slope = perspective.lines(origin.float(), direction.float(), 0.0)
        ends += [start, start + slope * (1 - start[:, 2:])]
    across = torch.cat(ends)[:, :2]
    across = across[(across.abs() <= _MOST).all(1)]
    low, high = (across.amin(0), across.amax(0)) if len(across) else (-torch.ones(2), torch.ones(2))
    region = Region((*low.tolist(), 0.0), (*high.tolist(), 1.0), 0.0, torch.empty(0), perspective, layers)
    size = region.size(float(cells) ** 3)
    return Region(region.low, region.high, 0.0, torch.ones(size, dtype=torch.bool), perspective, layers)


def _mean_camera(cameras: list[Camera]) -> Tensor:
    """[4, 4] float64 frame_from_world: the mean place, the mean viewing direction, mean down made upright to it."""
    poses = torch.stack([c.camera_from_world.double() for c in cameras])
    z = poses[:, 2, :3].mean(0)
    z = z / z.norm().clamp_min(1e-9)
    y = poses[:, 1, :3].mean(0)
    y = y - (y @ z) * z
    y = y / y.norm().clamp_min(1e-9)
    turn = torch.stack([torch.linalg.cross(y, z), y, z])
    frame = torch.eye(4, dtype=torch.float64)
    frame[:3, :3] = turn
    frame[:3, 3] = -turn @ torch.stack([c.centre.double() for c in cameras]).mean(0)
    return frame


def _near_plane(capture: Capture, cameras: list[Camera], frame: Tensor) -> float:
    """In front of nearly all points; without points, as far as the cameras are apart."""
    spread = 2 * float(torch.stack([(frame[:3, :3] @ c.centre.double() + frame[:3, 3]).norm() for c in cameras]).max())
    points = capture.points
    if points is not None and len(points) >= _FEW_POINTS:
        z = points.positions.double() @ frame[2, :3] + frame[2, 3]
        z = z[z > 0].sort().values
        if len(z) >= _FEW_POINTS:
            return max(_NEARER * float(z[len(z) // 200]), 1e-3 * float(z[len(z) // 2]))
    return max(spread, 1e-3)
