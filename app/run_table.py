"""Finished fits side by side: what they reached, what they took, and how their quality grew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recon.app import run_folder
from recon.app.curves import Panel
from recon.errors import InputError


@dataclass(frozen=True)
class Row:
    """One run. ``curve``: (seconds, PSNR) of every evaluation; ``split``: the views that PSNR and SSIM are of."""

    run: str
    scene: str
    method: str
    preset: str
    seed: int
    size: tuple[int, int]
    steps: int
    seconds: float
    psnr: float
    ssim: float
    split: str
    primitives: int
    peak_memory_bytes: int
    curve: tuple[tuple[float, float], ...]


def read(path: str | Path) -> Row:
    """Raises InputError where ``path`` is no run or has no measurement yet."""
    folder = run_folder.open_run(Path(path))
    config, metrics = folder.config(), folder.metrics()
    if metrics.get("psnr") is None:
        raise InputError("has not been measured", file=folder.path,
                         fix=f"Let it finish (recon fit --resume {folder.path}) or run: recon eval {folder.path}")
    scene, fit = config.get("scene") or {}, config.get("fit") or {}
    curve = _curve([e for e in folder.log() if e.get("event") == "evaluated"])
    width, height = scene.get("size") or (0, 0)
    return Row(
        run=str(path), scene=Path(str(scene.get("path", "?"))).name, method=str(fit.get("method", "?")),
        preset=str(fit.get("preset", "?")), seed=int(fit.get("seed") or 0), size=(int(width), int(height)),
        steps=int(metrics.get("steps") or 0), seconds=float(metrics.get("seconds") or 0.0),
        psnr=float(metrics["psnr"]), ssim=float(metrics.get("ssim") or 0.0), split=str(metrics.get("split", "test")),
        primitives=int(metrics.get("primitives") or 0),
        peak_memory_bytes=int(metrics.get("peak_memory_bytes") or 0), curve=tuple(curve))


def _curve(measured: Sequence[dict[str, Any]]) -> list[tuple[float, float]]:
    """(seconds, mean PSNR) of the views that each measurement has: on its way a fit measures a few, at its end all."""
    views = [set(e.get("views") or ()) for e in measured]
    common = sorted(set.intersection(*views)) if views else []
    if not common:
        return [(float(e["seconds"]), float(e["psnr"])) for e in measured]
    return [(float(e["seconds"]), sum(float(e["views"][v]["psnr"]) for v in common) / len(common)) for e in measured]


_HEAD = ("scene", "size", "method", "preset", "seed", "steps", "minutes", "PSNR", "SSIM", "primitives", "memory GB")


def table(rows: Sequence[Row]) -> str:
    """As Markdown."""
    cells = [_HEAD, ("---",) * len(_HEAD)]
    for r in rows:
        psnr = f"{r.psnr:.2f}" + ("" if r.split == "test" else " (training views)")
        size = f"{r.size[0]}x{r.size[1]}" if r.size[0] else "by photo"
        cells.append((r.scene, size, r.method, r.preset, str(r.seed), f"{r.steps:,}", f"{r.seconds / 60:.2f}", psnr,
                      f"{r.ssim:.3f}", f"{r.primitives:,}", f"{r.peak_memory_bytes / 1e9:.2f}"))
    return "\n".join("| " + " | ".join(row) + " |" for row in cells)


def panels(rows: Sequence[Row]) -> list[Panel]:
    """PSNR over minutes, one panel a scene, one line a run."""
    found: list[Panel] = []
    for scene in dict.fromkeys(r.scene for r in rows):
        here = [r for r in rows if r.scene == scene and r.curve]
        short = [f"{r.method} {r.preset} {r.size[0]}x{r.size[1]}" for r in here]
        names = [n if short.count(n) == 1 else Path(r.run).name for n, r in zip(short, here, strict=True)]
        lines: dict[str, Sequence[tuple[float, float]]] = {
            n: [(s / 60, p) for s, p in r.curve] for n, r in zip(names, here, strict=True)}
        if lines:
            found.append(Panel(scene, "minutes", "PSNR of held-out views, dB", lines))
    return found
