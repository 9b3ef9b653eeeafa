"""A run, or a bare splat file, as a scene to fit: the pictures it renders take the place of photos; none are needed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from recon.app.mesh_capture import AWAY, cameras
from recon.errors import InputError
from recon.fit.distil import PointsProblem, teach
from recon.protocols import Volumetric
from recon.types import Camera, Capture, Photo, PointCloud, Similarity, View
from recon.types.volume import unit_from_world

if TYPE_CHECKING:
    from recon.app.api import Run
    from recon.fit.loop import Fit

FORMAT = "run"
_PICTURES = 100  # to learn from, at most: each costs as much as several steps
_HELD_OUT = 10  # to compare with, at most
_POINT_VIEWS = 24  # whose depth gives the points of the capture
_PIXELS = 200_000  # looked at in all of them; an object fills a third or so
_MOST_POINTS = 60_000
_OPAQUE = 0.6  # pixels below that give no point
_ENOUGH_POINTS = 20_000  # to tell where surfaces are
_ROOM = 1.3  # around splats without cameras: nine tenths of them lie within one radius
_REACH = 2  # cells around a point that may hold something


@dataclass(frozen=True)
class Picture:
    """Implements PhotoSource: what the scene of a run looks like from a camera."""

    path: Path
    has_alpha: bool
    field_from_world: Similarity = field(default_factory=Similarity)

    def read(self, camera: Camera) -> Photo:
        camera = self.field_from_world.camera(camera)
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
        return _around(path, run)
    held_out = [v.name for v in run.saved.views if v.split == "test"]
    fitted = [v.name for v in run.saved.views if v.split != "test"]
    if not fitted:
        raise InputError("has no cameras to look from", file=path)
    kept = _spread(fitted, _PICTURES) | _spread(held_out, _HELD_OUT)
    views = tuple(  # a source of its own for each: the working copy tells pictures apart by it
        View(v.name, v.camera, Picture(path.absolute(), run.saved.has_alpha), "test" if v.split == "test" else "train")
        for v in run.saved.views if v.name in kept)
    points = _points(run, [v.camera for v in views if v.split == "train"])
    return Capture(path.name, path, FORMAT, views, points, run.saved.world_from_source, None, run.saved.has_alpha)


def _spread(names: Sequence[str], most: int) -> set[str]:
    """All of ``names``, or ``most`` of them at even distances."""
    count = min(len(names), most)
    return {names[i * len(names) // count] for i in range(count)}


def _around(path: Path, run: Run) -> Capture:
    """Splats that came without cameras, seen from all sides over nothing, every eighth view held out."""
    if not len(run.gaussians):
        raise InputError("holds no splats", file=path)
    world_from_field = Similarity(1 / (AWAY * _ROOM))  # cameras at distance one
    views = tuple(
        View(f"view_{i:02}.png", camera, Picture(path.absolute(), True, world_from_field.inverse()),
             "test" if i % 8 == 0 else "train")
        for i, camera in enumerate(cameras()))
    points = _points(run, [world_from_field.inverse().camera(v.camera) for v in views])
    if points is not None:
        points = PointCloud(world_from_field.points(points.positions), points.colours)
    world_from_source = world_from_field.after(run.world_from_source)
    return Capture(path.stem, path, FORMAT, views, points, world_from_source, None, True)


def begin(fit: Fit, path: Path, share: float = 0.5) -> None:
    """What a volume learns before it sees a picture.

    From another volume: the first ``share`` of the steps are made at points. From anything else: where surfaces are, so
    that rays are sampled there alone.
    """
    run = teacher(path.absolute())
    if not isinstance(fit.field, Volumetric) or fit.step:
        return
    if not isinstance(run.field, Volumetric):
        _occupy_surfaces(fit)
        return
    steps, begun = round(share * fit.system.steps), time.monotonic()
    problem = PointsProblem(fit.field, run.field, [v.camera for v in fit.capture.train], fit.system.steps, fit.seed)
    teach(problem, fit.optimizer, steps)
    fit.begin_at(steps, time.monotonic() - begun)


def _occupy_surfaces(fit: Fit) -> None:
    """Cells stay occupied near a point of the capture, which come from depth; all do where there are few points."""
    points, volume = fit.capture.points, fit.field.volume()
    if points is None or len(points) < _ENOUGH_POINTS:
        return
    u = unit_from_world(volume, points.positions.float())
    size = torch.tensor(volume.cells.shape)
    cell = (u * size).long()[((u >= 0) & (u <= 1)).all(1)].clamp(min=0).minimum(size - 1)
    near = torch.zeros(volume.cells.shape)
    near[tuple(cell.T)] = 1
    near = torch.nn.functional.max_pool3d(near[None, None], 2 * _REACH + 1, 1, _REACH)[0, 0]
    fit.field.occupy((volume.cells == 0) & (near > 0))


def _points(run: Run, cameras: Sequence[Camera]) -> PointCloud | None:
    """Pixels of some views put where the depth says, with their colours."""
    chosen = cameras[:: -(-len(cameras) // _POINT_VIEWS)]
    found: list[tuple[Tensor, Tensor]] = []
    for camera in chosen:
        ratio = min((_PIXELS / len(chosen) / (camera.width * camera.height)) ** 0.5, 1.0)
        small = camera.scaled(max(round(camera.width * ratio), 8), max(round(camera.height * ratio), 8))
        found.append(_seen_points(run, small))
    positions, colours = (torch.cat(parts) for parts in zip(*found))
    if len(positions) > _MOST_POINTS:
        kept = torch.randperm(len(positions), generator=torch.Generator().manual_seed(0))[:_MOST_POINTS].sort().values
        positions, colours = positions[kept], colours[kept]
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
