"""Gaussians that lie on surfaces, fitted with the CUDA drivers on the executor, on a pretended GPU."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
import torch
from pretend import CUDA, WAITS, Pretended, pretended_gpu
from tiny_capture import tiny_capture

from recon.configs import sugar, sugar_bound
from recon.fields.bound_gaussians import BoundGaussiansSettings
from recon.fit import problem
from recon.fit.loop import Fit
from recon.fit.system import System
from recon.losses.surface_alignment import SurfaceAlignment
from recon.ops import room

pytestmark = pytest.mark.skipif(os.environ.get("RECON_TEST_DEVICE") == "cuda" or "RECON_EXECUTOR_ASAN" in os.environ,
                                reason="needs the executor, and whole fits take minutes under the sanitizer")
STEPS = 4


def _aligned() -> System:
    base = sugar.PRESETS["fast"]
    losses = base.losses | {"alignment": SurfaceAlignment(begin=0.0, every=2, samples=40, neighbours=6)}
    return replace(base, field=replace(base.field, random_points=120, sh_degree=1), steps=STEPS, losses=losses,
                   strategies={})


def _bound() -> System:
    return replace(sugar_bound.PRESETS["fast"], field=BoundGaussiansSettings(sh_degree=1), steps=STEPS)


def _started(fit: Fit) -> Fit:
    """No Gaussian is round: the gradient of its rotation would be rounding errors, of which Adam makes whole steps."""
    sizes = fit.field.params["log_scales"].detach()
    noise = 0.5 * torch.randn(sizes.shape, generator=torch.Generator().manual_seed(5))
    sizes.add_(noise.to(sizes.device))
    return fit


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("system", [_aligned(), _bound()], ids=["aligned", "bound"])
def test_gaussians_on_surfaces_are_fitted_on_a_gpu(system: System) -> None:
    capture = tiny_capture(holdout=8)
    on_cpu = _started(Fit(capture, system))
    before = {n: t.clone() for n, t in on_cpu.field.params.state().items()}
    cpu_losses = [on_cpu.advance()[0] for _ in range(STEPS)]
    with pretended_gpu():
        fit = _started(Fit(capture, system, device=CUDA))
        fit.advance()
        before_step = len(WAITS)
        losses = [fit.advance()[0] for _ in range(STEPS - 1)]  # they come a step late
        assert WAITS[before_step:] == []
        assert isinstance(fit.field.params["logits"], Pretended)
        fit.settle()
    assert losses == pytest.approx(cpu_losses[:-1], rel=1e-3)
    cpu = on_cpu.field.params.state()
    for name, tensor in fit.field.params.state().items():
        if tensor.numel():
            moved = float((cpu[name] - before[name]).norm())
            assert moved > 0, name
            assert float((tensor - cpu[name]).norm()) < 0.05 * moved, name


@pytest.mark.usefixtures("gpu")
def test_too_little_room_costs_steps_and_no_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_UNIT", 1)
    monkeypatch.setattr(room, "MARGIN", 1.0)  # so that there is too little again and again
    results = []
    for size in (20_000, 7, 0):
        with pretended_gpu():
            fit = _started(Fit(tiny_capture(holdout=8), _bound(), device=CUDA))
            if size == 0:
                monkeypatch.setattr(problem, "has_room", lambda tensor: False)  # exact lists, waited for
            fit.problem.room.sizes["tiles"] = size
            while fit.step < STEPS:
                fit.advance()
            fit.settle()
            results.append(fit.field.params.state())
            assert fit.optimizer.count == STEPS
        assert (fit.problem.room.grown > 0) == (fit.problem.passes.count > STEPS) == (size == 7)
    for params in results[1:]:
        for name, tensor in params.items():
            assert torch.equal(tensor, results[0][name]), name
