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
from torch.nn.functional import avg_pool2d, interpolate

from recon.ops.sweep import correlations, homographies
from recon.types import Camera, View

Progress = Callable[[str, int, int], None]  # what is done, how much of how much

_NEIGHBOURS = 4  # views that each is compared with; the two best count
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
    between = (1 / near - 1 / far) / (Sweep.planes - 1)
    sweeps = [_FIRST, _FINE] if fine else [Sweep()]
    found: list[Tensor] = []
    pictures: list[_Picture] = []
    for s in sweeps:
        pictures = [_Picture.of(v, s.longer_side, masked) for v in views]
        for k, picture in enumerate(pictures):
            first, apart = torch.full(picture.size, 1 / far), between
            if s is _FINE:
                first = _around(found[k], picture.size, _REACH * between)
                apart = 2 * _REACH * between / (s.planes - 1)
            found[k : k + 1] = [_depth(picture, [pictures[j] for j in others[k]], first, apart, s)]
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
    grey    [height, width] in 0..1
    valid   [height, width] bool, where it counts
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
        valid = torch.ones(size, dtype=torch.bool)
        for plane in (photo.alpha, photo.mask if masked else None):
            if plane is not None:
                valid &= interpolate(plane.float()[None, None], size=size, mode="area")[0, 0] > 254
        x, y = (torch.arange(n, dtype=torch.float64) + 0.5 for n in camera.size)
        at = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).reshape(-1, 2)
        _, direction = camera.rays(at)
        rays = direction / (direction @ camera.forward)[:, None]
        return _Picture(camera, rgb, rgb.mean(0) / 255, valid, rays.float())

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)"""
        return self.camera.height, self.camera.width

    def varies(self, s: Sweep) -> Tensor:
        """[height, width] bool: windows in which something can be found."""
        def mean(x: Tensor) -> Tensor:
            return avg_pool2d(x[None], s.window, 1, s.window // 2, count_include_pad=False)[0]

        return mean(self.grey * self.grey) - mean(self.grey) ** 2 > s.texture


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


def _around(depth: Tensor, size: tuple[int, int], reach: float) -> Tensor:
    """[height, width] inverse depths ``reach`` behind those of a smaller picture; holes take the mean around them, and
    stay holes (nan) where there is nothing near."""
    inverse = torch.where(depth > 0, 1 / depth, 0.0).float()[None, None]
    known = (depth > 0).float()[None, None]
    mean = avg_pool2d(inverse, 5, 1, 2) / avg_pool2d(known, 5, 1, 2)
    inverse = torch.where(known > 0, inverse, mean)
    return interpolate(inverse, size=size, mode="nearest")[0, 0] - reach


def _depth(picture: _Picture, others: Sequence[_Picture], inverse: Tensor, between: float, s: Sweep) -> Tensor:
    """[height, width] float64: which of the depths 1 / (``inverse`` [height, width] + k ``between``), k < planes,
    correlates best with other pictures, between planes by a parabola; 0 where none does well."""
    empty = torch.empty(0, 3, 4)
    maps = torch.stack([homographies(picture.camera, o.camera) for o in others]) if others else empty
    scores = correlations(picture.grey, inverse, between, s.planes, [o.grey for o in others],
                          [o.valid for o in others], maps, window=s.window, texture=s.texture)
    best, plane = scores.max(0)
    second, here = torch.full_like(best, -1.0), plane.short()
    for k, score in enumerate(scores):
        torch.where((here - k).abs() >= _APART, torch.maximum(second, score), second, out=second)
    inner = plane.clamp(1, s.planes - 2)
    before, at, after = (scores.gather(0, (inner + k)[None])[0] for k in (-1, 0, 1))
    shift = 0.5 * (before - after) / (before - 2 * at + after).clamp_max(-1e-6)
    depth = 1 / (inverse + between * (inner + shift.clamp(-0.5, 0.5)))
    good = (best > s.least) & (1 - best <= s.unique * (1 - second)) & (inner == plane)
    good &= picture.varies(s) & picture.valid & torch.isfinite(depth) & (depth > 0)
    return torch.where(good, depth, 0.0).double()


def _confirmed(points: Tensor, camera: Camera, depths: Tensor, agree: float) -> Tensor:
    """[n] whether the depth that another view has found there is the points' own."""
    pixel, depth = camera.project(points)
    x, y = (pixel[:, i].nan_to_num(-1.0).clamp(-1, 1e6).floor().long() for i in range(2))
    inside = (depth > 0) & (x >= 0) & (y >= 0) & (x < camera.width) & (y < camera.height)
    found = depths[y.clamp(0, camera.height - 1), x.clamp(0, camera.width - 1)]
    return inside & ((found - depth).abs() < agree * depth)
