"""Whole fits of volumes and signed distances with the CUDA drivers on the executor, on a pretended GPU."""

from __future__ import annotations

import os
from contextlib import nullcontext
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
from recon.types.volume import random_points

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
    if method in ("dvgo", "pynerf_dvgo"):
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
@pytest.mark.parametrize("method", ["dvgo", "pynerf_dvgo"])
def test_random_points_wait_for_nothing_after_a_change_of_cells(method: str) -> None:
    system = replace(_system(method), strategies={})
    with pretended_gpu():
        fit = Fit(_capture(method), system, device=CUDA)
        for _ in range(2):
            fit.advance()
        occupied = fit.field.region.occupied.clone()
        occupied[0] = False
        fit.field.occupy(occupied)
        before = len(WAITS)
        fit.advance()
        assert WAITS[before:] == []
        points = random_points(fit.field.volume(), 500, torch.Generator().manual_seed(3))
        assert torch.equal(points.cpu(), random_points(
            replace(fit.field.volume(), cells=fit.field.volume().cells.cpu()), 500, torch.Generator().manual_seed(3)))
        assert float(points[:, 0].min()) >= 1 / len(occupied)


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("samples", [0, 30, 5000, 9000])
def test_the_gradient_of_a_rotation_does_not_depend_on_room(samples: int) -> None:
    """Fewer samples than it looks at, as many to twice as many, and more: rows behind the last sample change no bit."""
    generator = torch.Generator().manual_seed(5)
    field = _system("tilted_tensorf_cp").field.build()
    field.initialise(_capture("tilted_tensorf_cp"), 0)
    u, width = torch.rand(samples, 3, generator=generator), torch.full((samples,), 0.01)
    found = []
    with pretended_gpu():
        field.params.to(CUDA)
        g: Any = None
        for spare in (None, 0, 777):
            rows = spare or 0
            at, footprint = torch.cat([u, torch.zeros(rows, 3)]), torch.cat([width, torch.zeros(rows)])
            with nullcontext() if spare is None else room.Room().opened():
                raw, more = field.density_and_more(at.to(CUDA), footprint.to(CUDA))
                assert more is None
            if g is None:
                g = torch.randn(samples, generator=generator)
            (grad,) = torch.autograd.grad(raw, [field.params["rotation"]], torch.cat([g, torch.zeros(rows)]).to(CUDA))
            found.append(grad.cpu())
    assert (float(found[0].norm()) > 0) == (samples > 0)
    assert all(torch.equal(grad, found[0]) for grad in found[1:])


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


def _of_second_order(steps: int, until: float, chunk: int = 16_384, **more: Any) -> System:
    """A volume whose steps after the first are of second order; photos are small ``until`` this share of the fit."""
    rates = {"density": Schedule(0.5), "features": Schedule(0.1), "decoder": Schedule(4e-3)}
    step = GaussNewton(PaperDamping(10.0), ConjugateGradients(1), line_search=1)
    return System(DenseGridSettings(voxels=500, hidden=4, channels=2), MarchRenderer(chunk=chunk),
                  LevenbergMarquardtSettings(warm_up=TouchedAdamSettings(rates), steps=steps - 1, curved=1, step=step),
                  {"colour": SquaredError()}, steps=steps, resolution=Resolution(8.0, until, 5), **more)


def _one_view() -> Capture:
    capture = tiny_capture(holdout=2)
    return replace(capture, views=capture.views[:2])  # one to fit: a picture takes seconds on the executor


@pytest.mark.usefixtures("gpu")
def test_second_order_steps_of_a_volume_on_a_gpu() -> None:
    system, capture = _of_second_order(2, until=1.0), _one_view()
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


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("sampler", [None, RandomPixels(rays=12, views=1)], ids=["pictures", "rays"])
def test_a_second_order_step_of_a_volume_waits_once_at_its_end(sampler: RandomPixels | None) -> None:
    with pretended_gpu():
        fit = Fit(_one_view(), _of_second_order(2, 100.0, chunk=12, sampler=sampler), device=CUDA)
        fit.problem.room.sizes.update({f"band of a picture: {name}": 600 for name in LISTS})  # of none is it waited for
        fit.advance()
        before = len(WAITS)
        fit.advance()
        assert WAITS[before:] == ["tolist", "tolist"]  # what became of it; whether its lists had room
    assert not fit.problem.room.grown
    assert any(r.accepted for r in fit.optimizer.reports)


@pytest.mark.usefixtures("gpu")
def test_a_second_order_step_of_a_volume_without_room_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_UNIT", 1)
    monkeypatch.setattr(room, "MARGIN", 1.0)
    results = []
    for size in (600, 100, 0):
        with pretended_gpu():
            if size == 0:
                monkeypatch.setattr(problem, "has_room", lambda tensor: False)  # exact lists, waited for
            fit = Fit(_one_view(), _of_second_order(2, 100.0, chunk=12), device=CUDA)
            fit.problem.room.sizes.update({f"band of a picture: {name}": size for name in LISTS})
            while fit.step < 2:
                fit.advance()
        assert (fit.problem.room.grown > 0) == (size == 100)
        results.append((fit.field.params.state(), fit.optimizer.memory, fit.optimizer.reports))
    for params, *others in results[1:]:
        assert others == list(results[0][1:])
        assert len(others[1]) == 1
        for name, tensor in params.items():
            assert torch.equal(tensor, results[0][0][name]), name


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
