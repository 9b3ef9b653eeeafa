"""Whole fits of meshes (FlexiCubes) with the CUDA drivers on the executor, on a pretended GPU."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pretend import CUDA, WAITS, Pretended, pretended_gpu
from tiny_capture import tiny_capture
from torch import Tensor

from recon.configs import flexicubes
from recon.fields.mesh_grid import MeshGridField, MeshGridSettings
from recon.fit import problem
from recon.fit.loop import Fit
from recon.fit.system import System
from recon.ops import room
from recon.renderers.mesh import MeshRenderer

pytestmark = pytest.mark.skipif(os.environ.get("RECON_TEST_DEVICE") == "cuda" or "RECON_EXECUTOR_ASAN" in os.environ,
                                reason="needs the executor, and whole fits take minutes under the sanitizer")
STEPS = 6
LISTS = ("vertices", "quads", "pixels of a mesh", "pairs across", "pairs down", "silhouettes across",
         "silhouettes down")


def _system(shading: bool) -> System:
    base = flexicubes.PRESETS["fast"]
    field = MeshGridSettings(resolution=10, log2_slots=8, levels=3, finest=32, hidden=8)
    return replace(base, field=field, steps=STEPS, renderer=MeshRenderer(shading))


@pytest.fixture
def no_symmetry(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ball of a start without masks is symmetric, and whether edges run right through pixels is up to rounding."""
    hull = MeshGridField._hull

    def uneven(self: MeshGridField, region: Any, shape: tuple[int, int, int]) -> Tensor:
        return hull(self, region, shape) + 0.1 * torch.randn(shape, generator=torch.Generator().manual_seed(3))

    monkeypatch.setattr(MeshGridField, "_hull", uneven)


@pytest.mark.usefixtures("gpu", "no_symmetry")
@pytest.mark.parametrize("shading", [False, True])
def test_a_step_has_the_gradients_of_the_processor(shading: bool) -> None:
    system, capture = _system(shading), tiny_capture(holdout=8)
    cpu = Fit(capture, system)
    loss = cpu.problem.gradient()
    with pretended_gpu():
        fit = Fit(capture, system, device=CUDA)
        assert fit.problem.gradient() == pytest.approx(loss, rel=1e-6)
        for name, tensor in fit.field.params.items():
            assert isinstance(tensor.grad, Pretended)
            true = cpu.field.params[name].grad
            assert true is not None
            assert float((tensor.grad.cpu() - true).norm()) < 1e-4 * float(true.norm()), name


@pytest.mark.usefixtures("gpu", "no_symmetry")
def test_a_mesh_is_fitted_on_a_gpu_as_on_the_processor(tmp_path: Path) -> None:
    system, capture = _system(False), tiny_capture(holdout=8)
    on_cpu = Fit(capture, system)
    before = {n: t.clone() for n, t in on_cpu.field.params.state().items()}
    for _ in range(STEPS):
        on_cpu.advance()
    cpu = on_cpu.field.params.state()
    with pretended_gpu():
        first = Fit(capture, system, folder=tmp_path, device=CUDA)
        assert isinstance(first.field.params["values"], Pretended)
        for step in range(4):
            before_step = len(WAITS)
            first.advance()
            if step:  # a first step waits for sizes
                assert WAITS[before_step:] == []
        assert not first.problem.room.grown
        first.save()
        fit = Fit(capture, system, folder=tmp_path, resume=True, device=CUDA)
        assert fit.step == 4
        for _ in range(STEPS - 4):
            fit.advance()
        params, mesh = fit.field.params.state(), fit.field.mesh()
        assert abs(fit.evaluate().psnr - on_cpu.evaluate().psnr) < 0.05
    assert not isinstance(mesh.vertices, Pretended)
    assert torch.equal(mesh.faces, on_cpu.field.mesh().faces)
    for name, tensor in params.items():
        assert not isinstance(tensor, Pretended)
        moved = float((cpu[name] - before[name]).norm())
        assert moved > 0, name
        assert float((tensor - cpu[name]).norm()) <= 0.02 * moved, name


@pytest.mark.usefixtures("gpu", "no_symmetry")
@pytest.mark.parametrize("shading", [False, True])
def test_too_little_room_costs_steps_and_no_bits(shading: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_UNIT", 1)
    monkeypatch.setattr(room, "MARGIN", 1.0)  # so that there is too little again and again
    system, capture, results = _system(shading), tiny_capture(holdout=8), []
    for size in (5000, 2, 0):
        with pretended_gpu():
            fit = Fit(capture, system, device=CUDA)
            if size == 0:
                monkeypatch.setattr(problem, "has_room", lambda tensor: False)  # exact lists, waited for
            fit.problem.room.sizes.update(dict.fromkeys(LISTS, size))
            while fit.step < 4:
                fit.advance()
            fit.settle()
            results.append(fit.field.params.state())
        assert (fit.problem.room.grown > 0) == (size == 2)
        assert (fit.problem.passes.count > 4) == (size == 2)
        assert set(fit.problem.room._needed) == (set(LISTS) if size else set())
    for params in results[1:]:
        for name, tensor in params.items():
            assert torch.equal(tensor, results[0][name]), name
