"""Points from plane sweeps: depth at which photos agree, kept where neighbouring views have found the same.

Each view is compared with its neighbours on planes of constant depth, by normalised cross-correlation of small windows.
A fine sweep then searches near the depths so found, in larger pictures.
Collins, "A space-sweep approach to true multi-image matching", CVPR 1996; Schönberger, Zheng, Pollefeys, Frahm,
"Pixelwise view selection for unstructured multi-view stereo", ECCV 2016 (consistency between views).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, grid_sample, interpolate

from recon.types import Camera, View

Progress = Callable[[str, int, int], None]  # what is done, how much of how much

_AT_ONCE = 16  # planes
_NEIGHBOURS = 4  # views that each is compared with
_BEST = 2  # of them: it may be hidden from the others
_APART = 3  # planes, from which on a depth lies elsewhere
_SURE = 0.2  # of the points that so many neighbours confirm as are asked, confirmed by one more: by chance few are
_REACH = 1.5  # planes of the sweep before, to both sides, that a fine sweep searches


@dataclass(frozen=True)
class Sweep:
    """How finely is searched, and what is believed."""

    # of pictures that are compared, pixels
    longer_side: int = 128
    # even in inverse depth
    planes: int = 64
    # side of the windows that are compared, pixels
    window: int = 5
    # variance of a window (brightness 0..1) below which nothing can be found
    texture: float = 2e-4
    # correlation of a depth that counts
    least: float = 0.75
    # what it lacks of 1, as a share of what the best one elsewhere lacks: smooth pictures fit at any depth
    unique: float = 0.7
    # relative difference of depths that are the same
    agree: float = 0.03
    # of neighbours that have found the same, as far as there are any
    votes: int = 2


# For surfaces: first where, believing more, then how far to about a thousandth, believing little.
_FIRST = Sweep(longer_side=160, window=7, texture=5e-5, least=0.6, unique=1.0)
_FINE = Sweep(longer_side=640, planes=17, window=7, texture=5e-5, least=0.7, unique=1.0, agree=0.004, votes=3)


def swept(views: Sequence[View], near: float, far: float, *, fine: bool = False, masked: bool = False,
          progress: Progress | None = None) -> tuple[Tensor, Tensor]:
    """Positions [n, 3] float64 in the world and colours [n, 3] uint8 of what neighbouring views confirm; nothing
    where they seem to agree by chance alone.

    ``near``, ``far``: depths in scene units between which is searched. ``masked``: not where a mask says "not this";
    never where photos are transparent. Views are those of ``prepare`` (pinhole cameras).
    """
    others = _neighbours([v.camera for v in views])
    inverse = torch.linspace(1 / near, 1 / far, Sweep.planes)
    between = float(inverse[0] - inverse[1])
    sweeps = [_FIRST, _FINE] if fine else [Sweep()]
    found: list[Tensor] = []
    pictures: list[_Picture] = []
    for s in sweeps:
        pictures = [_Picture.of(v, s.longer_side, masked) for v in views]
        for k, picture in enumerate(pictures):
            tried = inverse[:, None]
            if s is _FINE:
                tried = _around(found[k], picture.size, between)
            depth = _depth(picture, [pictures[j] for j in others[k]], tried, s)
            found[k : k + 1] = [depth]
            if progress is not None:
                progress("Sweeping planes", k + 1 + sweeps.index(s) * len(pictures), len(sweeps) * len(pictures))
    positions, colours, sure = [], [], []
    for k, picture in enumerate(pictures):
        points = picture.camera.centre + picture.rays.double() * found[k].reshape(-1, 1)
        votes = torch.zeros(len(points))
        for j in others[k]:
            votes += _confirmed(points, pictures[j].camera, found[j], sweeps[-1].agree)
        asked = max(min(sweeps[-1].votes, len(others[k])), 1)
        kept = (found[k].reshape(-1) > 0) & (votes >= asked)
        positions.append(points[kept])
        colours.append(picture.rgb.flatten(1).T[kept].round().to(torch.uint8))
        sure.append(votes[kept] > (asked if asked < len(others[k]) else asked - 1))
    believed = slice(None) if float(torch.cat(sure).float().mean()) > _SURE else slice(0)
    return torch.cat(positions)[believed], torch.cat(colours)[believed]


@dataclass(frozen=True)
class _Picture:
    """A photo as it is compared.

    rgb     [3, height, width] float 0..255
    grey    [1, 1, height, width] in 0..1
    valid   [1, 1, height, width] 1 where it counts
    rays    [height * width, 3] from the camera's centre through pixels, to depth 1
    """

    camera: Camera
    rgb: Tensor
    grey: Tensor
    valid: Tensor
    rays: Tensor

    @staticmethod
    def of(view: View, longer_side: int, masked: bool) -> _Picture:
        photo, camera = view.photo(), view.camera
        scale = min(longer_side / max(camera.size), 1.0)
        camera = camera.scaled(max(round(camera.width * scale), 1), max(round(camera.height * scale), 1))
        size = (camera.height, camera.width)
        rgb = interpolate(photo.rgb.float()[None], size=size, mode="area")[0]
        valid = torch.ones(1, 1, *size)
        for plane in (photo.alpha, photo.mask if masked else None):
            if plane is not None:
                valid *= interpolate(plane.float()[None, None], size=size, mode="area") > 254
        x, y = (torch.arange(n, dtype=torch.float64) + 0.5 for n in camera.size)
        at = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).reshape(-1, 2)
        _, direction = camera.rays(at)
        rays = direction / (direction @ camera.forward)[:, None]
        return _Picture(camera, rgb, rgb.mean(0)[None, None] / 255, valid, rays.float())

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)"""
        return self.camera.height, self.camera.width


