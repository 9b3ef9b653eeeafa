"""Camera paths that look good without flags: an orbit or a spiral, found from where the photos were taken.

The orbit goes around the point closest to the optical axes, about the photos' own "up", at the distance and height
the photos have there. Where the photos cover only a part of the circle the path swings to and fro inside it, because
nothing was seen from behind.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from recon.errors import InputError
from recon.types import Camera

FULL_CIRCLE_GAP = math.radians(100)  # photos with no larger gap in azimuth count as all around


@dataclass(frozen=True)
class Stage:
    """What the photos look at: [3] centre, [3] unit up, and one direction that is level (azimuth 0)."""

    centre: Tensor
    up: Tensor
    front: Tensor


def up_direction(cameras: Sequence[Camera]) -> Tensor:
    """[3] unit vector: the photos' mean up, made level by the cameras' horizontal axes where these say enough.

    Photos taken looking down share a mean up that leans; their right-hand axes are still level, so the direction
    that is perpendicular to all of them is the better one. Mean up decides its sign, and everything when in doubt.
    """
    ups = torch.stack([-c.world_from_camera[:3, 1] for c in cameras])
    rights = torch.stack([c.world_from_camera[:3, 0] for c in cameras])
    mean = ups.mean(0)
    if mean.norm() < 1e-6:
        mean = ups[0]
    mean = mean / mean.norm()
    values, vectors = torch.linalg.eigh(rights.T @ rights / len(rights))  # ascending
    level = vectors[:, 0] * torch.sign(vectors[:, 0] @ mean)
    clear = values[1] > 0.02 and values[0] < 0.25 * values[1]
    return level if clear and float(level @ mean) > 0.5 else mean


def point_of_interest(cameras: Sequence[Camera]) -> Tensor:
    """[3] the point closest to all optical axes; for (almost) parallel axes a point in front of the mean camera."""
    centres = torch.stack([c.centre for c in cameras])
    forward = torch.stack([c.forward for c in cameras])
    across = torch.eye(3, dtype=torch.float64) - forward[:, :, None] * forward[:, None, :]
    spread = float((centres - centres.mean(0)).norm(dim=1).max().clamp_min(1e-6))
    values = torch.linalg.eigvalsh(across.mean(0))
    if float(values[0]) > 2e-3:
        weight = torch.ones(len(cameras), dtype=torch.float64)
        for _ in range(20):  # towards the least sum of distances: close-ups of something else then hardly count
            sums = weight[:, None, None] * across
            point = torch.linalg.solve(sums.sum(0), (sums @ centres[:, :, None]).sum(0).squeeze(1))
            aside = (across @ (point - centres)[:, :, None]).norm(dim=(1, 2))
            weight = 1.0 / aside.clamp_min(0.01 * spread)
        depth = ((point - centres) * forward).sum(1)
        if float((depth > 0).double().mean()) > 0.8:
            return point
    ahead = forward.mean(0)
    ahead = ahead / ahead.norm() if float(ahead.norm()) > 1e-6 else forward[0]
    return centres.mean(0) + 3.0 * spread * ahead


def stage(cameras: Sequence[Camera]) -> Stage:
    """The common frame of orbit and spiral. Raises InputError without cameras."""
    if not cameras:
        raise InputError("no cameras to lay a path around")
    up, centre = up_direction(cameras), point_of_interest(cameras)
    offset = torch.stack([c.centre for c in cameras]).mean(0) - centre
    front = offset - (offset @ up) * up
    if float(front.norm()) < 1e-9:
        axis = torch.eye(3, dtype=torch.float64)[int(up.abs().argmin())]
        front = axis - (axis @ up) * up
    return Stage(centre, up, front / front.norm())


def look_at(eye: Tensor, target: Tensor, up: Tensor) -> Tensor:
    """[4, 4] world_from_camera of an OpenCV camera (x right, y down, z forward) at ``eye`` that looks at ``target``."""
    forward = target - eye
    forward = forward / forward.norm().clamp_min(1e-12)
    right = torch.linalg.cross(forward, up)
    if float(right.norm()) < 1e-9:  # looking straight along up
        right = torch.linalg.cross(forward, torch.roll(up, 1) + 0.1)
    right = right / right.norm()
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, 0], pose[:3, 1], pose[:3, 2], pose[:3, 3] = right, torch.linalg.cross(forward, right), forward, eye
    return pose


def usual_camera(cameras: Sequence[Camera], size: tuple[int, int] | None) -> Camera:
    """A pinhole camera with the photos' usual size (or ``size``) and field of view, principal point in the middle."""
    sizes = sorted(c.size for c in cameras)
    usual = max(sizes, key=sizes.count)
    width, height = size or usual
    focal = torch.stack([c.intrinsics[:2] / torch.tensor(c.size, dtype=torch.float64) for c in cameras])
    fx, fy = (focal.median(0).values * torch.tensor(usual, dtype=torch.float64)).tolist()
    scale = min(width / usual[0], height / usual[1])  # another shape shows more, never less
    intrinsics = torch.tensor([fx * scale, fy * scale, width / 2, height / 2], dtype=torch.float64)
    return Camera(width, height, intrinsics, torch.eye(4, dtype=torch.float64))


def _azimuths(cameras: Sequence[Camera], where: Stage) -> tuple[Tensor, Tensor, Tensor]:
    """Azimuth, distance and elevation (angles in radians) of every camera about the stage."""
    offset = torch.stack([c.centre for c in cameras]) - where.centre
    side = torch.linalg.cross(where.up, where.front)
    x, y, z = offset @ where.front, offset @ side, offset @ where.up
    return torch.atan2(y, x), offset.norm(dim=1), torch.atan2(z, torch.hypot(x, y))


