"""A scene as a fit uses it: read, posed and scaled, with progress shown, and words for what it is."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recon.app import machine, run_folder, sizes
from recon.app.reporters import QuietReporter, Reporter
from recon.errors import InputError

if TYPE_CHECKING:
    from recon.fit.system import System
    from recon.types import Capture

PHOTO_SHARE = 0.4  # of the memory budget, for decoded photos; the rest is for torch, the scene and its gradients


def _work_dir(scene: Path, runs: Path) -> Path:
    """Where what is expensive to make is kept, beside the runs: poses, video frames, scaled photos."""
    key = hashlib.sha256(str(scene).encode()).hexdigest()[:8]
    return runs / ".cache" / f"{scene.name or 'scene'}-{key}"


def read_scene(scene: str, format: str | None, holdout: int | None, poses: str | None, runs: Path, report: Reporter
               ) -> Capture:
    """``recon.data.read`` with progress shown."""
    import recon.data as data

    path = Path(scene).expanduser().absolute()
    if run_folder.is_run(path) or format == "run":
        from recon.app import distilled

        return distilled.capture_of(path)
    if format is None and path.is_file():
        from recon.app import mesh_capture

        if mesh_capture.is_surface(path):
            return mesh_capture.capture_of(path, 8 if holdout is None else holdout)
    return data.read(path, format=format, holdout=8 if holdout is None else holdout,
                     poses=None if poses in (None, "auto") else poses, progress=_progress(report),
                     work_dir=_work_dir(path, runs))


def with_adjusted_poses(found: Capture, runs: Path, report: Reporter) -> Capture:
    """The capture with given poses adjusted to feature tracks; as it was where that cannot be done."""
    if found.format in ("photos", "video", "run"):  # such poses come from features, or are exact
        return found
    from recon.data.parts.context import Context
    from recon.data.parts.tracks import adjusted

    try:
        return adjusted(found, Context(progress=_progress(report), work_dir=_work_dir(found.root.absolute(), runs)))
    except InputError as error:
        report.warn(f"Poses are refined against pixels alone: {error.what}")
        return found


def at_working_size(found: Capture, size: tuple[int, int], memory: int, runs: Path, report: Reporter) -> Capture:
    """``recon.data.prepare`` with its share of the memory budget."""
    import recon.data as data

    kept = None if run_folder.is_run(found.root) else _work_dir(found.root.absolute(), runs) / "pixels"
    return data.prepare(found, size=size, memory=int(PHOTO_SHARE * memory), progress=_progress(report), cache_dir=kept)


def with_points(small: Capture, system: System, report: Reporter) -> Capture:
    """The capture with points found in its photos, where it came without and has nothing better to start from, or where
    the system is for surfaces."""
    if small.format == "run" or small.surface is not None:
        return small
    from recon.fields.parts.swept_points import with_swept_points
    from recon.fit.photos import uses_mask

    surface = any(loss.weight and getattr(loss, "dense", False) for loss in system.losses.values())
    return with_swept_points(small, uses_mask(small, system), surface=surface, progress=_progress(report))


def with_start(capture: Capture, path: str | None) -> Capture:
    """The capture with a mesh to begin from, read from a file in the coordinates of its source."""
    if path is None:
        return capture
    import torch

    from recon.export import read_mesh

    mesh = read_mesh(Path(path).expanduser())
    if not len(mesh) or not bool(torch.isfinite(mesh.vertices).all()):
        raise InputError("holds no surface", file=path, fix="Check that it is a mesh.")
    return dataclasses.replace(capture, start=mesh.transformed(capture.world_from_source))


def read_again(config: dict[str, Any], runs: Path, moved_to: str | None = None) -> Capture:
    """The capture of a run as it was fitted, read from its photos (``moved_to``: where they are now)."""
    scene, fit = config["scene"], config.get("fit") or {}
    path = moved_to or scene["path"]
    if not Path(path).expanduser().exists():
        raise InputError("the photos of this run are not there any more", file=path,
                         fix="Say where they are: --scene PATH")
    report = QuietReporter()
    found = read_scene(path, scene.get("format"), scene.get("holdout"), scene.get("poses"), runs, report)
    memory = fit.get("memory_bytes") or machine.default_memory()
    return at_working_size(found, tuple(scene["size"]), memory, runs, report)


def _progress(report: Reporter) -> Callable[[str, int, int], None]:
    """Steps of reading under the label they belong to: finding poses takes minutes, the rest seconds."""

    def say(stage: str, done: int, total: int) -> None:
        label = "Poses" if stage.startswith(("Finding", "Matching", "Placing", "Adjusting")) else "Photos"
        report.step(label, stage, done / total if total else None)

    return say


def working_size(capture: Capture, resolution: str | None, cores: int) -> tuple[int, int]:
    """(width, height) of the box that photos are scaled down into, from what the user or the machine says.

    The box has the shape of the usual photo; photos of other shapes are fitted into it by ``recon.data.prepare``.
    """
    widths = [v.camera.width for v in capture.views]
    heights = [v.camera.height for v in capture.views]
    width, height = round(statistics.median(widths)), round(statistics.median(heights))
    wanted = sizes.parse_resolution(resolution or "auto")
    if isinstance(wanted, tuple):
        return sizes.fitted(width, height, wanted)
    factor = sizes.auto_factor(width, height, cores) if wanted is None else wanted
    if wanted is None:
        whole = 1 / math.ceil(1 / factor - 1e-9)  # a whole divisor keeps pixels sharp, if it does not lose too much
        factor = whole if whole > 0.8 * factor else factor
    return max(16, round(width * factor)), max(16, round(height * factor))


def scene_words(found: Capture, small: Capture, cores: int) -> str:
    """What is fitted; ``cores`` when they decided the size, else 0.

    "49 views 1080x1920 → 540x960 for this machine (2 cores); 12,310 points".
    """
    before = [v.camera.size for v in found.views]
    after = [v.camera.size for v in small.views]
    usual_before, usual_after = max(set(before), key=before.count), max(set(after), key=after.count)
    text = f"{len(after)} views {usual_before[0]}x{usual_before[1]}"
    if len(set(before)) > 1:
        text += " (sizes differ)"
    if usual_after != usual_before:
        text += f" → {usual_after[0]}x{usual_after[1]}"
        text += f" for this machine ({cores} core{'s' if cores > 1 else ''})" if cores else ""
    points = f"{len(small.points):,} points" if small.points is not None and len(small.points) else "no points"
    added = len(small.points or ()) - len(found.points or ())
    points += f", {added:,} of them found in the photos" if added else ""
    return f"{text}; {points}"


def split_words(capture: Capture) -> str:
    held_out = len(capture.test)
    return f"; {held_out} held out for measuring" if held_out else "; none held out"
