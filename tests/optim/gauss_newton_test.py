"""Damped Gauss-Newton: the linear solver against dense solves, whole fits against scipy, rejection to the bit."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import least_squares
from torch import Tensor

from recon.optim.damping import PaperDamping, TrustRegion
from recon.optim.gauss_newton import GaussNewton, Memory, Residuals, minimise
from recon.optim.linear import ConjugateGradients, ahead_of_device, conjugate_gradients, dot

EXACT = ConjugateGradients(iterations=200, tolerance=1e-12)


def _random(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


SOLVERS = pytest.mark.parametrize("solve", [conjugate_gradients, ahead_of_device])


@SOLVERS
@pytest.mark.parametrize("n", [1, 7, 40])
def test_conjugate_gradients_agree_with_cholesky(n: int, solve: Any) -> None:
    J = _random(n, 2 * n, n) * torch.logspace(0, -2, n, dtype=torch.float64)
    A = J.T @ J + 1e-3 * torch.eye(n, dtype=torch.float64)
    b = _random(n + 1, n)
    got = solve(lambda v: A @ v, b, 1 / A.diagonal(), ConjugateGradients(2 * n, 1e-12))
    want = torch.cholesky_solve(b[:, None], torch.linalg.cholesky(A))[:, 0]
    assert (got.x - want).norm() <= 1e-6 * want.norm()
    assert got.iterations <= 2 * n


@SOLVERS
def test_a_solve_cut_short_is_still_a_descent(solve: Any) -> None:
    J = _random(0, 60, 30)
    A, b = J.T @ J, _random(1, 30)
    values = []
    for iterations in range(6):
        x = solve(lambda v: A @ v, b, 1 / A.diagonal(), ConjugateGradients(iterations, 0.0)).x
        values.append(float(0.5 * x @ A @ x - b @ x))
    assert values[0] == 0
    assert all(after < before for before, after in itertools.pairwise(values))


@SOLVERS
def test_nothing_to_solve_and_not_a_number(solve: Any) -> None:
    zero = solve(lambda v: v, torch.zeros(5), torch.ones(5), ConjugateGradients())
    assert zero.iterations == 0
    assert zero.x.abs().max() == 0
    broken = solve(lambda v: v * math.nan, torch.ones(5), torch.ones(5), ConjugateGradients())
    assert torch.isfinite(broken.x).all()


@pytest.mark.parametrize("tolerance", [0.5, 0.05, 1e-3])
def test_a_host_that_asks_late_makes_one_product_more_and_gets_the_same(tolerance: float) -> None:
    J = _random(3, 90, 50)
    A, b = J.T @ J + torch.eye(50, dtype=torch.float64), _random(4, 50)
    made = []

    def product(v: Tensor) -> Tensor:
        made.append(1)
        return A @ v

    want = conjugate_gradients(product, b, 1 / A.diagonal(), ConjugateGradients(60, tolerance))
    products = len(made)
    got = ahead_of_device(product, b, 1 / A.diagonal(), ConjugateGradients(60, tolerance))
    assert got.iterations == want.iterations == products < 60
    assert len(made) == 2 * products + 1
    torch.testing.assert_close(got.x, want.x)
    assert float((got.rest - want.rest).norm()) < 1e-8 * float(b.norm())
    assert got.residual == pytest.approx(want.residual, abs=1e-8)


@pytest.mark.parametrize("n", [0, 3, 4096, 5000, 100_001])
def test_dot_and_its_bits_on_threads(n: int) -> None:
    a, b = _random(0, n).float(), _random(1, n).float()
    before, found = torch.get_num_threads(), []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        found.append(dot(a, b))
    torch.set_num_threads(before)
    assert len(set(found)) == 1
    assert found[0] == pytest.approx(float(a.double() @ b.double()), abs=1e-5 * max(n, 1) ** 0.5)


def rosenbrock(x: Any) -> Any:
    stack = torch.stack if isinstance(x, Tensor) else np.array
    return stack([10 * (x[1] - x[0] ** 2), 1 - x[0]])


_T = np.linspace(0, 2, 25)
_Y = 2.5 * np.exp(-1.3 * _T) + 0.7 + 0.05 * np.sin(17 * _T)


def decay(x: Any) -> Any:
    if isinstance(x, Tensor):
        return x[0] * torch.exp(-x[1] * torch.from_numpy(_T)) + x[2] - torch.from_numpy(_Y)
    return x[0] * np.exp(-x[1] * _T) + x[2] - _Y


def circle(x: Any) -> Any:
    angle = np.linspace(0, 5, 30)
    px, py = 3 + 2 * np.cos(angle) + 0.1 * np.sin(9 * angle), -1 + 2 * np.sin(angle)
    if isinstance(x, Tensor):
        return torch.sqrt((torch.from_numpy(px) - x[0]) ** 2 + (torch.from_numpy(py) - x[1]) ** 2) - x[2]
    return np.sqrt((px - x[0]) ** 2 + (py - x[1]) ** 2) - x[2]


PROBLEMS = {"rosenbrock": (rosenbrock, [-1.2, 1.0]), "decay": (decay, [1.0, 0.2, 0.0]),
            "circle": (circle, [0.0, 0.5, 1.0])}


@pytest.mark.parametrize("damping", [PaperDamping(), TrustRegion()], ids=["paper", "trust"])
@pytest.mark.parametrize("name", PROBLEMS)
def test_reaches_the_minimum_that_scipy_finds(name: str, damping: PaperDamping | TrustRegion) -> None:
    residuals, start = PROBLEMS[name]
    problem = Residuals(residuals, torch.tensor(start, dtype=torch.float64))
    reports = minimise(problem, GaussNewton(damping, EXACT), steps=200, least_change=1e-14)
    want = least_squares(residuals, np.array(start), method="lm", xtol=1e-14, ftol=1e-14)
    assert problem.value() == pytest.approx(want.cost, rel=1e-6, abs=1e-12)
    np.testing.assert_allclose(problem.x.numpy(), want.x, rtol=1e-4, atol=1e-5)
    assert all(r.after < r.before for r in reports if r.accepted)


def test_products_are_those_of_the_dense_jacobian() -> None:
    network = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2)).double()
    shapes = {k: v.shape for k, v in network.named_parameters()}
    inputs, wanted = _random(0, 20, 3), _random(1, 20, 2)

    def residuals(x: Tensor) -> Tensor:
        parts = torch.split(x, [s.numel() for s in shapes.values()])
        weights = {k: p.view(s) for (k, s), p in zip(shapes.items(), parts)}
        return (torch.func.functional_call(network, weights, (inputs,)) - wanted).flatten()

    x = 0.5 * _random(2, sum(s.numel() for s in shapes.values()))
    near = Residuals(residuals, x, chunk=7).linearise()
    J = torch.func.jacrev(residuals)(x)
    v, u = _random(3, len(x)), _random(4, 40)
    torch.testing.assert_close(near.jvp(v), J @ v)
    torch.testing.assert_close(near.vjp(u), J.T @ u)
    torch.testing.assert_close(near.product(v), J.T @ (J @ v))
    torch.testing.assert_close(near.diagonal, (J * J).sum(0))
    torch.testing.assert_close(near.gradient, J.T @ residuals(x))
    assert float(u @ near.jvp(v)) == pytest.approx(float(v @ near.vjp(u)), rel=1e-10)


def test_a_linear_problem_is_solved_by_one_undamped_step() -> None:
    A, b = _random(0, 30, 12), _random(1, 30)
    problem = Residuals(lambda x: A @ x - b, torch.zeros(12, dtype=torch.float64))
    GaussNewton(PaperDamping(start=0.0), EXACT).step(problem, Memory())
    torch.testing.assert_close(problem.x, torch.linalg.lstsq(A, b[:, None]).solution[:, 0])


class Apart:
    """A sum of two problems in the same x that are solved apart."""

    def __init__(self, first: Any, second: Any, x: Tensor) -> None:
        self.x = x
        self.parts = (Residuals(lambda x: first(x) * math.sqrt(2), x), Residuals(lambda x: second(x) * math.sqrt(2), x))

    def read(self) -> Tensor:
        return self.x.clone()

    def write(self, x: Tensor) -> None:
        self.x = x.clone()
        for part in self.parts:
            part.write(x)

    def value(self) -> float:
        return sum(part.value() for part in self.parts) / 2

    def linearise(self, blocks: bool = False) -> Any:
        raise AssertionError("the parts are linearised")


@pytest.mark.parametrize("damping", [PaperDamping(), TrustRegion(floor=0.0)], ids=["paper", "trust"])
def test_two_batches_that_see_disjoint_parameters_give_the_joint_solution(damping: Any) -> None:
    A, B, a, b = _random(0, 30, 7), _random(1, 25, 5), _random(2, 30), _random(3, 25)

    def first(x: Tensor) -> Tensor:
        return A @ x[:7] - a

    def second(x: Tensor) -> Tensor:
        return B @ x[7:] - b

    start = _random(4, 12)
    damping = replace(damping, floor=0.0)  # the floor looks at the mean over all parameters, also those not seen
    solver = GaussNewton(damping, EXACT, line_search=1)
    apart, joint = Apart(first, second, start), Residuals(lambda x: torch.cat([first(x), second(x)]), start)
    got, want = solver.step(apart, Memory()), solver.step(joint, Memory())
    assert got.accepted
    assert got.before == pytest.approx(want.before)
    torch.testing.assert_close(apart.x, joint.x, rtol=1e-8, atol=1e-10)
    assert (apart.x - start).norm() > 0.1


class Boastful(Residuals):
    """A problem whose linear model is off by a factor: every step goes much too far."""

    def linearise(self, blocks: bool = False) -> Any:
        near = super().linearise(blocks)
        near.gradient = near.gradient * 100
        return near


@pytest.mark.parametrize("damping", [PaperDamping(start=1e-6, least=1e-9), TrustRegion(start=1e-6)],
                         ids=["paper", "trust"])
def test_a_step_that_is_too_long_is_taken_back_to_the_bit(damping: PaperDamping | TrustRegion) -> None:
    start = torch.tensor([2.0, 0.3, 0.1], dtype=torch.float64)
    problem, memory = Boastful(decay, start), Memory()
    report = GaussNewton(damping, EXACT, most_change=1e9).step(problem, memory)
    assert not report.accepted
    assert torch.equal(problem.x, start)
    assert memory.rejections == 1
    assert memory.strength > damping.start


def test_not_a_number_ahead_is_a_rejection_and_here_an_error() -> None:
    def cliff(x: Tensor) -> Tensor:
        return torch.where(x > 0.5, torch.full_like(x, math.nan), 1 - x)

    problem = Residuals(cliff, torch.zeros(1, dtype=torch.float64))
    report = GaussNewton(PaperDamping(start=1e-9), EXACT, line_search=1).step(problem, Memory())
    assert not report.accepted
    assert float(problem.x) == 0.0
    with pytest.raises(FloatingPointError):
        GaussNewton().step(Residuals(cliff, torch.ones(1, dtype=torch.float64)), Memory())


def test_steps_are_limited() -> None:
    problem = Residuals(lambda x: 1e-3 * (x - 1000), torch.zeros(1, dtype=torch.float64))
    report = GaussNewton(PaperDamping(start=0.0), EXACT, most_change=10.0).step(problem, Memory())
    assert report.accepted
    assert float(problem.x) == pytest.approx(10.0)
