"""Schedules, and plans for another number of steps."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_capture import tiny_capture

from recon.configs import gaussians, gaussians_mcmc
from recon.errors import InputError
from recon.fit.plan import plan_for_time, with_steps, with_visits
from recon.fit.problem import FitProblem
from recon.fit.system import Resolution
from recon.optim.schedule import Schedule


def test_constant_log_linear_and_linear() -> None:
    assert Schedule(0.3).at(0.7) == 0.3
    falling = Schedule(1e-2, 1e-4)
    assert falling.at(0) == pytest.approx(1e-2)
    assert falling.at(0.5) == pytest.approx(1e-3)
    assert falling.at(1) == pytest.approx(1e-4)
    to_zero = Schedule(1.0, 0.0, begin=0.25, until=0.75)  # no logarithm of 0: linear
    assert [to_zero.at(s) for s in (0.0, 0.25, 0.5, 0.75, 1.0)] == pytest.approx([1, 1, 0.5, 0, 0])


@given(st.floats(1e-6, 1e3), st.floats(1e-6, 1e3), st.floats(-1, 3))
def test_stays_between_its_ends(start: float, end: float, share: float) -> None:
    value = Schedule(start, end).at(share)
    assert math.isfinite(value)
    assert min(start, end) * 0.999 <= value <= max(start, end) * 1.001


def test_begin_equal_to_until_is_a_jump() -> None:
    jump = Schedule(1.0, 2.0, begin=0.5, until=0.5)
    assert jump.at(0.4) == pytest.approx(1.0)
    assert jump.at(0.6) == pytest.approx(2.0)


def test_with_steps_shrinks_intervals_but_never_grows_them() -> None:
    system = gaussians.PRESETS["fast"]
    assert (system.steps, system.strategies["densify"].every) == (2_000, 67)
    shorter = with_steps(system, 1_000)
    assert shorter.steps == 1_000
    assert shorter.strategies["densify"].every == 34
    assert shorter.strategies["densify"].budget == system.strategies["densify"].budget
    assert shorter.strategies["sh_degree"] == system.strategies["sh_degree"]
    assert with_steps(system, 30).strategies["densify"].every == 20, "20 steps are the shortest interval"
    assert with_steps(system, 60_000).strategies["densify"].every == 67
    assert with_steps(gaussians_mcmc.PRESETS["fast"], 1_500).strategies["mcmc"].every == 50
    assert system.strategies["densify"].every == 67, "the preset itself was changed"


def test_few_photos_get_fewer_steps() -> None:
    system = replace(gaussians.PRESETS["balanced"], steps=7_000, visits=150)
    few = with_visits(system, 9)
    assert few.steps == 1_350
    assert few.strategies["densify"].every == 20, "acting more often, as with --steps"
    assert with_visits(system, 47) is system
    assert with_visits(replace(system, visits=0), 3).steps == 7_000
    assert gaussians.PRESETS["quality"].visits == 0, "the plain recipe"


def test_plan_for_time() -> None:
    capture = tiny_capture()
    short = plan_for_time(capture, gaussians.PRESETS["fast"], 300.0)
    assert 50 <= short.steps <= 30_000
    with pytest.raises(InputError, match="too short") as error:
        plan_for_time(capture, gaussians.PRESETS["fast"], 0.01)
    assert "Allow at least" in str(error.value)


def test_resolution_grows_to_full() -> None:
    system = replace(gaussians.PRESETS["fast"], steps=1000, resolution=Resolution(start=4.0, until=0.6, min_side=8))
    problem = FitProblem(tiny_capture(), system, system.field.build(), 0, 1 << 20)
    scales = [problem.scale(step) for step in range(0, 1000, 10)]
    assert scales[0] == pytest.approx(4.0)
    assert all(a >= b for a, b in pairwise(scales)), "it never gets coarser again"
    assert problem.scale(599) > 1.0
    assert problem.scale(600) == 1.0
    assert len(set(scales)) <= 9, "few sizes, so that photos are rarely scaled"
    small = replace(system, resolution=Resolution(start=4.0, until=0.6, min_side=20))
    assert FitProblem(tiny_capture(), small, small.field.build(), 0, 1 << 20).scale(0) == pytest.approx(2.0)  # 48x40


def test_every_view_once_per_epoch_in_an_order_of_its_own() -> None:
    fast = gaussians.PRESETS["fast"]
    problem = FitProblem(tiny_capture(holdout=0), fast, fast.field.build(), 5, 1 << 20)
    first, second = ([problem.view_of(8 * epoch + i) for i in range(8)] for epoch in (0, 1))
    assert sorted(first) == sorted(second) == list(range(8))
    assert first != second
    again = FitProblem(tiny_capture(holdout=0), fast, fast.field.build(), 5, 1 << 20)
    assert [again.view_of(8 + i) for i in range(8)] == second, "any step can be repeated without those before it"