def covered(azimuth: Tensor) -> tuple[float, float] | None:
    """(first, last) azimuth in radians of the covered arc, or None when the photos stand all around."""
    a = azimuth.sort().values
    gaps = torch.cat([a[1:] - a[:-1], a[:1] + 2 * math.pi - a[-1:]])
    widest = int(gaps.argmax())
    if float(gaps[widest]) <= FULL_CIRCLE_GAP:
        return None
    first = float(a[(widest + 1) % len(a)])
    return first, first + 2 * math.pi - float(gaps[widest])


def orbit(cameras: Sequence[Camera], frames: int, size: tuple[int, int] | None = None) -> list[Camera]:
    """``frames`` cameras on a closed path around the scene, all looking at its centre.

    Distance and elevation follow the photos at the same azimuth (smoothed over about 35 degrees), since pictures are
    best near the photos.
    """
    where = stage(cameras)
    azimuth, distance, elevation = _azimuths(cameras, where)
    arc = covered(azimuth)
    turn = torch.arange(frames, dtype=torch.float64) * (2 * math.pi / max(1, frames))
    if arc is None:
        angles = turn
    else:
        middle, half = (arc[0] + arc[1]) / 2, 0.8 * (arc[1] - arc[0]) / 2
        angles = middle + half * torch.sin(turn)
    side = torch.linalg.cross(where.up, where.front)
    base = usual_camera(cameras, size)
    usual = float(torch.quantile(distance, 0.7)), float(elevation.median())  # far enough to see all of it
    out = []
    for angle in angles.tolist():
        away = torch.remainder(azimuth - angle + math.pi, 2 * math.pi) - math.pi
        weight = torch.exp(-0.5 * (away / 0.6) ** 2) + 1e-3  # 0.6 rad: smooth, and still local
        radius = 0.5 * (float((weight * distance).sum() / weight.sum()) + usual[0])
        rise = 0.5 * (float((weight * elevation).sum() / weight.sum()) + usual[1])
        level = math.cos(angle) * where.front + math.sin(angle) * side
        eye = where.centre + radius * (math.cos(rise) * level + math.sin(rise) * where.up)
        out.append(_at(base, look_at(eye, where.centre, where.up)))
    return out


def spiral(cameras: Sequence[Camera], frames: int, size: tuple[int, int] | None = None, turns: int = 2
           ) -> list[Camera]:
    """``frames`` cameras on a closed spiral about the middle camera, as wide as the photos are spread, to the centre.

    Source of the idea: the render path of LLFF (Mildenhall et al., SIGGRAPH 2019, arXiv 1905.00889).
    """
    where = stage(cameras)
    centres = torch.stack([c.centre for c in cameras])
    middle = min(cameras, key=lambda c: float((c.centre - centres.mean(0)).norm()))
    axes = look_at(middle.centre, where.centre, where.up)[:3, :3]
    near = float((middle.centre - where.centre).norm())
    offsets = (centres - middle.centre) @ axes
    radius = torch.quantile(offsets.abs(), 0.6, dim=0).clamp(max=0.25 * near)
    radius[2] = min(float(radius[2]), 0.1 * near)  # towards the scene: a hint, or the picture seems to zoom
    base = usual_camera(cameras, size)
    out = []
    for i in range(frames):
        phase = 2 * math.pi * i / max(1, frames)
        grow = 0.55 + 0.45 * math.sin(phase)  # the spiral widens and narrows once, so that its end meets its start
        local = torch.tensor([math.cos(turns * phase) * grow, math.sin(turns * phase) * grow, math.sin(phase) * 0.5],
                             dtype=torch.float64)
        out.append(_at(base, look_at(middle.centre + axes @ (local * radius), where.centre, where.up)))
    return out


def around_points(points: Tensor, frames: int, size: tuple[int, int] | None = None, up: Tensor | None = None
                  ) -> list[Camera]:
    """An orbit around a bare file: no photos, so the distance shows it all.

    points  [n, 3] positions; the middle 90 percent of them count
    up      [3] an axis, by default -y (as in OpenCV frames)
    """
    x = points.double()
    if len(x) > 200_000:
        x = x[:: len(x) // 200_000 + 1]
    centre = x.median(0).values
    radius = max(float(torch.quantile((x - centre).norm(dim=1), 0.9)), 1e-6)
    width, height = size or (960, 540)
    focal = 1.2 * min(width, height)
    distance = radius * math.hypot(1.0, 2 * focal / min(width, height))
    up = torch.tensor([0.0, -1.0, 0.0], dtype=torch.float64) if up is None else up.double()
    aside = torch.tensor([1.0, 0.0, 0.0] if abs(float(up[0])) < 0.9 else [0.0, 1.0, 0.0], dtype=torch.float64)
    front = torch.linalg.cross(aside, up)
    intrinsics = torch.tensor([focal, focal, width / 2, height / 2], dtype=torch.float64)
    base = Camera(width, height, intrinsics, torch.eye(4, dtype=torch.float64))
    out = []
    for i in range(frames):
        angle = 2 * math.pi * i / max(1, frames)
        level = math.sin(angle) * aside + math.cos(angle) * front
        eye = centre + distance * (math.cos(0.35) * level + math.sin(0.35) * up)
        out.append(_at(base, look_at(eye, centre, up)))
    return out


def _at(camera: Camera, pose: Tensor) -> Camera:
    return Camera(camera.width, camera.height, camera.intrinsics, pose)
