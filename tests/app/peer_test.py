"""Timing another program's step: start-up does not count, and a program that fails says so in one line."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from recon.app.peer import race
from recon.errors import InputError

SLEEPS = f"{sys.executable} -c \"import time; time.sleep(0.3 + 0.02 * {{steps}})\""


def test_start_is_left_out() -> None:
    result = race(SLEEPS, lambda: 2.0, few=1, many=21, rounds=1)
    assert result.peer_ms[0] == pytest.approx(20.0, abs=15.0)  # with its start it would be 36 ms a step
    assert result.ratio == pytest.approx(result.peer_ms[0] / 2.0)


def test_rounds_take_turns() -> None:
    seen: list[float] = []

    def ours() -> float:
        seen.append(0.0)
        return float(len(seen))

    assert race(f"{sys.executable} -c pass {{steps}}", ours, rounds=2).ours_ms == [1.0, 2.0]


@pytest.mark.parametrize(("command", "said"), [
    ("true", "does not say where"),
    ("no-such-program-here {steps}", "cannot be run"),
    ("'unclosed {steps}", "cannot be run"),
    (f"{sys.executable} -c 'raise SystemExit(\"broken scene\")' {{steps}}", "broken scene"),
])
def test_what_goes_wrong(command: str, said: str) -> None:
    never: Callable[[], float] = lambda: pytest.fail("ours was timed")  # noqa: E731
    with pytest.raises(InputError, match=said):
        race(command, never, rounds=1)


def test_too_slow() -> None:
    with pytest.raises(InputError, match="more than"):
        race(f"{sys.executable} -c 'import time; time.sleep(9)' {{steps}}", lambda: 1.0, timeout_s=0.3, rounds=1)
