"""What `recon view` opens: a run, a splat file, a mesh, or a scene as it is before the first step of a fit."""

from __future__ import annotations

import shlex
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recon.app.pages import make_page, page_of_run
from recon.app.reporters import Reporter
from recon.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from recon.fit.session import Session
    from recon.types import Camera, Render
    from recon.viewer.page import Page


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


def _open_scene(path: Path, report: Reporter) -> tuple[Session, Page]:
    """Photos and points of a scene: the points are drawn as the Gaussians a fit would start with."""
    import torch

    from recon.app import catalogue, machine
    from recon.app.scenes import at_working_size, read_scene, scene_words, working_size
    from recon.fit.session import Session, Showable

    runs = Path("runs")
    found = read_scene(str(path), None, None, None, runs, report)
    small = at_working_size(found, working_size(found, None, machine.cores()), machine.default_memory(), runs, report)
    report.line("Scene", scene_words(found, small, 0))
    system = catalogue.load(catalogue.DEFAULT_METHOD, catalogue.DEFAULT_PRESET)
    field = system.field.build()
    field.initialise(small, 0)
    page = make_page(small.name or "scene", small.views, summary="What a fit starts from.",
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
    page = make_page(path.stem, (), start=start, up=up, centre=(low + high) / 2, summary=words, mesh=mesh,
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
