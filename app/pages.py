"""Fits and runs as pages of the viewer."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from recon.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from recon.app.api import Run
    from recon.app.fitting import FitJob
    from recon.app.run_folder import SavedCameras
    from recon.fit.system import System
    from recon.types import Camera, Capture, Mesh, Photo, Render, Similarity, View
    from recon.viewer.page import Page, Paint


VIEWED_RESOLUTION = 192  # grid of a mesh that is made in the page; `recon mesh` makes finer ones


@dataclasses.dataclass(frozen=True)
class NoPhoto:
    """Stands for the photo of a run whose photos are gone."""

    why: InputError

    def read(self, camera: Camera) -> Photo:
        raise self.why


def page_of_job(job: FitJob) -> Page:
    """The page of a fit that is about to start."""
    capture = job.capture
    return make_page(capture.name or "scene", capture.views, world_from_source=capture.world_from_source,
                     folder=job.folder.path, command=job.request.command, notes=capture.warnings,
                     schedule=schedule_of(job.system), **meshing_of(capture))


def page_of_run(run: Run) -> Page:
    """The page of a run folder or of a bare splat file; photos are shown where they still are."""
    if run.saved is None:
        from recon.app import camera_paths
        from recon.export import splat_suffixes

        around = camera_paths.around_points(run.field.gaussians().means, 1)
        stage_up = camera_paths.around_points(run.field.gaussians().means, 2)
        up = -(stage_up[0].world_from_camera[:3, 1] + stage_up[1].world_from_camera[:3, 1])
        assert run.path.suffix.lower() in splat_suffixes("read")
        return make_page(run.path.stem, (), start=around[0], up=up / up.norm(),
                         summary=run.contents, notes=run.warnings,
                         world_from_source=run.world_from_source, command=f"recon view {shlex.quote(str(run.path))}")
    made = run.config.get("made") or {}
    notes = list(run.warnings)
    views = _views_of_run(run, notes)
    quality = f" · PSNR {run.metrics['psnr']:.1f}" if run.metrics.get("psnr") else ""
    return make_page(run.path.name, views, summary=f"{run.contents}{quality}",
                     world_from_source=run.saved.world_from_source, folder=run.path,
                     command=str(made.get("command") or ""), notes=tuple(notes), **meshing_of(run.saved))


def _views_of_run(run: Run, notes: list[str]) -> tuple[View, ...]:
    from recon.app.scenes import read_again
    from recon.types import View

    assert run.saved is not None
    try:
        return read_again(run.config, run.path.parent).views
    except InputError as error:
        notes.append(error.message)
        missing = NoPhoto(error)
        return tuple(View(v.name, v.camera, missing, "test" if v.split == "test" else "train")
                     for v in run.saved.views)


def make_page(title: str, views: Sequence[View], *, start: Camera | None = None, up: Tensor | None = None,
              centre: Tensor | None = None, **others: Any) -> Page:
    import torch

    from recon.app import camera_paths, video
    from recon.viewer.page import Page

    others["write_video"] = video.write_mp4
    paint = paint_of_pictures()
    if not views:
        assert start is not None
        assert up is not None
        centre = torch.zeros(3, dtype=torch.float64) if centre is None else centre
        return Page(title, paint, start, centre, up, (), **others)
    cameras = [v.camera for v in views]
    stage = camera_paths.stage(cameras)
    start = start or camera_paths.orbit(cameras, 1)[0]
    return Page(title, paint, start, stage.centre, stage.up, tuple(views), **others)


def meshing_of(capture: Capture | SavedCameras) -> dict[str, Any]:
    """``make_mesh`` and ``mesh_frame`` of a page of ``capture``, whose views are in the world."""
    from recon.types import Similarity

    views = capture.subset("train") or capture.views
    cameras = [v.camera for v in views]

    def make_mesh(render: Callable[[Camera], Render]) -> tuple[Mesh, tuple[str, ...]]:
        from recon.app import meshing

        mesh, notes = meshing.surface(render, cameras, Similarity(), has_alpha=capture.has_alpha,
                                      meshing=meshing.Meshing(resolution=VIEWED_RESOLUTION))
        return mesh, notes

    def mesh_frame(suffix: str, export_from_world: Similarity) -> Similarity:
        from recon.app import meshing

        moved = [export_from_world.camera(c) for c in cameras]
        return meshing.placed(moved, suffix)[0].after(export_from_world)

    return {"make_mesh": make_mesh, "mesh_frame": mesh_frame}


def schedule_of(system: System) -> tuple[tuple[int, str], ...]:
    """(step, what changes then), in order: what the settings of a fit say about shares of the way."""
    found: list[tuple[float, str]] = []
    if system.resolution.start > 1:
        found.append((system.resolution.until, "full resolution"))
    for name, strategy in system.strategies.items():
        words = name.replace("_", " ")
        found += [(share, f"{words} {i + 1}") for i, share in enumerate(getattr(strategy, "at", ()))]
        for edge, verb in (("begin", "begins"), ("until", "ends")):
            if isinstance(share := getattr(strategy, edge, None), float):
                found.append((share, f"{words} {verb}"))
    return tuple(sorted((round(share * system.steps), what) for share, what in found if 0 < share <= 1))


def paint_of_pictures() -> Paint:
    """The colours of the program's own pictures."""
    from recon.app import pictures
    from recon.viewer.page import Paint

    return Paint(
        channel=pictures.channel_image,
        depth=lambda render, near_far, ramp: pictures.channel_image(render, "depth", near_far, pictures.RAMPS[ramp]),
        ramp=lambda values, ramp: pictures.coloured(values, pictures.RAMPS[ramp]),
        ramps=tuple(pictures.RAMPS), errors="heat")
