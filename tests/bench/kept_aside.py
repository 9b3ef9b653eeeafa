"""What each idea of a preset gives: python tests/bench/kept_aside.py SCENE --size 180x320 --without resolution rates

Fits the preset as it is and without one idea at a time, everything else equal. Every 8th *training* view, from the
fourth, is kept aside and measured on; held-out views take no part. One process, one thread. Prints PSNR, SSIM,
Gaussians and processor seconds of every fit.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

import recon.data as data
from recon.app import catalogue, machine
from recon.configs import gaussians
from recon.fields.parts import initial_points
from recon.fields.parts.swept_points import with_swept_points
from recon.fit.loop import Fit
from recon.fit.photos import uses_mask
from recon.fit.plan import with_steps, with_visits
from recon.fit.system import Dropout, Resolution, System
from recon.ops.knn import nearest_squared
from recon.strategies.sh_degree import RaiseShDegree
from recon.types import Capture

PAPER: Any = gaussians.PAPER.strategies["densify"]


@dataclass(frozen=True)
class Without:
    """How an idea is taken away: another system, or other values of names in modules while it is fitted."""

    system: Callable[[System], System] = lambda s: s
    patched: Mapping[str, Any] = field(default_factory=dict)


def changed(name: str, **settings: Any) -> Callable[[System], System]:
    """Other settings of one strategy."""
    return lambda s: replace(s, strategies={**s.strategies, name: replace(s.strategies[name], **settings)})


def in_a_cube(capture: Capture, distance: float, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Random points as in the reference code: even in a cube around the focus, grey."""
    focus, _ = initial_points.focus_of(capture)
    at = torch.rand(count, 3, generator=generator, dtype=torch.float64) * 2 - 1
    return (focus + at * distance).float(), torch.full((count, 3), 0.5)


def nothing(*_: Any) -> tuple[Tensor, Tensor]:
    return torch.empty(0, 3), torch.empty(0, 3)


def spacing(points: Tensor) -> Tensor:
    return nearest_squared(points, 3).mean(1).sqrt()


def in_steps(s: System, steps: int) -> System:
    """As many rounds as before, closer to each other or farther apart."""
    if steps > s.steps and "densify" in s.strategies:
        every = round(s.strategies["densify"].every * steps / s.steps)
        return replace(changed("densify", every=every)(s), steps=steps)
    return with_steps(s, steps)


def slower(s: System) -> System:
    """The paper's rates; with MCMC also its noise, which counts in rates of the means."""
    s = replace(s, optimizer=gaussians.PAPER.optimizer)
    return changed("mcmc", noise=5e5)(s) if "mcmc" in s.strategies else s


IDEAS = {
    "nothing": Without(),
    "rates": Without(slower),
    "doubled": Without(lambda s: replace(s, optimizer=gaussians.PRESETS["balanced"].optimizer)),
    "resolution": Without(lambda s: replace(s, resolution=Resolution())),
    "harmonics": Without(lambda s: replace(s, strategies={**s.strategies, "sh_degree": RaiseShDegree()})),
    "rounds": Without(changed("densify", begin=PAPER.begin, until=PAPER.until)),
    "interval": Without(changed("densify", every=PAPER.every)),
    "no resets": Without(changed("densify", reset_every=PAPER.reset_every)),
    "budget": Without(changed("densify", budget=0)),
    "dropout": Without(lambda s: replace(s, dropout=Dropout())),
    "no plateau": Without(patched={"recon.renderers.splat._ALPHA_MAX": 1e9}),
    "visits": Without(lambda s: replace(s, visits=0)),
    "mean": Without(lambda s: replace(s, strategies={n: t for n, t in s.strategies.items() if n != "average"})),
    "far points": Without(patched={"recon.fields.parts.initial_points._behind": nothing}),
    "hull": Without(patched={"recon.fields.parts.initial_points.visual_hull": nothing}),
    "in front": Without(patched={"recon.fields.parts.initial_points._in_front_of_cameras": in_a_cube}),
    "sweeps": Without(patched={"recon.fields.parts.swept_points._FEWEST_VIEWS": 1_000_000}),
    "bounded size": Without(patched={"recon.fields.gaussians._spacing": spacing}),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scene", type=Path)
    parser.add_argument("--size", default="200x200")
    parser.add_argument("--method", default="gaussians")
    parser.add_argument("--preset", default="fast")
    parser.add_argument("--steps", type=int, help="in place of the preset's")
    parser.add_argument("--masks", default="auto")
    parser.add_argument("--photos", type=int, help="fit so many, spread over all")
    parser.add_argument("--no-points", action="store_true", help="as if the capture had none")
    parser.add_argument("--without", nargs="+", default=["nothing"], choices=IDEAS)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    machine.use_threads(1)
    width, height = (int(n) for n in args.size.split("x"))
    capture = data.prepare(data.read(args.scene), size=(width, height), memory=1 << 30, cache_dir=None)
    capture = aside(capture, args.photos)
    if args.no_points:
        capture = replace(capture, points=None)
    base = replace(catalogue.load(args.method, args.preset), masks=args.masks)
    base = in_steps(base, args.steps) if args.steps else base
    for name in args.without:
        idea = IDEAS[name]
        system = with_visits(idea.system(base), len(capture.train))
        with ExitStack() as stack:
            for target, value in idea.patched.items():
                stack.enter_context(patch(target, value))
            begin = time.process_time()
            fit = Fit(with_swept_points(capture, uses_mask(capture, system)), system, seed=args.seed)
            while fit.step < system.steps:
                fit.advance()
        seconds, scores = time.process_time() - begin, fit.evaluate()
        print(f"{args.scene.name} {args.size} {args.method} {args.preset}, {system.steps} steps, "
              f"{len(capture.train)} photos, seed {args.seed}, without {name}: {scores.psnr:.2f} dB {scores.ssim:.4f}, "
              f"{fit.field.num_primitives} Gaussians, {seconds:.0f} s", flush=True)


def aside(capture: Capture, photos: int | None) -> Capture:
    """The training views: every 8th to be measured on, of the others ``photos`` or all to be fitted."""
    held = {v.name for v in capture.train[3::8]}
    left = [v.name for v in capture.train if v.name not in held]
    count = min(photos or len(left), len(left))
    fitted = {left[int((i + 0.5) * len(left) / count)] for i in range(count)}
    return replace(capture, views=tuple(replace(v, split="test" if v.name in held else "train")
                                        for v in capture.train if v.name in held | fitted))


if __name__ == "__main__":
    main()
