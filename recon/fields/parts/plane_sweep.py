"""Points for captures that come without: depth by plane sweeps, kept where views agree.

Poses often come without points (from a game engine, a phone's tracker, a rig). Each view is compared with its
neighbours on planes of constant depth, by normalised cross-correlation of small windows; the depth that correlates best
counts where neighbours have found the same.
Collins, "A space-sweep approach to true multi-image matching", CVPR 1996; Schönberger, Zheng, Pollefeys, Frahm,
"Pixelwise view selection for unstructured multi-view stereo", ECCV 2016 (consistency between views).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, grid_sample, interpolate

from recon.fields.parts.initial_points import focus_of
from recon.types import Camera, Capture, PointCloud, View

Progress = Callable[[str, int, int], None]  # what is done, how much of how much

_ENOUGH = 100  # points of its own that a capture can start from
_FEWEST_VIEWS = 3
_MOST_VIEWS = 24
_LONGER_SIDE = 128  # pixels of the pictures that are compared
_PLANES = 64  # even in inverse depth
_AT_ONCE = 16  # planes
_RANGE = 4.0  # nearest and farthest plane, as a factor of the middle depth
_NEIGHBOURS = 4  # views that each is compared with
_BEST = 2  # of them: it may be hidden from the others
_WINDOW = 5  # pixels
_LEAST = 0.75  # correlation of a depth that counts
_UNIQUE = 0.7  # what it lacks of 1, as a share of what the best one elsewhere lacks: smooth pictures fit at any depth
_APART = 3  # planes, from which on a depth lies elsewhere
_VOTES = 3  # of neighbours, as far as there are any
_AGREE = 0.03  # relative difference of depths that are the same
_TEXTURE = 2e-4  # variance of a window (brightness 0..1) below which nothing can be found
_MOST_POINTS = 20_000


def with_swept_points(capture: Capture, masks: str | None = None, progress: Progress | None = None) -> Capture:
    """The capture with points found by plane sweeps, if it has none and nothing better to start from.

    For captures of ``prepare`` (pinhole cameras); held-out views take no part. ``masks``: how they are used, "ignore",
    "object" or None. Returned as it is where it has points, opacity or object masks (their hull is a better start), too
    few views, or where hardly anything was found.
    """
    own = capture.points
    if (own is not None and len(own) >= _ENOUGH) or capture.has_alpha or masks == "object":
        return capture
    views = capture.train[:: max(-(-len(capture.train) // _MOST_VIEWS), 1)]
    if len(views) < _FEWEST_VIEWS:
        return capture
    positions, colours = swept(views, _middle_depth(capture), masked=masks is not None, progress=progress)
    if len(positions) < _ENOUGH:
        return capture
    order = torch.randperm(len(positions), generator=torch.Generator().manual_seed(0))[:_MOST_POINTS].sort().values
    return replace(capture, points=PointCloud(positions[order], colours[order]))


def swept(views: Sequence[View], middle: float, *, masked: bool = False, progress: Progress | None = None
          ) -> tuple[Tensor, Tensor]:
    """Positions [n, 3] float64 in the world and colours [n, 3] uint8 of what neighbouring views confirm.

    ``middle``: the depth, in scene units, around which is searched. ``masked``: not where a mask says "not this".
    """
    pictures = [_Picture.of(v, masked) for v in views]
    near = _neighbours([p.camera for p in pictures])
    depths = []
    for k, picture in enumerate(pictures):
        depths.append(_depth(picture, [pictures[j] for j in near[k]], middle))
        if progress is not None:
            progress("Sweeping planes", k + 1, len(pictures))
    positions, colours = [], []
    for k, picture in enumerate(pictures):
        points = picture.camera.centre + picture.rays.double() * depths[k].reshape(-1, 1)
        votes = torch.zeros(len(points))
        for j in near[k]:
            votes += _confirmed(points, pictures[j].camera, depths[j])
        kept = (depths[k].reshape(-1) > 0) & (votes >= max(min(_VOTES, len(near[k])), 1))
        positions.append(points[kept])
        colours.append(picture.rgb.flatten(1).T[kept].round().to(torch.uint8))
    return torch.cat(positions), torch.cat(colours)


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
    def of(view: View, masked: bool) -> _Picture:
        photo, camera = view.photo(), view.camera
        scale = min(_LONGER_SIDE / max(camera.size), 1.0)
        camera = camera.scaled(max(round(camera.width * scale), 1), max(round(camera.height * scale), 1))
        size = (camera.height, camera.width)
        rgb = interpolate(photo.rgb.float()[None], size=size, mode="area")[0]
        valid = torch.ones(1, 1, *size)
        if masked and photo.mask is not None:
            valid = (interpolate(photo.mask.float()[None, None], size=size, mode="area") > 254).float()
        x, y = (torch.arange(n, dtype=torch.float64) + 0.5 for n in camera.size)
        at = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).reshape(-1, 2)
        _, direction = camera.rays(at)
        rays = direction / (direction @ camera.forward)[:, None]
        return _Picture(camera, rgb, rgb.mean(0)[None, None] / 255, valid, rays.float())


def _middle_depth(capture: Capture) -> float:
    """Of the point closest to all optical axes where most cameras look at it; else ten times what lies between them."""
    focus, distance = focus_of(capture)
    ahead = torch.stack([(focus - v.camera.centre) @ v.camera.forward for v in capture.views]) > 0
    if float(ahead.double().mean()) > 0.5:
        return distance
    between = _between(capture.centres).fill_diagonal_(torch.inf)
    return 10.0 * float(between.amin(1).median().clamp_min(1e-6))


def _between(centres: Tensor) -> Tensor:
    return (centres[:, None] - centres[None]).norm(dim=-1)


def _neighbours(cameras: Sequence[Camera]) -> list[list[int]]:
    """Views that look the same way from near by, but not from the same place: those show no depth."""
    centres = torch.stack([c.centre for c in cameras])
    forward = torch.stack([c.forward for c in cameras])
    between = _between(centres)
    spread = (centres - centres.mean(0)).norm(dim=1).mean().clamp_min(1e-12)
    cost = between / spread + 2 * (1 - (forward[:, None] * forward[None]).sum(-1))
    cost = torch.where(between < 1e-3 * spread, torch.inf, cost)
    order = cost.argsort(dim=1, stable=True).tolist()
    return [[j for j in row[:_NEIGHBOURS] if cost[i, j] < torch.inf] for i, row in enumerate(order)]


def _mean(x: Tensor) -> Tensor:
    """Of the window around each pixel."""
    return avg_pool2d(x, _WINDOW, 1, _WINDOW // 2, count_include_pad=False)


def _depth(picture: _Picture, others: Sequence[_Picture], middle: float) -> Tensor:
    """[height, width] float64: the depth at which the picture correlates best with others, 0 where none does well."""
    inverse = torch.linspace(_RANGE / middle, 1 / (_RANGE * middle), _PLANES)
    grey, mean = picture.grey, _mean(picture.grey)
    variance = _mean(grey * grey) - mean * mean
    scores = torch.empty(_PLANES, *grey.shape[2:])
    for first in range(0, _PLANES, _AT_ONCE):
        found = []
        for other in others:
            seen = _looked_up(other, picture, inverse[first : first + _AT_ONCE])
            value, valid = seen[:, :1], seen[:, 1:] > 0.99
            m = _mean(value)
            deviation = ((_mean(value * value) - m * m).clamp_min(_TEXTURE) * variance.clamp_min(_TEXTURE)).sqrt()
            found.append(torch.where(valid, (_mean(grey * value) - mean * m) / deviation, -1.0)[:, 0])
        best = torch.stack(found).topk(min(_BEST, len(found)), dim=0).values if found else torch.full((1,), -1.0)
        scores[first : first + _AT_ONCE] = best.mean(0)
    best, plane = scores.max(0)
    elsewhere = (torch.arange(_PLANES)[:, None, None] - plane).abs() >= _APART
    second = torch.where(elsewhere, scores, -1.0).amax(0)
    inner = plane.clamp(1, _PLANES - 2)
    before, at, after = (scores.gather(0, (inner + k)[None])[0] for k in (-1, 0, 1))
    shift = 0.5 * (before - after) / (before - 2 * at + after).clamp_max(-1e-6)  # where a parabola is highest
    found_inverse = inverse[0] + (inverse[1] - inverse[0]) * (inner + shift.clamp(-0.5, 0.5))
    good = (best > _LEAST) & (1 - best < _UNIQUE * (1 - second)) & (inner == plane)
    good &= (variance[0, 0] > _TEXTURE) & (picture.valid[0, 0] > 0)
    return torch.where(good, 1 / found_inverse, 0.0).double()


def _looked_up(other: _Picture, picture: _Picture, inverse: Tensor) -> Tensor:
    """[planes, 2, height, width]: brightness of another picture where pixels at these inverse depths fall, and whether
    it has any there."""
    camera = other.camera
    pose = camera.camera_from_world.float()
    ray = picture.rays @ pose[:3, :3].T
    centre = (camera.camera_from_world[:3, :3] @ picture.camera.centre + camera.camera_from_world[:3, 3]).float()
    x, y, z = (ray[:, i] + inverse[:, None] * centre[i] for i in range(3))  # times depth
    fx, fy, cx, cy = camera.intrinsics.float()
    z = torch.where(z > 1e-6, z, torch.nan)
    grid = torch.stack([(fx * x / z + cx) / camera.width, (fy * y / z + cy) / camera.height], dim=-1) * 2 - 1
    grid = grid.nan_to_num(3.0).clamp(-3, 3).view(len(inverse), picture.camera.height, picture.camera.width, 2)
    both = torch.cat([other.grey, other.valid], dim=1).expand(len(inverse), -1, -1, -1)
    return grid_sample(both, grid, align_corners=False, padding_mode="zeros")


def _confirmed(points: Tensor, camera: Camera, depths: Tensor) -> Tensor:
    """[n] whether the depth that another view has found there is the points' own."""
    pixel, depth = camera.project(points)
    x, y = (pixel[:, i].nan_to_num(-1.0).clamp(-1, 1e6).floor().long() for i in range(2))
    inside = (depth > 0) & (x >= 0) & (y >= 0) & (x < camera.width) & (y < camera.height)
    found = depths[y.clamp(0, camera.height - 1), x.clamp(0, camera.width - 1)]
    return inside & ((found - depth).abs() < _AGREE * depth)
