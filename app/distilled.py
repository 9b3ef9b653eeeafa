"""A run as a scene to fit: the pictures that it renders take the place of photos, so none are needed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from recon.errors import InputError
from recon.fit.distil import PointsProblem, teach
from recon.protocols import Volumetric
from recon.types import Camera, Capture, Photo, PointCloud, View

if TYPE_CHECKING:
    from recon.app.api import Run
    from recon.fit.loop import Fit

FORMAT = "run"
_POINT_VIEWS = 24  # whose depth gives the points of the capture
_MOST_POINTS = 60_000
_OPAQUE = 0.6  # pixels below that give no point


@dataclass(frozen=True)
class Picture:
    """Implements PhotoSource: what the scene of a run looks like from a camera."""

    path: Path
    has_alpha: bool

    def read(self, camera: Camera) -> Photo:
        with torch.no_grad():
            run = teacher(self.path)
            want = ("rgb", "opacity") if self.has_alpha else ("rgb",)
            shown = run.renderer.render(run.field, camera, background=torch.zeros(3), want=want)
        if not self.has_alpha:
            return Photo(_bytes(shown.rgb.permute(2, 0, 1)))
        alpha = shown.channel("opacity").clamp(0, 1)
        straight = shown.rgb / alpha.clamp_min(1e-3)[:, :, None]  # rendered over black
        return Photo(_bytes(straight.permute(2, 0, 1)), _bytes(alpha))


@lru_cache(maxsize=2)
def teacher(path: Path) -> Run:
    """The run at ``path``, loaded once."""
    from recon.app.api import load

    return load(path)


def capture_of(path: Path) -> Capture:
    """The cameras of a run with its own pictures; points from its depth. Raises InputError where it holds no scene."""
    run = teacher(path.absolute())
    if run.saved is None:
        raise InputError("is no run folder", file=path, fix="Give the folder of a finished fit.")
    views = tuple(  # a source of its own for each: the working copy tells pictures apart by it
        View(v.name, v.camera, Picture(path.absolute(), run.saved.has_alpha), "test" if v.split == "test" else "train")
        for v in run.saved.views)
    if not any(v.split == "train" for v in views):
        raise InputError("has no cameras to look from", file=path)
    points = _points(run, [v.camera for v in views if v.split == "train"])
    return Capture(path.name, path, FORMAT, views, points, run.saved.world_from_source, None, run.saved.has_alpha)


def begin(fit: Fit, path: Path, share: float = 0.5) -> None:
    """Where teacher and student are volumes: the first ``share`` of the steps are made at points, not on pictures."""
    run = teacher(path.absolute())
    if not (isinstance(fit.field, Volumetric) and isinstance(run.field, Volumetric)) or fit.step:
        return
    steps, begun = round(share * fit.system.steps), time.monotonic()
    problem = PointsProblem(fit.field, run.field, [v.camera for v in fit.capture.train], fit.system.steps, fit.seed)
    teach(problem, fit.optimizer, steps)
    fit.begin_at(steps, time.monotonic() - begun)


def _points(run: Run, cameras: Sequence[Camera]) -> PointCloud | None:
    """Pixels of some views put where the depth says, with their colours."""
    chosen = cameras[:: -(-len(cameras) // _POINT_VIEWS)]
    found: list[tuple[Tensor, Tensor]] = []
    for camera in chosen:
        ratio = min((_MOST_POINTS / len(chosen) / (camera.width * camera.height)) ** 0.5, 1.0)
        small = camera.scaled(max(round(camera.width * ratio), 8), max(round(camera.height * ratio), 8))
        found.append(_seen_points(run, small))
    positions, colours = (torch.cat(parts) for parts in zip(*found))
    return PointCloud(positions, colours) if len(positions) >= 100 else None


@torch.no_grad()
def _seen_points(run: Run, camera: Camera) -> tuple[Tensor, Tensor]:
    shown: Any = run.renderer.render(run.field, camera, background=torch.zeros(3), want=("rgb", "depth", "opacity"))
    opacity, depth = shown.channel("opacity"), shown.channel("depth").double()
    y, x = ((opacity > _OPAQUE) & (depth > 0)).nonzero(as_tuple=True)
    origin, direction = camera.rays(torch.stack([x, y], dim=1).double() + 0.5)
    along = depth[y, x] / (direction @ camera.forward.to(direction.dtype))
    colour = (shown.rgb[y, x] / opacity[y, x, None]).clamp(0, 1)
    return origin.double() + along[:, None] * direction.double(), _bytes(colour)


def _bytes(x: Tensor) -> Tensor:
    return (x.clamp(0, 1) * 255).round().to(torch.uint8).contiguous()
