"""Races optimizers: each one finishes the same half-fitted field, and its quality is drawn over its costs.

All start from the same parameters, at the step where the structure has settled. Costs are processor seconds of the
fit on one thread, and photos looked at (drawn for a gradient or a value, or gone through by a product with the
curvature). Looking at held-out views is not counted, and no setting is chosen by them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch

from recon.fit.loop import Fit
from recon.fit.plan import with_steps
from recon.fit.system import System
from recon.types import Capture

MARKS = 10  # about so often an optimizer is measured
_MOST_LOOKS = 16  # held-out views, evenly chosen
_MEMORY = 1 << 30


@dataclass(frozen=True)
class Mark:
    """Costs so far, and the quality they bought: mean PSNR of held-out views in dB, mean loss of all fitted views."""

    seconds: float
    passes: int
    step: int
    psnr: float
    loss: float


@dataclass
class Curve:
    """One contender's way; the first mark is the common start."""

    name: str
    marks: list[Mark] = field(default_factory=list)
    # of second-order steps: accepted, products with the curvature, gain over predicted gain
    reports: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class Race:
    """Everything that was measured on one scene; ``seconds`` and ``steps`` are what the start had cost."""

    scene: str
    size: tuple[int, int]
    primitives: int
    seconds: float
    steps: int
    curves: list[Curve]


@dataclass(frozen=True)
class Verdict:
    """A contender against the reference's end: shares of its costs at which its quality was reached (None: never)."""

    name: str
    psnr: float
    loss: float
    seconds_to_loss: float | None
    seconds_to_psnr: float | None


def race(capture: Capture, base: System, finishes: Callable[[System], Mapping[str, System]], *, steps: int,
         handover: float, seed: int = 0, only: tuple[str, ...] = (),
         say: Callable[[str], None] = lambda _: None) -> Race:
    """Fits ``base`` for ``handover`` of ``steps``, then lets every system of ``finishes`` (base -> systems) go on.

    The first one is the reference: the others stop when they have used its seconds. ``only``: names beside it.
    """
    base = with_steps(base, steps)
    begin = round(steps * handover)
    fit = Fit(capture, base, seed=seed, memory=_MEMORY)
    before = time.process_time()
    for _ in range(begin):
        fit.advance()
    spent = time.process_time() - before
    result = Race(capture.name, capture.train[0].camera.size, fit.field.num_primitives, spent, begin, [])
    start = _copied(fit.state())
    say(f"{capture.name}: {begin} steps in {spent:.1f} s, {fit.field.num_primitives:,} primitives")
    first, limit = None, float("inf")
    for name, system in finishes(base).items():
        if first is not None and only and name not in only:
            continue
        curve = _run(name, capture, system, start, fit.optimizer, begin, seed, limit, first)
        result.curves.append(curve)
        if first is None:
            first, limit = curve.marks[0], curve.marks[-1].seconds
        last = curve.marks[-1]
        say(f"  {name:<26} + {last.seconds:5.1f} s {last.passes:6,} passes  PSNR {last.psnr:.2f}  loss {last.loss:.5f}")
    return result


def _run(name: str, capture: Capture, system: System, start: dict[str, Any], before: Any, begin: int, seed: int,
         limit: float, first: Mark | None) -> Curve:
    """``system.steps`` counts from the beginning of the fit where it goes on with the same kind of optimizer."""
    fit = Fit(capture, system, seed=seed, memory=_MEMORY)
    fit.field.params.load_state({k: v.clone() for k, v in start["params"].items()})
    fit.field.load_state(start["field"])
    fit.optimizer = system.optimizer.build(fit.field, fit.problem.radius, system.steps)
    if type(fit.optimizer) is type(before):
        fit.optimizer.load_state(_copied(start["optimizer"]))
        fit.problem.step = begin
    every = max((system.steps - fit.step) // MARKS, 1)
    warm = fit.problem.observations  # photos are prepared before the clock starts, for all alike
    for i in range(len(warm)):
        warm.get(i, fit.problem.scale(fit.step))
    curve, seconds = Curve(name), 0.0
    curve.marks.append(first or _mark(fit, 0.0))
    while fit.step < system.steps and seconds < limit:
        clock = time.process_time()
        fit.advance()
        seconds += time.process_time() - clock
        due = seconds - curve.marks[-1].seconds >= limit / MARKS if limit < float("inf") else (
            (system.steps - fit.step) % every == 0)
        if due or seconds >= limit or fit.step == system.steps:
            curve.marks.append(_mark(fit, seconds))
    curve.reports = [asdict(r) for r in getattr(fit.optimizer, "reports", [])]
    return curve


def _mark(fit: Fit, seconds: float) -> Mark:
    passes = fit.problem.passes.count
    quality = fit.evaluate(most_views=_MOST_LOOKS).psnr
    views = range(len(fit.capture.train))
    loss = 0.0
    for i in views:
        seen = fit.problem.observations.get(i, 1.0)
        with torch.no_grad():
            render = fit.system.renderer.render(fit.field, seen.camera, background=seen.background)
            loss += sum(t.weight * float(t.value(render, seen)) for t in fit.system.losses.values())
    return Mark(seconds, passes, fit.step, quality, loss / len(views))


def verdicts(found: Race) -> list[Verdict]:
    """Every contender against the end of the first."""
    goal = found.curves[0].marks[-1]
    return [Verdict(c.name, c.marks[-1].psnr, c.marks[-1].loss,
                    _share(c, lambda m: goal.loss - m.loss, goal.seconds),
                    _share(c, lambda m: m.psnr - goal.psnr, goal.seconds)) for c in found.curves]


def _share(curve: Curve, ahead: Callable[[Mark], float], whole: float) -> float | None:
    """Seconds at which ``ahead`` first reaches zero, between marks by a straight line, over ``whole``."""
    last = curve.marks[0]
    if ahead(last) >= 0:
        return 0.0
    for mark in curve.marks[1:]:
        a, b = ahead(last), ahead(mark)
        if b >= 0:
            return (last.seconds + (mark.seconds - last.seconds) * (-a / (b - a))) / max(whole, 1e-9)
        last = mark
    return None


def _copied(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.clone()
    if isinstance(value, dict):
        return {k: _copied(v) for k, v in value.items()}
    return [_copied(v) for v in value] if isinstance(value, (list, tuple)) else value


def with_budget(system: System, primitives: int) -> System:
    """``system`` with at most so many primitives, and no more at random in the beginning."""
    field: Any = system.field
    if getattr(field, "random_points", 0):
        field = replace(field, random_points=min(field.random_points, primitives))
    return replace(system, field=field, strategies={
        n: replace(s, budget=primitives) if getattr(s, "budget", 0) else s for n, s in system.strategies.items()})
