"""Second-order steps of fields whose kernels only go backwards: voxel grids and a network behind hashed features."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from tiny_capture import tiny_capture
from torch import Tensor

from recon.errors import InputError
from recon.fields.dense_grid import DenseGridSettings
from recon.fields.hash_grid import HashGridSettings
from recon.fit.loop import Fit
from recon.fit.second_order import ViewsProblem
from recon.fit.system import System
from recon.losses.opacity import OpacityEntropy
from recon.losses.squared import SquaredError
from recon.optim.damping import PaperDamping
from recon.optim.gauss_newton import GaussNewton, Memory
from recon.optim.levenberg_marquardt import LevenbergMarquardtSettings
from recon.optim.linear import ConjugateGradients
from recon.optim.schedule import Schedule
from recon.optim.touched_adam import TouchedAdamSettings
from recon.renderers.differenced import DifferencedPicture
from recon.renderers.march import MarchRenderer
from recon.types import Capture

FIELDS = {"voxels": DenseGridSettings(voxels=4_000, hidden=8, channels=4),
          "hash": HashGridSettings(voxels=4_000, hidden=8)}


@pytest.fixture(scope="module")
def capture() -> Capture:
    return tiny_capture()


def _fit(capture: Capture, field: Any, warm: int = 15) -> Fit:
    """After a few first-order steps on whole photos, where pictures have something to differentiate."""
    adam = TouchedAdamSettings(rates={"density": Schedule(0.5), "features": Schedule(0.1), "decoder": Schedule(4e-3)})
    fit = Fit(capture, System(field, MarchRenderer(), adam, {"colour": SquaredError()}, steps=100))
    for _ in range(warm):
        fit.advance()
    return fit


@pytest.mark.parametrize("name", FIELDS)
def test_products_of_a_volume(capture: Capture, name: str) -> None:
    """Adjoint to the accuracy of float32 differences; parameters are back to the bit."""
    fit = _fit(capture, FIELDS[name], 10)
    problem = fit.problem.least_squares()
    seen = problem.observe(0)
    picture = problem.draw(seen)
    before = problem.read()
    generator = torch.Generator().manual_seed(2)
    g = torch.zeros(len(before))
    u = torch.randn(picture.picture.shape, generator=generator)
    picture.vjp_(u, problem.split(g))
    v = g / g.norm() + 0.3 * torch.randn(len(before), generator=generator) * g.abs() / g.norm()
    moved = picture.jvp(problem.split(v))
    assert float((moved * u).sum()) == pytest.approx(float(v @ g), rel=0.02)  # edges: ReLU, samples that are skipped
    assert torch.equal(problem.read(), before)
    assert float(moved.abs().max()) > 0


def test_differences_and_probes_against_a_dense_jacobian() -> None:
    """A picture of two parameters in float64: J v, J^T u, J^T W J v; the diagonal in the mean of many probes."""
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(4, generator=generator, dtype=torch.float64, requires_grad=True)
    b = torch.randn(3, generator=generator, dtype=torch.float64, requires_grad=True)
    M = torch.randn(36, 7, generator=generator, dtype=torch.float64)

    def of(x: Tensor) -> Tensor:
        return torch.tanh(0.3 * (M @ x)).view(3, 3, 4)

    picture = DifferencedPicture(lambda: of(torch.cat([a, b])), [a, b], probes=4000)
    J = torch.func.jacrev(of)(torch.cat([a, b]).detach()).flatten(0, 2)
    v = torch.randn(7, generator=generator, dtype=torch.float64)
    weights = torch.rand(3, 3, 4, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(picture.jvp([v[:4], v[4:]]).flatten(), J @ v, rtol=1e-4, atol=1e-5)
    out = torch.zeros(7, dtype=torch.float64)
    picture.normal_([v[:4], v[4:]], weights, [out[:4], out[4:]])
    torch.testing.assert_close(out, J.T @ (weights.flatten() * (J @ v)), rtol=1e-4, atol=1e-4)
    found = torch.zeros(7, dtype=torch.float64)
    picture.diagonal_(weights, [found[:4], found[4:]])
    torch.testing.assert_close(found, (J * J * weights.flatten()[:, None]).sum(0), rtol=0.1, atol=0.0)


@pytest.mark.parametrize("name", FIELDS)
def test_second_order_steps_lower_the_loss_of_a_volume(capture: Capture, name: str) -> None:
    fit = _fit(capture, FIELDS[name])
    problem, memory = ViewsProblem(fit.field, fit.system, fit.problem.observations, [0, 3]), Memory()
    solver = GaussNewton(PaperDamping(start=10.0, floor=1.0), ConjugateGradients(3, 0.01), line_search=2)
    first = problem.value()
    reports = [solver.step(problem, memory) for _ in range(2)]
    assert problem.value() < 0.9 * first
    assert all(r.after <= r.before for r in reports)


def test_a_whole_fit_hands_over(capture: Capture) -> None:
    adam = TouchedAdamSettings(rates={"density": Schedule(0.5), "features": Schedule(0.1), "decoder": Schedule(4e-3)})
    second = LevenbergMarquardtSettings(warm_up=adam, steps=2, curved=2,
                                        step=GaussNewton(PaperDamping(0.1), ConjugateGradients(3)))
    system = System(FIELDS["voxels"], MarchRenderer(), second, {"colour": SquaredError()}, steps=12)
    fit = Fit(capture, system)
    for _ in range(12):
        fit.advance()
    assert len(fit.optimizer.reports) == 2
    with pytest.raises(InputError, match='the loss "entropy"'):
        Fit(capture, replace(system, losses={"colour": SquaredError(), "entropy": OpacityEntropy()}))
