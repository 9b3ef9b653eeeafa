"""Exact Gauss-Newton on batches: the identity against a dense solve, and a distance field against Adam."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from recon.optim.exact_gauss_newton import ExactGaussNewton, batch_step
from recon.optim.schedule import Schedule


@pytest.mark.parametrize(("m", "p"), [(1, 1), (5, 40), (40, 5), (17, 17)])
def test_step_is_that_of_the_dense_normal_equations(m: int, p: int) -> None:
    generator = torch.Generator().manual_seed(m + p)
    J = torch.randn(m, p, generator=generator, dtype=torch.float64)
    r = torch.randn(m, generator=generator, dtype=torch.float64)
    want = -torch.linalg.solve(J.T @ J + 0.03 * torch.eye(p, dtype=torch.float64), J.T @ r)
    torch.testing.assert_close(batch_step(J, r, 0.03), want, rtol=1e-8, atol=1e-10)


def test_rows_that_are_the_same_need_no_damping() -> None:
    J = torch.ones(6, 3)
    d = batch_step(J, torch.ones(6), 0.0)
    assert bool(torch.isfinite(d).all())
    assert float((1 + J @ d).abs().max()) < 1e-2


SIZES = ((3, 24), (24, 24), (24, 1))


def _network(x: Tensor, points: Tensor) -> Tensor:
    out, at = points, 0
    for i, (a, b) in enumerate(SIZES):
        W, c = x[at:at + a * b].view(b, a), x[at + a * b:at + a * b + b]
        out, at = out @ W.T + c, at + a * b + b
        out = out if i == len(SIZES) - 1 else torch.tanh(out)
    return out[:, 0]


def _torus(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    points = 2 * torch.rand(count, 3, generator=generator) - 1
    ring = torch.stack([points[:, :2].norm(dim=1) - 0.5, points[:, 2]], dim=1)
    return points, ring.norm(dim=1) - 0.2


def _start() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    parts = []
    for a, b in SIZES:
        parts += [torch.randn(a * b, generator=generator) / math.sqrt(a), torch.zeros(b)]
    return torch.cat(parts)


def _error(x: Tensor) -> float:
    points, distance = _torus(2000, torch.Generator().manual_seed(99))
    return float((_network(x, points) - distance).square().mean())


def test_a_hundred_steps_beat_a_thousand_of_adam_on_a_distance_field() -> None:
    solver, generator = ExactGaussNewton().build(_start()), torch.Generator().manual_seed(1)
    for k in range(100):
        points, distance = _torus(128, generator)
        solver.step(lambda x, points=points, distance=distance: _network(x, points) - distance, k / 100)
    best = math.inf
    for rate in (3e-3, 1e-2, 3e-2):
        x, generator = _start().requires_grad_(True), torch.Generator().manual_seed(1)
        adam, schedule = torch.optim.Adam([x], rate), Schedule(rate, rate / 30)
        for k in range(1000):
            points, distance = _torus(128, generator)
            adam.param_groups[0]["lr"] = schedule.at(k / 1000)
            adam.zero_grad()
            (_network(x, points) - distance).square().mean().backward()
            adam.step()
        best = min(best, _error(x.detach()))
    assert _error(solver.x) < best


def test_a_step_that_goes_wrong_is_taken_back_and_damped() -> None:
    def residuals(x: Tensor) -> Tensor:
        return torch.where(x.abs() > 1.5, torch.full_like(x, math.inf), 1e-3 * (x - 1000))

    solver = ExactGaussNewton(start=1e-9).build(torch.zeros(1))
    solver.step(residuals, 0.0)
    assert float(solver.x) == 0.0
    assert solver.strength > 1e-9
    with pytest.raises(FloatingPointError):
        ExactGaussNewton().build(torch.full((1,), 2.0)).step(residuals, 0.0)


def test_a_jacobian_that_is_known_gives_the_same_step() -> None:
    A, b = torch.randn(6, 9, generator=torch.Generator().manual_seed(3)), torch.ones(6)
    given, found = (ExactGaussNewton().build(torch.zeros(9)) for _ in range(2))
    given.step(lambda x: A @ x - b, 0.0, lambda x: (A @ x - b, A))
    found.step(lambda x: A @ x - b, 0.0)
    torch.testing.assert_close(given.x, found.x)
