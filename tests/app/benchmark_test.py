"""What `recon bench` makes of its measurements."""

from __future__ import annotations

import pytest

from recon.app import benchmark


def _sweep(pixel: float, gaussian: float, pair: float) -> list[dict[str, float]]:
    points = []
    for count in (2_000, 10_000, 100_000):
        for pixels in (32_400, 518_400):
            pairs = count * pixels**0.5 * 0.3
            ms = (pixel * pixels + gaussian * count + pair * pairs) * 1e-6
            points.append({"gaussians": count, "pixels": pixels, "pairs": pairs, "ms": ms})
    return points


def test_the_cost_of_a_sweep_is_found() -> None:
    cost, ratios = benchmark.cost_of(_sweep(17.0, 150.0, 0.6))
    assert cost == pytest.approx({"pixels": 17.0, "gaussians": 150.0, "pairs": 0.6}, rel=1e-6)
    assert ratios == pytest.approx([1.0] * 6)


def test_a_step_that_costs_too_much_shows() -> None:
    points = _sweep(17.0, 150.0, 0.6)
    points[3]["ms"] *= 2
    _, ratios = benchmark.cost_of(points)
    assert max(range(6), key=ratios.__getitem__) == 3
    assert ratios[3] > 1.25


def test_no_cost_is_below_zero() -> None:
    points = _sweep(17.0, 150.0, 0.6)
    for p in points:
        p["ms"] *= 1 + 0.5 * (p["gaussians"] == 2_000)
    cost, _ = benchmark.cost_of(points)
    assert min(cost.values()) >= 0
