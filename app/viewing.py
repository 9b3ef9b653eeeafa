"""Fits, runs and files as pages of the viewer."""

from __future__ import annotations

import dataclasses
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recon.app.reporters import Reporter
from recon.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from recon.app.api import Run
    from recon.app.fitting import FitJob
    from recon.fit.events import Finished
    from recon.fit.session import Session
    from recon.types import Camera, Photo, View
    from recon.viewer.page import Page
    from recon.viewer.server import Viewer


@dataclasses.dataclass(frozen=True)
class NoPhoto:
    """Stands for the photo of a run whose photos are gone."""

    why: InputError

    def read(self, camera: Camera) -> Photo:
        raise self.why


def check_options(port: int, share: float) -> None:
    if not 0 <= port < 65536:
        raise InputError(f"--port {port} is out of range", fix="Give 1 to 65535, or 0 for any free one.")
    if not 0.01 <= share <= 0.9:
        raise InputError(f"--view-share {share:g} is out of range", fix="Give 0.01 to 0.9, a part of the time.")


def page_of_job(job: FitJob) -> Page:
    """The page of a fit that is about to start."""
    capture = job.capture
    return _page(capture.name or "scene", capture.views, world_from_source=capture.world_from_source,
                 folder=job.folder.path, command=job.request.command, notes=capture.warnings)


def page_of_run(run: Run) -> Page:
    """The page of a run folder or of a bare splat file; photos are shown where they still are."""
    if run.saved is None:
        from recon.app import camera_paths
        from recon.export import splat_suffixes

        around = camera_paths.around_points(run.field.gaussians().means, 1)
        stage_up = camera_paths.around_points(run.field.gaussians().means, 2)
        up = -(stage_up[0].world_from_camera[:3, 1] + stage_up[1].world_from_camera[:3, 1])
        assert run.path.suffix.lower() in splat_suffixes("read")
        return _page(run.path.stem, (), start=around[0], up=up / up.norm(),
                     summary=f"{len(run.gaussians):,} Gaussians", notes=run.warnings,
                     world_from_source=run._world_from_source, command=f"recon view {shlex.quote(str(run.path))}")
    made = run.config.get("made") or {}
    notes = list(run.warnings)
    views = _views_of_run(run, notes)
    quality = f" · PSNR {run.metrics['psnr']:.1f}" if run.metrics.get("psnr") else ""
    return _page(run.path.name, views, summary=f"{len(run.gaussians):,} Gaussians{quality}",
                 world_from_source=run.saved.world_from_source, folder=run.path,
                 command=str(made.get("command") or ""), notes=tuple(notes))


def _views_of_run(run: Run, notes: list[str]) -> tuple[View, ...]:
    from recon.app.fitting import read_again
    from recon.types import View

    assert run.saved is not None
    try:
        return read_again(run.config, run.path.parent).views
    except InputError as error:
        notes.append(error.message)
        missing = NoPhoto(error)
        return tuple(View(v.name, v.camera, missing, "test" if v.split == "test" else "train")
                     for v in run.saved.views)


def _page(title: str, views: Sequence[View], *, start: Camera | None = None, up: Tensor | None = None,
          **others: Any) -> Page:
    import torch

    from recon.app import camera_paths, pictures, video
    from recon.viewer.page import Page, Paint

    others["write_video"] = video.write_mp4
    paint = Paint(pictures.channel_image, lambda error: pictures.coloured(error, pictures._HEAT))
    if not views:
        assert start is not None
        assert up is not None
        return Page(title, paint, start, torch.zeros(3, dtype=torch.float64), up, (), **others)
    cameras = [v.camera for v in views]
    stage = camera_paths.stage(cameras)
    start = start or camera_paths.orbit(cameras, 1)[0]
    return Page(title, paint, start, stage.centre, stage.up, tuple(views), **others)


def open_viewer(session: Session, page: Page, host: str, port: int, report: Reporter) -> Viewer:
    """Starts the page and says where it is."""
    from recon.viewer.server import Viewer

    viewer = Viewer(session, page, host, port)
    report.line("View", viewer.url)
    if not viewer.local:
        report.warn(f"the page listens on {host}: whoever has this address, token included, sees the scene and can "
                    "stop the fit; the connection is not encrypted")
    return viewer


def follow_with_view(job: FitJob, host: str, port: int, share: float) -> Finished:
    """``fitting.follow`` with a page. At the end the page stays for as long as a browser is open on it."""
    from recon.app.fitting import follow
    from recon.fit.session import Session

    session = Session.of_fit(job.fit, job.events, share)
    viewer = open_viewer(session, page_of_job(job), host, port, job.reporter)
    try:
        session.start()
        finished = follow(job, session.events())
        if viewer.watchers and not job.stopped:
            job.reporter.line("View", "The page stays until it is closed; Ctrl-C ends it too.")
            try:
                viewer.wait_until_alone()
            except KeyboardInterrupt:
                print(file=sys.stderr)
        return finished
    finally:
        viewer.close()
        if session.error is None:
            session.close()


def is_scene(path: Path) -> bool:
    """Whether ``path`` is photos rather than a run or a splat file."""
    from recon.app import run_folder
    from recon.export import splat_suffixes

    return path.exists() and not run_folder.is_run(path) and path.suffix.lower() not in splat_suffixes("read")


def open_source(path: Path, report: Reporter) -> tuple[Session, Page]:
    """What `recon view` shows: a run, a splat file, or a scene as it would be before the first step of a fit."""
    from recon.app import api
    from recon.fit.session import Session, Showable

    if is_scene(path):
        return _open_scene(path, report)
    run = api.load(path)
    page = page_of_run(run)
    for note in page.notes:
        report.warn(note)
    report.line("Scene", f"{len(run.gaussians):,} Gaussians")
    return Session(Showable(run.field, run.renderer, run.background)), page


def _open_scene(path: Path, report: Reporter) -> tuple[Session, Page]:
    """Photos and points of a scene: the points are drawn as the Gaussians a fit would start with."""
    import torch

    from recon.app import catalogue, machine
    from recon.app.fitting import at_working_size, read_scene, scene_words, working_size
    from recon.fit.session import Session, Showable

    runs = Path("runs")
    found = read_scene(str(path), None, None, None, runs, report)
    small = at_working_size(found, working_size(found, None, machine.cores()), machine.default_memory(), runs, report)
    report.line("Scene", scene_words(found, small, 0))
    system = catalogue.load(catalogue.DEFAULT_METHOD, catalogue.DEFAULT_PRESET)
    field = system.field.build()
    field.initialise(small, 0)
    page = _page(small.name or "scene", small.views, summary="What a fit starts from.",
                 world_from_source=small.world_from_source, notes=small.warnings,
                 command=f"recon fit {shlex.quote(str(path))}")
    return Session(Showable(field, system.renderer, torch.full((3,), 1.0 if small.has_alpha else 0.0))), page


def sleep() -> None:
    """Until Ctrl-C."""
    import threading

    forever = threading.Event()
    while not forever.wait(3600):
        pass
