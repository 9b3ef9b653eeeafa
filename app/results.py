"""What is written when a fit ends: scene.ply, metrics.json, compare/."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recon.app import atomic, pictures
from recon.app.run_folder import RunFolder

if TYPE_CHECKING:
    from recon.app.fitting import FitJob
    from recon.fit.events import Evaluated, Finished
    from recon.fit.system import System
    from recon.types import Capture, View


def write(folder: RunFolder, job: FitJob, finished: Finished, evaluated: Evaluated | None) -> None:
    """Scene first (the thing that must not be lost), then numbers, then pictures; after a stop no pictures."""
    from recon.protocols import Splats

    field = job.fit.field
    sh_degree = None
    if isinstance(field, Splats):
        gaussians = field.gaussians()
        sh_degree = gaussians.sh_degree
        write_scene(folder, job)
    folder.write_metrics(metrics(finished, evaluated, sh_degree))
    if not job.stopped:
        compare(folder.compare, job.capture, field, job.system, evaluated.views if evaluated else {},
                keep_going=lambda: not job.stopped)


def write_scene(folder: RunFolder, job: FitJob) -> None:
    """scene.ply in the coordinates of the source."""
    from recon.export import write_splats

    source_from_world = job.capture.world_from_source.inverse()
    with atomic.replacing(folder.scene) as temporary:
        write_splats(temporary, job.fit.field.gaussians().transformed(source_from_world))


def metrics(finished: Finished, evaluated: Evaluated | None, sh_degree: int | None) -> dict[str, Any]:
    """Contents of metrics.json."""
    out: dict[str, Any] = {}
    if evaluated is not None:
        out |= {"split": evaluated.split, "psnr": evaluated.psnr, "ssim": evaluated.ssim}
        shared = set.intersection(*(set(v) for v in evaluated.views.values())) if evaluated.views else set()
        for name in sorted(shared - {"psnr", "ssim"}):
            out[name] = sum(v[name] for v in evaluated.views.values()) / len(evaluated.views)
        out |= {"views": evaluated.views, "evaluated_at_step": evaluated.step}
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
            keep_going: Any = lambda: True) -> None:
    """Writes photo | render | error for each held-out view, worst first; without held-out views, for 8 others."""
    views = list(capture.test) or list(capture.train[:: max(1, len(capture.train) // 8)])[:8]
    views.sort(key=lambda v: scores.get(v.name, {}).get("psnr", float("inf")))
    fresh = folder.with_name(".compare-new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    for rank, view in enumerate(views, 1):
        if not keep_going():
            shutil.rmtree(fresh, ignore_errors=True)
            return
        pixels = side_by_side(view, field, capture, system)
        psnr = scores.get(view.name, {}).get("psnr")
        score = f"_psnr{psnr:05.2f}" if psnr is not None else ""
        name = re.sub(r"[^\w.-]+", "_", Path(view.name).with_suffix("").as_posix())[-80:]
        pictures.write_image(fresh / f"{rank:02d}{score}_{name}.jpg", pixels)
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)


def side_by_side(view: View, field: Any, capture: Capture, system: System) -> Any:
    """[height, 3 width + gaps, 3] uint8: the photo over the evaluation background, the render, the error."""
    from recon.fit import evaluate

    background = evaluate.background(capture, system)
    photo = view.photo()
    target, mask = evaluate.targets(photo, background), photo.mask
    shown = system.renderer.render(field, view.camera, background=background).rgb.detach().clamp(0, 1)
    return pictures.comparison(target.permute(1, 2, 0), shown, mask)
