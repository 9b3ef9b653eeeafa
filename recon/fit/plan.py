"""Plans a fit for a given time: measures this machine for a moment, then fixes the number of steps.

The plan is made once and written into the run's configuration, so a run planned by the clock can still be repeated and
resumed bit for bit.
"""

from __future__ import annotations

import dataclasses
import time
from dataclasses import replace

from recon.errors import InputError
from recon.fit.loop import Fit
from recon.fit.system import System
from recon.types import Capture

_WARM_UP, _MEASURED = 4, 8
_GROWTH = 1.6  # Gaussians are added during a fit: steps at the end cost about this much more than the first ones
_FIXED_SHARE = 0.08  # of the time: reading, looking at held-out views, saving
_MOST_STEPS = 30_000
_FEWEST_STEPS = 50


def plan_for_time(capture: Capture, system: System, seconds: float, seed: int = 0) -> System:
    """``system`` with its steps (and what is counted in steps) set to fill ``seconds`` on this machine.

    Raises InputError when not even a few steps fit.
    """
    begin = time.monotonic()
    fit = Fit(capture, replace(system, steps=10_000, resolution=replace(system.resolution, until=1.0)), seed=seed)
    start_up = time.monotonic() - begin  # finding a start is paid again by the fit itself
    coarse = _seconds_per_step(fit)
    fit.problem.step = fit.problem.total_steps  # where the schedule has reached full resolution
    full = _seconds_per_step(fit)
    share = min(system.resolution.until, 1.0) if system.resolution.start > 1.0 else 0.0
    mean = _GROWTH * (share * 0.5 * (coarse + full) + (1.0 - share) * full)
    left = seconds * (1.0 - _FIXED_SHARE) - (time.monotonic() - begin) - start_up
    steps = int(min(left / mean, _MOST_STEPS))
    if steps < _FEWEST_STEPS:
        raise InputError(f"{seconds:.0f} s is too short here: a step takes about {mean:.2f} s",
                         fix=f"Allow at least {mean * _FEWEST_STEPS * 1.5 + 5:.0f} s, or a smaller --resolution.")
    return with_steps(system, steps)


def with_steps(system: System, steps: int) -> System:
    """``system`` for another number of steps; intervals that strategies count in steps shrink along, never grow."""
    ratio = min(steps / system.steps, 1.0)
    strategies = {}
    for name, strategy in system.strategies.items():
        every = getattr(strategy, "every", None)
        if dataclasses.is_dataclass(strategy) and isinstance(every, int):
            strategy = replace(strategy, every=max(round(every * ratio), min(every, 20)))  # type: ignore[type-var]
        strategies[name] = strategy
    return replace(system, steps=steps, strategies=strategies)


def _seconds_per_step(fit: Fit) -> float:
    """Time of a step, on a field that is thrown away afterwards. Photos are read beforehand: that is paid once."""
    first = fit.problem.step
    for step in range(first, first + _WARM_UP + _MEASURED):
        fit.problem.observations.get(fit.problem.view_of(step), fit.problem.scale(step))
    for i in range(_WARM_UP + _MEASURED):
        if i == _WARM_UP:
            begin = time.monotonic()
        fit.optimizer.step(fit.problem)
        fit.problem.step += 1
    return (time.monotonic() - begin) / _MEASURED
