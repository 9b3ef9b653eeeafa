"""How often a fit looks at its held-out views."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import pytest
from tiny_capture import tiny_capture

from recon.configs import gaussians
from recon.fit import loop
from recon.fit.events import Evaluated
from recon.fit.loop import Fit


@pytest.mark.parametrize(("taken", "expected"), [(0.1, [20, 40, 60, 80, 100]), (6.0, [20, 74])])
def test_looks_take_a_tenth_of_the_time_at_most(monkeypatch: pytest.MonkeyPatch, taken: float,
                                                expected: list[int]) -> None:
    """A step takes a second, a look ``taken``: one every 20 s, or after nine times what it took."""
    now = [0.0]
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: now[0]))
    fit = Fit(tiny_capture(), dataclasses.replace(gaussians.PRESETS["fast"], steps=105))
    advance, evaluate = fit.advance, fit.evaluate

    def step() -> Any:
        now[0] += 1
        return advance()

    def look(**options: Any) -> Evaluated:
        now[0] += taken
        return evaluate(**options)

    monkeypatch.setattr(fit, "advance", step)
    monkeypatch.setattr(fit, "evaluate", look)
    found = [e.step for e in fit.events() if isinstance(e, Evaluated)]
    assert found == [*expected, 105]
