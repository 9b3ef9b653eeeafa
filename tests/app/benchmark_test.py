"""What `recon bench` makes of its measurements."""

from __future__ import annotations

import pytest
import torch

from recon.app import scaling
from recon.app.benchmark import rows_of, work_of
from recon.ops.splat import Projection
from recon.types import Camera, Gaussians


def _sweep(pixel: float, gaussian: float, pair: float) -> list[dict[str, float]]:
    points = []
    for count in (2_000, 10_000, 100_000):
        for pixels in (32_400, 518_400):
            pairs = count * pixels**0.5 * 0.3
            ms = (pixel * pixels + gaussian * count + pair * pairs) * 1e-6
            points.append({"gaussians": count, "pixels": pixels, "pairs": pairs, "ms": ms})
    return points


def test_the_cost_of_a_sweep_is_found() -> None:
    cost, ratios = scaling.cost_of(_sweep(17.0, 150.0, 0.6))
    assert cost == pytest.approx({"pixels": 17.0, "gaussians": 150.0, "pairs": 0.6}, rel=1e-6)
    assert ratios == pytest.approx([1.0] * 6)


def test_a_step_that_costs_too_much_shows() -> None:
    points = _sweep(17.0, 150.0, 0.6)
    points[3]["ms"] *= 2
    _, ratios = scaling.cost_of(points)
    assert max(range(6), key=ratios.__getitem__) == 3
    assert ratios[3] > 1.25


def test_no_cost_is_below_zero() -> None:
    points = _sweep(17.0, 150.0, 0.6)
    for p in points:
        p["ms"] *= 1 + 0.5 * (p["gaussians"] == 2_000)
    cost, _ = scaling.cost_of(points)
    assert min(cost.values()) >= 0


def test_the_time_of_a_pair_is_the_same_where_pairs_are_all_there_is() -> None:
    assert scaling.flatness(_sweep(0.0, 0.0, 0.6)) == (pytest.approx(0.6), pytest.approx([1.0] * 6))
    _, ratios = scaling.flatness(_sweep(17.0, 150.0, 0.6))
    assert max(ratios) > 1.25  # a sparse picture costs its pixels


def test_gaussians_are_enlarged_until_they_cover_the_picture() -> None:
    generator = torch.Generator().manual_seed(0)
    means = torch.randn(300, 3, generator=generator) * torch.tensor([1.0, 1.0, 0.2]) + torch.tensor([0.0, 0.0, 4.0])
    g = Gaussians(means, torch.full((300, 3), -4.0), torch.tensor([1.0, 0, 0, 0]).repeat(300, 1), torch.zeros(300),
                  torch.zeros(300, 1, 3))
    camera = Camera(64, 48, torch.tensor([60.0, 60.0, 32.0, 24.0]), torch.eye(4))
    rows = scaling._covering(rows_of(g), camera, Projection(0, False), lanes=60.0)
    assert work_of(rows, camera, Projection(0, False)).lanes_per_pixel == pytest.approx(60.0, rel=0.1)
