"""Plans a fit for a given time: rehearses it on this machine for a moment, then fixes the number of steps.

The plan is made once and written into the run's configuration, so a run planned by the clock can still be repeated and
resumed bit for bit.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import replace

from recon.errors import InputError
from recon.fit.evaluate import compare
from recon.fit.loop import Fit
from recon.fit.system import System
from recon.types import Capture

_FILL = 0.95  # of the time is planned for: late is worse than early
_LATER = 1.12  # steps of a fit cost this much more than those of its rehearsal: measured on fox and mold_gold_cape
_SAVING = 2.0  # seconds: checkpoint, scene file, comparison pictures
_LOOK_EVERY = 20.0  # seconds between two looks at (up to eight) held-out views
_REHEARSAL_SHARE = 0.06  # of the time: the rehearsal
_FEWEST_REHEARSED, _MOST_REHEARSED = 60, 300
_ROUNDS = 20  # of each strategy in a rehearsal, so that it changes the field as much as the fit will
_MOST_STEPS = 30_000
_FEWEST_STEPS = 50


def plan_for_time(capture: Capture, system: System, seconds: float, seed: int = 0) -> System:
    """``system`` with its steps (and what is counted in steps) set to fill ``seconds`` on this machine.

    The resolution schedule follows in shares of the steps.
    Raises InputError when not even a few steps fit.
    """
    begin = time.monotonic()
    end = begin + seconds * _FILL
    steps, step, fixed = _steps_until(end, capture, system, seconds, seed)
    if steps < _FEWEST_STEPS:
        shortest = (step * _FEWEST_STEPS + fixed + (time.monotonic() - begin)) * 1.2 + 1
        raise InputError(f"{seconds:.0f} s is too short here: a step takes about {step:.2f} s",
                         fix=f"Allow at least {shortest:.0f} s, or a smaller --resolution.")
    return with_visits(with_steps(system, steps), len(capture.train))


def _steps_until(end: float, capture: Capture, system: System, seconds: float, seed: int) -> tuple[int, float, float]:
    """(steps that fit, seconds of one, seconds of everything else), from a rehearsal."""
    begin = time.monotonic()
    fit = Fit(capture, replace(system, steps=10_000), seed=seed)
    start_up = time.monotonic() - begin  # finding a start is paid again by the fit itself
    fit.problem.step = fit.problem.total_steps - 10  # where the schedule has reached full resolution
    pace, _ = _seconds_per_step(fit, 4)
    look = _seconds_of_a_look(fit)
    rehearsed = min(max(int(_REHEARSAL_SHARE * seconds / pace), _FEWEST_REHEARSED), _MOST_REHEARSED)
    step, reading = _seconds_per_step(Fit(capture, _shrunk(system, rehearsed), seed=seed), rehearsed)
    step *= _LATER
    photos = len(capture.train) * (9 if system.resolution.start > 1.0 else 1)  # each is prepared once per resolution
    fixed = start_up + look * (len(capture.test) or 8) + _SAVING
    left = (end - time.monotonic() - fixed) / (1.0 + 8 * look / _LOOK_EVERY)
    steps = left / (step + reading)
    if steps > photos:
        steps = (left - reading * photos) / step
    return int(min(steps, _MOST_STEPS)), step + reading, fixed


def with_steps(system: System, steps: int) -> System:
    """``system`` for another number of steps; intervals that strategies count in steps shrink along, never grow."""
    ratio = min(steps / system.steps, 1.0)
    return _with_intervals(replace(system, steps=steps), lambda every: max(round(every * ratio), min(every, 20)))


def with_visits(system: System, photos: int) -> System:
    """``system`` with no more steps than its ``visits`` of each of ``photos`` photos."""
    most = system.visits * photos
    return with_steps(system, most) if 0 < most < system.steps else system


def _shrunk(system: System, steps: int) -> System:
    """The whole of ``system`` in a few steps: same resolutions, about as many Gaussians at each share of the way."""
    return _with_intervals(replace(system, steps=steps), lambda every: min(every, max(steps // _ROUNDS, 1)))


def _with_intervals(system: System, shorter: Callable[[int], int]) -> System:
    strategies = {}
    for name, strategy in system.strategies.items():
        every = getattr(strategy, "every", None)
        if dataclasses.is_dataclass(strategy) and isinstance(every, int):
            strategy = replace(strategy, every=shorter(every))  # type: ignore[type-var]
        strategies[name] = strategy
    return replace(system, strategies=strategies)


def _seconds_per_step(fit: Fit, steps: int) -> tuple[float, float]:
    """Mean time of a step, and of reading its photo (which is paid once per photo and resolution), over ``steps``.

    The first step is not counted: memory is got and threads are started there.
    """
    stepping = reading = 0.0
    for i in range(steps + 1):
        begin = time.monotonic()
        problem = fit.problem
        problem.observations.get(problem.view_of(problem.step), problem.scale(problem.step))
        read = time.monotonic()
        fit.advance()
        if i > 0:
            reading += read - begin
            stepping += time.monotonic() - read
    return stepping / steps, reading / steps


def _seconds_of_a_look(fit: Fit) -> float:
    """Time to compare one held-out view with its photo."""
    begin = time.monotonic()
    views = (fit.capture.test or fit.capture.train)[:2]
    for _ in compare(fit.field, fit.system, fit.capture, views):
        pass
    return (time.monotonic() - begin) / len(views)
