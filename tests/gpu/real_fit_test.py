"""Whole fits on a real GPU, by `make test-gpu`: the same quality as on the processor."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import pytest
import torch
from tiny_capture import tiny_capture

from recon.app.catalogue import load
from recon.fit.loop import Fit
from recon.fit.system import System
from recon.ops import cuda

pytestmark = pytest.mark.skipif(os.environ.get("RECON_TEST_DEVICE") != "cuda" or cuda.problem() is not None,
                                reason="needs a GPU (make test-gpu)")


def _system(method: str) -> System:
    base = load(method, "fast")
    if method.startswith("gaussians"):
        changed: dict[str, Any] = {"field": replace(base.field, random_points=200)}  # type: ignore[type-var]
    else:
        changed = {"field": replace(base.field, voxels=30_000)}  # type: ignore[type-var]
    return replace(base, steps=200, **changed)


@pytest.mark.parametrize("method", ["gaussians", "gaussians_mcmc", "gaussians_lm", "dvgo", "ngp", "tensorf", "neus"])
def test_the_quality_is_that_of_the_processor(method: str) -> None:
    results = []
    for device in ("cpu", "cuda"):
        fit = Fit(tiny_capture(), _system(method), device=torch.device(device))
        while fit.step < 200:
            fit.advance()
        results.append(fit.evaluate(final=True).psnr)
    assert abs(results[0] - results[1]) < (0.05 if method == "gaussians" else 0.3)


def test_the_same_seed_gives_the_same_bits() -> None:
    states = []
    for _ in range(2):
        fit = Fit(tiny_capture(), _system("gaussians"), device=torch.device("cuda"))
        while fit.step < 50:
            fit.advance()
        states.append(fit.field.params.state())
    assert all(torch.equal(states[0][n], states[1][n]) for n in states[0])
