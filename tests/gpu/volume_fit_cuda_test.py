"""Whole fits of volumes and signed distances with the CUDA drivers on the executor, on a pretended GPU."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pretend import CUDA, WAITS, Pretended, arrived, pretended_gpu
from tiny_capture import tiny_capture
from volume_stand_ins import TINY, nerfacc_on_cpu

from recon.app.catalogue import load
from recon.fields.dense_grid import DenseGridSettings
from recon.fit import problem
from recon.fit.loop import Fit
from recon.fit.system import Resolution, System
from recon.losses.s3im import S3im
from recon.losses.sparsity import OpacitySparsity
from recon.losses.squared import SquaredError
from recon.losses.total_variation import TotalVariation
from recon.ops import cuda, room
from recon.ops.substitutes import Substitutes
from recon.optim.damping import PaperDamping
from recon.optim.gauss_newton import GaussNewton
from recon.optim.levenberg_marquardt import LevenbergMarquardtSettings
from recon.optim.linear import ConjugateGradients
from recon.optim.schedule import Schedule
from recon.optim.touched_adam import TouchedAdamSettings
from recon.renderers import surface
from recon.renderers.march import MarchRenderer
from recon.samplers.pixels import RandomPixels
from recon.strategies.occupancy import ShrinkOccupancy
from recon.strategies.refine import Refine
from recon.types import Capture

pytestmark = pytest.mark.skipif(os.environ.get("RECON_TEST_DEVICE") == "cuda" or "RECON_EXECUTOR_ASAN" in os.environ,
                                reason="needs the executor, and whole fits take minutes under the sanitizer")

METHODS = ("dvgo", "tensorf_cp", "ngp", "strivec", "tilted_tensorf", "pynerf_dvgo", "rbf_dvgo", "neus",
           "volsdf", "neus of a mesh")  # the last: of a surface that is known
LISTS = ("samples", "coloured samples", "samples in front", "samples on the surface")
MEASURED = ("rbf_dvgo", "neus")  # a picture takes seconds on the executor
STEPS = 6


def _small(field: Any) -> Any:
    """The same settings with little to compute."""
    small = {"voxels": 2000, "cells": 8, "hidden": 8, "sites": (2, 3), "density_rank": (2, 2), "colour_rank": (2, 2),
             "levels": 3, "log2_slots": 8, "finest": 16, "colour_finest": 16, "kernels": 8, "coarse_voxels": 500,
             "channels": 2, "density_hidden": 8, "handed_on": 3, "rotations": 2}
    changed = {k: v for k, v in small.items() if hasattr(field, k)}
    if hasattr(field, "form"):  # factored grids have one rank, not one per scale
        changed |= {"density_rank": 2, "colour_rank": 3}
    if hasattr(field, "inner"):
        changed["inner"] = _small(field.inner)
    return replace(field, **changed)


class Ball:
    """A surface that is known."""

    def distance(self, x_world: torch.Tensor) -> torch.Tensor:
        return x_world.norm(dim=1) - 0.3

    def points(self, count: int, generator: torch.Generator) -> torch.Tensor:
        return 0.3 * torch.nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=1)


def _capture(method: str) -> Capture:
    return replace(tiny_capture(holdout=8), surface=Ball() if method.endswith("of a mesh") else None)


def _system(method: str, rays: int = 64) -> System:
    base = load(method.partition(" of ")[0], "fast")
    losses = dict(base.losses)
    strategies = dict(base.strategies)
    if method == "dvgo":
        losses |= {"s3im": S3im(weight=0.1, repeats=2), "tv": TotalVariation(points=64), "few": OpacitySparsity(
            points=64)}
    if "occupancy" in strategies:
        strategies["occupancy"] = ShrinkOccupancy(begin=0.3, every=2, threshold=1e-6)
    if "refine" in strategies:
        strategies["refine"] = Refine(at=(0.4, 0.7))
    return replace(base, field=_small(base.field), losses=losses, strategies=strategies, steps=STEPS,
                   sampler=RandomPixels(rays=rays, views=3))


def _finished(fit: Fit) -> dict[str, torch.Tensor]:
    """The parameters after all steps."""
    while fit.step < STEPS:
        fit.advance()
    return fit.field.params.state()


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("method", METHODS)
def test_steps_on_a_gpu_wait_for_nothing_and_agree_with_the_processor(
    method: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:
    monkeypatch.setattr(surface._Draws, "where", ("cpu", "cuda"))  # the same random numbers on both
    system, capture = _system(method), _capture(method)
    on_cpu = Fit(capture, system)
    cpu, waits = _finished(on_cpu), []
    with pretended_gpu():
        first = Fit(capture, system, folder=tmp_path, device=CUDA)
        assert isinstance(first.field.params["decoder"], Pretended)
        while first.step < 4:
            changes = any(s.due(first.problem) for s in first.strategies.values())
            before = len(WAITS)
            first.advance()
            if first.step > 1 and not changes:  # a first step waits for sizes
                waits.append(WAITS[before:])
        assert not first.problem.room.grown
        first.save()
        again = Fit(capture, system, folder=tmp_path, resume=True, device=CUDA)
        assert again.step == 4
        params = _finished(again)
        if method in MEASURED:
            assert abs(again.evaluate().psnr - on_cpu.evaluate().psnr) < 0.05
    assert waits
    assert not any(waits), waits
    misses = getattr(again.problem.render.trace, "misses", torch.zeros(0))
    assert (len(misses) > 0) == (method == "neus of a mesh")
    for name, tensor in params.items():
        assert not isinstance(tensor, Pretended)
        assert tensor.shape == cpu[name].shape
        assert float((tensor - cpu[name]).norm()) <= 0.02 * float(cpu[name].norm()) + 1e-6, name


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("method", ["dvgo", "ngp", "pynerf_ngp", "tilted_tensorf_cp", "rbf_dvgo", "neus",
                                    "neus of a mesh"])
def test_too_little_room_for_samples_costs_steps_and_no_bits(method: str, monkeypatch: pytest.MonkeyPatch,
                                                             tmp_path: Path) -> None:
    monkeypatch.setattr(room, "_UNIT", 1)
    monkeypatch.setattr(room, "MARGIN", 1.0)  # so that there is too little again and again
    system, capture, results = _system(method, rays=12), _capture(method), []
    for size, saving in ((1000, False), (2, method == "neus"), (0, False)):  # settles each step where it saves
        with pretended_gpu():
            fit = Fit(capture, system, device=CUDA, folder=tmp_path if saving else None)
            if size == 0:
                monkeypatch.setattr(problem, "has_room", lambda tensor: False)  # exact lists, waited for
            fit.problem.room.sizes.update(dict.fromkeys(LISTS, size), samples=10 * size)
            while fit.step < STEPS:
                fit.advance()
                if saving:
                    fit.save()
            fit.settle()
            kept = {n: torch.tensor(x) for n, x in fit.field.state().items() if n == "mean_square"}
            results.append(fit.field.params.state() | kept)
        grown = fit.problem.room.grown
        assert (grown > 1) == (size == 2)
        assert fit.step == STEPS
        assert (fit.problem.passes.count > STEPS) == (size == 2)
    for params in results[1:]:
        for name, tensor in params.items():
            assert torch.equal(tensor, results[0][name]), name


@pytest.mark.usefixtures("gpu")
def test_second_order_steps_of_a_volume_on_a_gpu() -> None:
    rates = {"density": Schedule(0.5), "features": Schedule(0.1), "decoder": Schedule(4e-3)}
    step = GaussNewton(PaperDamping(10.0), ConjugateGradients(1), line_search=1)
    system = System(DenseGridSettings(voxels=500, hidden=4, channels=2), MarchRenderer(),
                    LevenbergMarquardtSettings(warm_up=TouchedAdamSettings(rates), steps=1, curved=1, step=step),
                    {"colour": SquaredError()}, steps=2, resolution=Resolution(8.0, 1.0, 5))
    capture = tiny_capture(holdout=2)
    capture = replace(capture, views=capture.views[:2])  # one to fit: a picture takes seconds on the executor
    cpu = Fit(capture, system)
    cpu_losses = [cpu.advance()[0] for _ in range(2)]
    with pretended_gpu():
        fit = Fit(capture, system, device=CUDA)
        losses = [fit.advance()[0] for _ in range(2)]
        assert isinstance(fit.field.params["density"], Pretended)
    (report,), (theirs,) = fit.optimizer.reports, cpu.optimizer.reports
    assert report.accepted
    assert report.after < report.before
    assert report.after == pytest.approx(theirs.after, rel=1e-3)
    assert losses[-1] == pytest.approx(cpu_losses[-1], rel=1e-3)
    before = {n: t for n, t in Fit(capture, system).field.params.state().items()}
    for name, tensor in fit.field.params.state().items():
        other = cpu.field.params.state()[name]
        assert float((tensor - other).norm()) < 0.05 * float((other - before[name]).norm()), name


@pytest.mark.parametrize("method", ["ngp", "tensorf_cp", "rbf_dvgo"])
def test_a_volume_is_fitted_by_the_stand_ins(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """nerfacc, tiny-cuda-nn and plain torch in the place of our kernels, with every tensor where it belongs."""
    stand_in = Substitutes(None, nerfacc_on_cpu(), TINY)
    monkeypatch.setattr(cuda, "kernels_for", lambda t: stand_in if isinstance(t, Pretended) else None)
    monkeypatch.setattr(cuda, "backends", lambda: ("nerfacc", "tinycudann"))
    monkeypatch.setattr(cuda, "stream", lambda device: 0)
    monkeypatch.setattr(cuda, "to_host", arrived)
    cuda.none.cache_clear()
    system, capture = _system(method), tiny_capture(holdout=8)
    cpu = _finished(Fit(capture, system))
    with pretended_gpu():
        params = _finished(Fit(capture, system, device=CUDA))
    for name, tensor in params.items():
        assert float((tensor - cpu[name]).norm()) <= 0.02 * float(cpu[name].norm()) + 1e-6, name