def _neighbours(cameras: Sequence[Camera]) -> list[list[int]]:
    """Views that look the same way from near by, but not from the same place: those show no depth."""
    centres = torch.stack([c.centre for c in cameras])
    forward = torch.stack([c.forward for c in cameras])
    between = (centres[:, None] - centres[None]).norm(dim=-1)
    spread = (centres - centres.mean(0)).norm(dim=1).mean().clamp_min(1e-12)
    cost = between / spread + 2 * (1 - (forward[:, None] * forward[None]).sum(-1))
    cost = torch.where(between < 1e-3 * spread, torch.inf, cost)
    order = cost.argsort(dim=1, stable=True).tolist()
    return [[j for j in row[:_NEIGHBOURS] if cost[i, j] < torch.inf] for i, row in enumerate(order)]


def _around(depth: Tensor, size: tuple[int, int], between: float) -> Tensor:
    """[planes, height * width] inverse depths near those of a smaller picture, ``between`` apart there; holes take the
    mean around them, and stay holes (nan) where there is nothing near."""
    inverse = torch.where(depth > 0, 1 / depth, 0.0).float()[None, None]
    known = (depth > 0).float()[None, None]
    mean = avg_pool2d(inverse, 5, 1, 2) / avg_pool2d(known, 5, 1, 2)
    inverse = torch.where(known > 0, inverse, mean)
    middle = interpolate(inverse, size=size, mode="nearest").reshape(-1)
    return middle + torch.linspace(_REACH, -_REACH, _FINE.planes)[:, None] * between


def _depth(picture: _Picture, others: Sequence[_Picture], inverse: Tensor, s: Sweep) -> Tensor:
    """[height, width] float64: which of the depths 1 / ``inverse`` [planes, 1 or pixels] correlates best with other
    pictures, between planes by a parabola; 0 where none does well."""

    def mean(x: Tensor) -> Tensor:  # of the window around each pixel
        return avg_pool2d(x, s.window, 1, s.window // 2, count_include_pad=False)

    planes, (height, width) = len(inverse), picture.size
    grey, own = picture.grey, mean(picture.grey)
    variance = mean(grey * grey) - own * own
    scores = torch.empty(planes, height, width)
    for first in range(0, planes, _AT_ONCE):
        found = []
        for other in others:
            seen = _looked_up(other, picture, inverse[first : first + _AT_ONCE])
            value, valid = seen[:, :1], seen[:, 1:] > 0.99
            m = mean(value)
            deviation = ((mean(value * value) - m * m).clamp_min(s.texture) * variance.clamp_min(s.texture)).sqrt()
            found.append(torch.where(valid, (mean(grey * value) - own * m) / deviation, -1.0)[:, 0])
        best = torch.stack(found).topk(min(_BEST, len(found)), dim=0).values if found else torch.full((1,), -1.0)
        scores[first : first + _AT_ONCE] = best.mean(0)
    best, plane = scores.max(0)
    elsewhere = (torch.arange(planes)[:, None, None] - plane).abs() >= _APART
    second = torch.where(elsewhere, scores, -1.0).amax(0)
    inner = plane.clamp(1, planes - 2)
    before, at, after = (scores.gather(0, (inner + k)[None])[0] for k in (-1, 0, 1))
    shift = 0.5 * (before - after) / (before - 2 * at + after).clamp_max(-1e-6)
    step = (inverse[1] - inverse[0]).expand(height * width).view(height, width)
    start = inverse[0].expand(height * width).view(height, width)
    depth = 1 / (start + step * (inner + shift.clamp(-0.5, 0.5)))
    good = (best > s.least) & (1 - best <= s.unique * (1 - second)) & (inner == plane)
    good &= (variance[0, 0] > s.texture) & (picture.valid[0, 0] > 0) & torch.isfinite(depth) & (depth > 0)
    return torch.where(good, depth, 0.0).double()


def _looked_up(other: _Picture, picture: _Picture, inverse: Tensor) -> Tensor:
    """[planes, 2, height, width]: brightness of another picture where pixels at these inverse depths fall, and whether
    it has any there."""
    camera = other.camera
    pose = camera.camera_from_world
    ray = picture.rays @ pose[:3, :3].float().T
    centre = (pose[:3, :3] @ picture.camera.centre + pose[:3, 3]).float()
    x, y, z = (ray[:, i] + inverse * centre[i] for i in range(3))  # times inverse depth
    fx, fy, cx, cy = camera.intrinsics.float()
    z = torch.where(z > 1e-6, z, torch.nan)
    grid = torch.stack([(fx * x / z + cx) / camera.width, (fy * y / z + cy) / camera.height], dim=-1) * 2 - 1
    grid = grid.nan_to_num(3.0).clamp(-3, 3).view(len(inverse), *picture.size, 2)
    both = torch.cat([other.grey, other.valid], dim=1).expand(len(inverse), -1, -1, -1)
    return grid_sample(both, grid, align_corners=False, padding_mode="zeros")


def _confirmed(points: Tensor, camera: Camera, depths: Tensor, agree: float) -> Tensor:
    """[n] whether the depth that another view has found there is the points' own."""
    pixel, depth = camera.project(points)
    x, y = (pixel[:, i].nan_to_num(-1.0).clamp(-1, 1e6).floor().long() for i in range(2))
    inside = (depth > 0) & (x >= 0) & (y >= 0) & (x < camera.width) & (y < camera.height)
    found = depths[y.clamp(0, camera.height - 1), x.clamp(0, camera.width - 1)]
    return inside & ((found - depth).abs() < agree * depth)
