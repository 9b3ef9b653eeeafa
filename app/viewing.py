"""Fits, runs and files as pages of the viewer."""

from __future__ import annotations

import dataclasses
import shlex
import sys
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recon.app.reporters import Reporter
from recon.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from recon.app.api import Run
    from recon.app.fitting import FitJob
    from recon.app.run_folder import SavedCameras
    from recon.fit.events import Finished
    from recon.fit.session import Session
    from recon.fit.system import System
    from recon.types import Camera, Capture, Mesh, Photo, Render, Similarity, View
    from recon.viewer.page import Page, Paint
    from recon.viewer.server import Viewer


VIEWED_RESOLUTION = 192  # grid of a mesh that is made in the page; `recon mesh` makes finer ones


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
                 folder=job.folder.path, command=job.request.command, notes=capture.warnings,
                 schedule=schedule_of(job.system), **_meshing(capture))


def _meshing(capture: Capture | SavedCameras) -> dict[str, Any]:
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
                     summary=run.contents, notes=run.warnings,
                     world_from_source=run._world_from_source, command=f"recon view {shlex.quote(str(run.path))}")
    made = run.config.get("made") or {}
    notes = list(run.warnings)
    views = _views_of_run(run, notes)
    quality = f" · PSNR {run.metrics['psnr']:.1f}" if run.metrics.get("psnr") else ""
    return _page(run.path.name, views, summary=f"{run.contents}{quality}",
                 world_from_source=run.saved.world_from_source, folder=run.path,
                 command=str(made.get("command") or ""), notes=tuple(notes), **_meshing(run.saved))


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


def paint_of_pictures() -> Paint:
    """The colours of the program's own pictures."""
    from recon.app import pictures
    from recon.viewer.page import Paint

    return Paint(
        channel=pictures.channel_image,
        depth=lambda render, near_far, ramp: pictures.channel_image(render, "depth", near_far, pictures.RAMPS[ramp]),
        ramp=lambda values, ramp: pictures.coloured(values, pictures.RAMPS[ramp]),
        ramps=tuple(pictures.RAMPS), errors="heat")


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
    """Whether ``path`` is photos rather than a run, a splat file or a mesh."""
    from recon.app import run_folder
    from recon.export import mesh_suffixes, splat_suffixes

    known = splat_suffixes("read") + mesh_suffixes("read")
    return path.exists() and not run_folder.is_run(path) and path.suffix.lower() not in known


def is_mesh(path: Path) -> bool:
    """Whether ``path`` is a file of triangles (a .ply may also hold splats)."""
    from recon.export import mesh_suffixes, read_mesh, splat_suffixes

    suffix = path.suffix.lower()
    if not path.is_file() or suffix not in mesh_suffixes("read"):
        return False
    if suffix not in splat_suffixes("read"):
        return True
    try:
        read_mesh(path)
    except InputError:
        return False
    return True


def open_source(path: Path, report: Reporter) -> tuple[Session, Page]:
    """What `recon view` shows: a run, a splat file, a mesh, or a scene as it is before the first step of a fit."""
    from recon.app import api
    from recon.fit.session import Session, Showable

    if is_scene(path):
        return _open_scene(path, report)
    if is_mesh(path):
        return _open_mesh(path, report)
    run = api.load(path)
    page = page_of_run(run)
    for note in page.notes:
        report.warn(note)
    report.line("Scene", run.contents)
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


def _open_mesh(path: Path, report: Reporter) -> tuple[Session, Page]:
    """A mesh alone, before an even background; the browser draws it."""
    import torch

    from recon.app import camera_paths
    from recon.export import read_mesh
    from recon.fit.session import Session, Showable

    mesh = read_mesh(path)
    if mesh.normals is None:
        mesh = mesh.with_normals()
    words = f"{len(mesh):,} triangles"
    report.line("Mesh", words)
    up = torch.tensor([0.0, 1.0, 0.0] if path.suffix.lower() in (".glb", ".obj") else [0.0, 0.0, 1.0],
                      dtype=torch.float64)
    start = camera_paths.around_points(mesh.vertices, 1, up=up)[0]
    low, high = mesh.vertices.double().amin(0), mesh.vertices.double().amax(0)
    page = _page(path.stem, (), start=start, up=up, centre=(low + high) / 2, summary=words, mesh=mesh,
                 command=f"recon view {shlex.quote(str(path))}")
    return Session(Showable(None, Nothing(), torch.full((3,), 0.12))), page


class Nothing:
    """Draws the background alone."""

    def render(self, field: Any, camera: Camera, *, background: Tensor, want: Collection[str]) -> Render:
        import torch

        from recon.types import Render

        width, height = camera.size
        empty = torch.zeros(height, width)
        normal = torch.zeros(height, width, 3) if "normal" in want else None
        return Render(background.expand(height, width, 3), empty if "depth" in want else None, normal,
                      empty if "opacity" in want else None)


def sleep() -> None:
    """Until Ctrl-C."""
    import threading

    forever = threading.Event()
    while not forever.wait(3600):
        pass
