"""Gaussians that lie on surfaces, fitted with the CUDA drivers on the executor, on a pretended GPU."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
import torch
from pretend import CUDA, Pretended, pretended_gpu
from tiny_capture import tiny_capture

from recon.configs import sugar, sugar_bound
from recon.fields.bound_gaussians import BoundGaussiansSettings
from recon.fit.loop import Fit
from recon.fit.system import System
from recon.losses.surface_alignment import SurfaceAlignment

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
        losses = [fit.advance()[0] for _ in range(STEPS)][1:]  # they come a step late
        assert isinstance(fit.field.params["logits"], Pretended)
        fit.settle()
    assert losses == pytest.approx(cpu_losses[:-1], rel=1e-3)
    cpu = on_cpu.field.params.state()
    for name, tensor in fit.field.params.state().items():
        if tensor.numel():
            moved = float((cpu[name] - before[name]).norm())
            assert moved > 0, name
            assert float((tensor - cpu[name]).norm()) < 0.05 * moved, name
