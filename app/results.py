"""What is written when a fit ends: scene.ply, metrics.json, compare/."""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recon.app import atomic, pictures
from recon.app.run_folder import RunFolder

if TYPE_CHECKING:
    from recon.app.fitting import FitJob
    from recon.fit.events import Evaluated, Finished
    from recon.fit.system import System
    from recon.types import Capture


def write(folder: RunFolder, job: FitJob, finished: Finished, evaluated: Evaluated | None) -> None:
    """Scene first (the thing that must not be lost), then numbers, then pictures; after a stop no pictures."""
    from recon.protocols import Splats

    field = job.fit.field
    sh_degree = None
    if isinstance(field, Splats):
        gaussians = field.gaussians()
        sh_degree = gaussians.sh_degree
        write_scene(folder, job)
    poses = job.fit.problem.poses
    capture = job.fit.posed_capture()
    if poses is not None:
        folder.write_cameras(capture)
        job.reporter.line("Poses", poses.words())
    found = metrics(finished, evaluated, sh_degree) | ({} if poses is None else {"poses": poses.summary()})
    folder.write_metrics(found)
    if poses is not None and capture.test and not job.stopped:
        own = own_pose_scores(job, capture)
        folder.write_metrics(found | {"own_pose": own})
        job.reporter.line("Held out", f"each camera refined on its own photo: PSNR {own['psnr']:.1f} · "
                                      f"SSIM {own['ssim']:.2f}")
    if not job.stopped:
        compare(folder.compare, capture, field, job.system, evaluated.views if evaluated else {},
                keep_going=lambda: not job.stopped)


def own_pose_scores(job: FitJob, capture: Capture) -> dict[str, Any]:
    """Quality at held-out cameras that were refined on their own photos: the scene's, whatever frame it stands in."""
    from recon.fit import evaluate
    from recon.fit.own_poses import on_own_photos

    refined = tuple(on_own_photos(job.fit.field, job.system, capture, capture.test))
    views = {v.name: v.scores for v in evaluate.compare(job.fit.field, job.system, capture, refined)}
    return evaluate.mean(views) | {"views": views}


def write_scene(folder: RunFolder, job: FitJob) -> None:
    """scene.ply in the coordinates of the source."""
    from recon.export import write_splats

    source_from_world = job.capture.world_from_source.inverse()
    with atomic.replacing(folder.scene) as temporary:
        write_splats(temporary, job.fit.field.gaussians().transformed(source_from_world))


def metrics(finished: Finished, evaluated: Evaluated | None, sh_degree: int | None) -> dict[str, Any]:
    """Contents of metrics.json."""
    from recon.fit.evaluate import mean

    out: dict[str, Any] = {}
    if evaluated is not None:
        out |= {"split": evaluated.split, "psnr": evaluated.psnr, "ssim": evaluated.ssim}
        out |= mean(evaluated.views) | {"views": evaluated.views, "evaluated_at_step": evaluated.step}
    out |= {
        "seconds": round(finished.seconds, 3), "steps": finished.step, "primitives": finished.num_primitives,
        "sh_degree": sh_degree, "peak_memory_bytes": finished.peak_memory_bytes, "stopped": finished.stopped,
    }
    return _finite(out)


def _finite(value: Any) -> Any:
    """JSON has no infinity: a perfect PSNR becomes 100 dB, NaN becomes null."""
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, float):
        return None if value != value else min(max(value, -1e9), 100.0 if value == float("inf") else 1e12)
    return value


def compare(folder: Path, capture: Capture, field: Any, system: System, scores: dict[str, dict[str, float]],
            keep_going: Callable[[], bool] = lambda: True) -> None:
    """Writes photo | render | error for each held-out view, worst first; without held-out views, for up to 8 others.

    ``scores`` say what is worst. The folder is replaced as a whole, or not at all when ``keep_going`` turns false.
    """
    from recon.fit import evaluate

    views = list(capture.test) or list(capture.train[:8])
    views.sort(key=lambda v: scores.get(v.name, {}).get("psnr", math.inf))
    fresh = folder.with_name(".compare-new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    for rank, found in enumerate(evaluate.compare(field, system, capture, views), 1):
        if not keep_going():
            shutil.rmtree(fresh, ignore_errors=True)
            return
        name = re.sub(r"[^\w.-]+", "_", Path(found.name).with_suffix("").as_posix())[-80:]
        pixels = pictures.comparison(found.photo, found.render)
        pictures.write_image(fresh / f"{rank:02d}_psnr{found.psnr:05.2f}_{name}.jpg", pixels)
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)
