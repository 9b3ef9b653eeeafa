"""Volumes beside Gaussians at equal processor time: python tests/bench/volume_table.py SCENE --size 135 240

Every method has the same preset, with steps cut so that they take about as many processor seconds as all steps of the
first one, or ``--seconds`` (by two rehearsals, the second a fifth as long; what the fit took is printed). One process,
one thread, one method after the other, every 8th photo held out. Writes a picture photo | render | error of one
held-out view per method.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import torch

import recon.data as data
from recon.app import catalogue, machine, pictures
from recon.fit import checkpoint
from recon.fit.evaluate import compare
from recon.fit.loop import Fit
from recon.fit.plan import with_steps
from recon.fit.system import System
from recon.types import Capture

METHODS = ("gaussians", "dvgo", "tensorf", "strivec", "ngp", "rbf_dvgo", "tilted_tensorf", "pynerf_dvgo")
REHEARSED = 40  # steps of a first rehearsal
SHARE = 1 / 5  # of the fit: the second one, at least


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scene", type=Path)
    parser.add_argument("--size", type=int, nargs=2, default=(135, 240))
    parser.add_argument("--seconds", type=float, help="of the processor; left out: as many as the first method takes")
    parser.add_argument("--preset", default="fast")
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--out", type=Path, help="folder for pictures")
    args = parser.parse_args()
    machine.use_threads(1)
    capture = data.prepare(data.read(args.scene), size=tuple(args.size), memory=1 << 30, cache_dir=None)
    print("| method | steps | processor s | PSNR | SSIM | parameters | checkpoint | frame |")
    print("|---" * 8 + "|", flush=True)
    seconds = args.seconds
    for method in args.methods:
        system = catalogue.load(method, args.preset)
        if seconds is not None:
            system = with_steps(system, steps_for(capture, system, seconds))
        took = row(method, capture, system, args.out)
        seconds = seconds or took


def steps_for(capture: Capture, system: System, seconds: float) -> int:
    """How many steps take so many processor seconds.

    A fit of n steps takes a + b n: its first steps are slow, because all is fog and nobody knows how many rays are too
    many. a and b follow from two rehearsals.
    """
    few = REHEARSED
    short = rehearsed(capture, system, few)
    many = max(int(SHARE * seconds / short * few), 2 * few)
    step = max((rehearsed(capture, system, many) - short) / (many - few), 1e-4)
    return min(max(int((seconds - short) / step) + few, 50), 30_000)


def rehearsed(capture: Capture, system: System, steps: int) -> float:
    """Processor seconds of a whole fit of so many steps."""
    begin = time.process_time()
    fit = Fit(capture, with_steps(system, steps))
    while fit.step < steps:
        fit.advance()
    return time.process_time() - begin


def row(method: str, capture: Capture, system: System, out: Path | None) -> float:
    """Fits and prints a line of the table. Returns the processor seconds of the fit."""
    begin = time.process_time()
    fit = Fit(capture, system)
    while fit.step < system.steps:
        fit.advance()
    took = time.process_time() - begin
    results, begin = list(compare(fit.field, system, capture, capture.test)), time.process_time()
    for view in capture.test[:2]:
        system.renderer.render(fit.field, view.camera, background=torch.zeros(3), want=("rgb",))
    frame = (time.process_time() - begin) / 2
    psnr, ssim = (sum(getattr(r, n) for r in results) / len(results) for n in ("psnr", "ssim"))
    numbers = sum(t.numel() for _, t in fit.field.params.items())
    with tempfile.TemporaryDirectory() as folder:
        saved = checkpoint.save(Path(folder), fit.step, fit.state(), {})
        size = sum(f.stat().st_size for f in (saved.rglob("*") if saved.is_dir() else [saved]) if f.is_file())
    print(f"| `{method}` | {system.steps:,} | {took:.0f} | {psnr:.2f} | {ssim:.3f} | {numbers / 1e6:.2f} million | "
          f"{size / 1e6:.0f} MB | {1000 * frame:.0f} ms |", flush=True)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        shown = results[len(results) // 2]
        pictures.write_image(out / f"{method}.png", pictures.comparison(shown.photo, shown.render))
    return took


if __name__ == "__main__":
    main()
