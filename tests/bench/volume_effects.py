"""What S3IM, TILTED and PyNeRF change, on and off, everything else equal: python tests/bench/volume_effects.py SCENE

SCENE is a folder that `recon fit` reads; the cases of few views are made for cut-out photos (NeRF's lego). Small
pictures, few steps, preset fast; some of the held-out views. Prints PSNR and SSIM of every fit and the mean difference
over seeds.
"""

from __future__ import annotations

import argparse
import math
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

import recon.data as data
from recon.app import catalogue
from recon.fit.evaluate import compare
from recon.fit.loop import Fit
from recon.fit.plan import with_steps
from recon.fit.system import System
from recon.losses.s3im import S3im
from recon.types import Camera, Capture, Photo, Similarity, View
from recon.types.capture import PhotoSource

SCALES = (1, 2, 4, 8)
FEW = 8  # views of the hard case
LIGHT = 0.2  # of its colours


@dataclass(frozen=True)
class Case:
    """Two systems on one capture; scores are compared by groups of test views."""

    name: str
    capture: Capture
    off: System
    on: System
    group: Callable[[View], str] = lambda view: "all"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scene", type=Path)
    parser.add_argument("--size", type=int, default=100, help="pixels of a photo's longer side")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--every", type=int, default=5, help="compare every so many-th held-out view")
    parser.add_argument("--only", default="", help="cases whose name has a match of this pattern")
    args = parser.parse_args()
    torch.set_num_threads(1)
    capture = data.prepare(data.read(args.scene), size=(args.size, args.size), memory=1 << 30, cache_dir=None)
    tests = {v.name for v in capture.test[:: args.every]}
    capture = replace(capture, views=tuple(v for v in capture.views if v.split == "train" or v.name in tests))
    for case in cases(capture, args.steps):
        if re.search(args.only, case.name):
            measure(case, args.seeds)


def cases(capture: Capture, steps: int) -> Iterator[Case]:
    def fast(method: str) -> System:
        return with_steps(catalogue.load(method, "fast"), steps)

    for method in ("dvgo", "tensorf"):
        off = fast(method)
        on = replace(off, losses={**off.losses, "s3im": S3im()})
        yield Case(f"s3im {method}", capture, off, on)
        yield Case(f"s3im {method}, {FEW} views", fewer(capture), off, on)
        yield Case(f"s3im {method}, {FEW} dark views", darkened(fewer(capture)), off, on)
    yield Case("tilted, as it is", capture, fast("tensorf"), fast("tilted_tensorf"))
    yield Case("tilted, turned", turned(capture), fast("tensorf"), fast("tilted_tensorf"))
    yield Case("pynerf, four scales", scaled(capture), fast("dvgo"), fast("pynerf_dvgo"),
               lambda view: view.name.rpartition(" ")[2])


def fewer(capture: Capture) -> Capture:
    """``FEW`` of the views that are fitted, spread over all of them."""
    every = len(capture.train) / FEW
    kept = {capture.train[int(i * every)].name for i in range(FEW)}
    return replace(capture, views=tuple(v for v in capture.views if v.split == "test" or v.name in kept))


@dataclass(frozen=True)
class Dark:
    """A PhotoSource: what ``source`` shows, in little light."""

    source: PhotoSource

    def read(self, camera: Camera) -> Photo:
        photo = self.source.read(camera)
        return replace(photo, rgb=(photo.rgb * LIGHT).to(torch.uint8))


def darkened(capture: Capture) -> Capture:
    return replace(capture, views=tuple(replace(v, source=Dark(v.source)) for v in capture.views))


def turned(capture: Capture) -> Capture:
    """The scene turned by 35 degrees about (1, 2, 3), so that nothing in it follows an axis."""
    x, y, z = (v / math.sqrt(14) for v in (1.0, 2.0, 3.0))
    cross = torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=torch.float64)
    angle = torch.tensor(math.radians(35), dtype=torch.float64)
    rotation: Tensor = torch.eye(3, dtype=torch.float64) + angle.sin() * cross + (1 - angle.cos()) * cross @ cross
    return capture.moved(Similarity(rotation=rotation))


def scaled(capture: Capture) -> Capture:
    """Every view at four sizes, each half of the last (Barron et al., "Mip-NeRF", ICCV 2021)."""
    views = []
    for view in capture.views:
        for scale in SCALES:
            w, h = (max(round(n / scale), 4) for n in view.camera.size)
            views.append(replace(view, name=f"{view.name} 1/{scale}", camera=view.camera.scaled(w, h)))
    return replace(capture, views=tuple(views))


def measure(case: Case, seeds: list[int]) -> None:
    gains: dict[str, list[float]] = {}
    for seed in seeds:
        results = []
        for label, system in (("off", case.off), ("on", case.on)):
            fit, begin = Fit(case.capture, system, seed=seed), time.process_time()
            while fit.step < system.steps:
                fit.advance()
            seconds = time.process_time() - begin
            scores: dict[str, list[tuple[float, float]]] = {}
            for view, result in zip(case.capture.test, compare(fit.field, system, case.capture, case.capture.test)):
                scores.setdefault(case.group(view), []).append((result.psnr, result.ssim))
            means = {g: torch.tensor(s, dtype=torch.float64).mean(0).tolist() for g, s in scores.items()}
            results.append(means)
            shown = "; ".join(f"{g} {p:.2f} dB {s:.4f}" for g, (p, s) in means.items())
            print(f"{case.name}, seed {seed}, {label}: {shown}; {seconds:.0f} processor seconds", flush=True)
        for g in results[0]:
            gains.setdefault(g, []).append(results[1][g][0] - results[0][g][0])
    shown = "; ".join(f"{g} {sum(d) / len(d):+.2f} dB ({min(d):+.2f} to {max(d):+.2f})" for g, d in gains.items())
    print(f"{case.name}: {shown}\n", flush=True)


if __name__ == "__main__":
    main()
