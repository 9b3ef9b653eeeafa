"""Whole fits with the CUDA drivers on the executor: the same as on the processor, and no tensor in the wrong place."""

from __future__ import annotations

import itertools
import math
import os
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
from pretend import CUDA, WAITS, Pretended, pretended_gpu
from tiny_capture import tiny_capture

from recon.configs import gaussians_lm, gaussians_newton
from recon.configs.gaussians import PRESETS
from recon.errors import InputError
from recon.fit.events import Evaluated
from recon.fit.loop import Fit, refuse_what_is_not_on_cuda
from recon.fit.system import Exposure, PoseRefinement, System
from recon.ops import cuda, room
from recon.optim.schedule import Schedule
from recon.renderers.mesh import MeshRenderer
from recon.strategies.densify import Densify
from recon.strategies.mcmc import Mcmc
from recon.types import Observation

pytestmark = pytest.mark.skipif(os.environ.get("RECON_TEST_DEVICE") == "cuda" or "RECON_EXECUTOR_ASAN" in os.environ,
                                reason="needs the executor, and whole fits take minutes under the sanitizer")


def _system(steps: int = 12) -> System:
    base = PRESETS["fast"]
    field = replace(base.field, random_points=120, sh_degree=1)
    return replace(base, field=field, steps=steps, strategies=base.strategies | {
        "densify": Densify(every=4, begin=0.1, until=0.9, threshold=1e-6, reset_every=0.5, budget=200)})


def _result(fit: Fit) -> tuple[float, dict[str, torch.Tensor]]:
    psnr = 0.0
    for event in fit.events():
        if isinstance(event, Evaluated) and event.final:
            psnr = event.psnr
    return psnr, fit.field.params.state()


def test_a_fit_with_the_drivers_agrees_with_the_processor(executor: ModuleType,
                                                          monkeypatch: pytest.MonkeyPatch) -> None:
    cpu_psnr, cpu = _result(Fit(tiny_capture(), _system()))
    calls = []
    monkeypatch.setattr(cuda, "kernels_for", lambda t: calls.append(1) or executor)
    ours_psnr, ours = _result(Fit(tiny_capture(), _system()))
    assert len(calls) > 3 * 12
    assert abs(ours_psnr - cpu_psnr) < 0.05
    assert ours["means"].shape == cpu["means"].shape
    # Not the rotations: those of round Gaussians have a gradient of rounding errors, of which Adam makes whole steps.
    for name in ("means", "logits", "sh0"):
        assert float((ours[name] - cpu[name]).norm()) < 1e-2 * float(cpu[name].norm()), name


@pytest.mark.usefixtures("gpu")
def test_a_fit_on_a_gpu_puts_every_tensor_in_its_place(tmp_path: Path) -> None:
    cpu_psnr, cpu = _result(Fit(tiny_capture(), _system()))
    capture = tiny_capture()
    with pretended_gpu():
        first = Fit(capture, _system(), folder=tmp_path, until=7, device=CUDA)
        assert isinstance(first.field.params["means"], Pretended)
        for _ in first.events():
            pass
        again = Fit(capture, _system(), folder=tmp_path, resume=True, device=CUDA)
        assert again.step == 7
        psnr, params = _result(again)
        assert not isinstance(again.field.gaussians().means, Pretended)
    assert abs(psnr - cpu_psnr) < 0.05
    assert params["means"].shape == cpu["means"].shape
    assert all(not isinstance(t, Pretended) for t in params.values())


def _with_mcmc() -> System:
    return replace(_system(), strategies={"mcmc": Mcmc(budget=150, every=4, begin=0.1)})


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("system", [_system(), _with_mcmc()], ids=["densify", "mcmc"])
def test_a_step_waits_for_nothing(system: System) -> None:
    marks: list[int] = []
    with pretended_gpu():
        fit = Fit(tiny_capture(), system, device=CUDA, evaluate_every_s=math.inf)
        fit.between_steps = lambda: marks.append(len(WAITS))
        for _ in fit.events():
            pass
    waits = [WAITS[a:b] for a, b in itertools.pairwise(marks)][:system.steps]  # then views are measured
    assert waits[0] == ["aten._local_scalar_dense.default"]  # the first picture's tile entries
    others = [1, 5] if "densify" in system.strategies else []  # colours get one more degree; opacities are reset
    structural = [*others, *(i for i in range(len(waits)) if (i + 1) % 4 == 0)]
    assert any(waits[i] for i in structural)  # new Gaussians: their number is a size
    for i, step in enumerate(waits):
        if i and i not in structural:
            assert step == [], (i, step)


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("system", [_system(), _with_mcmc()], ids=["densify", "mcmc"])
def test_too_little_room_costs_steps_and_no_bits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
                                                 system: System) -> None:
    monkeypatch.setattr(room, "_UNIT", 1)
    monkeypatch.setattr(room, "MARGIN", 1.0)  # so that there is too little again and again
    results = []
    for size, saving in ((20_000, False), (7, False), (7, True)):  # saving waits for the step, and repeats one at most
        with pretended_gpu():
            fit = Fit(tiny_capture(), system, device=CUDA, folder=tmp_path if saving else None, checkpoint_every_s=0.0,
                      evaluate_every_s=math.inf)
            fit.problem.room.sizes["tiles"] = size
            results.append(_result(fit))
        grown, again = fit.problem.room.grown, fit.problem.passes.count - system.steps
        assert fit.step == fit.optimizer.count == system.steps
        assert (grown > 1) == (size == 7)
        assert again == grown if saving or size > 7 else grown < again <= 2 * grown
    for psnr, params in results[1:]:
        assert psnr == results[0][0]
        for name, tensor in params.items():
            assert torch.equal(tensor, results[0][1][name]), name


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("preconditioner", ["jacobi", "block"])
def test_second_order_steps_on_a_gpu(monkeypatch: pytest.MonkeyPatch, preconditioner: str) -> None:
    base, few = _system(), gaussians_lm.PRESETS["fast"].optimizer
    step = replace(few.step, preconditioner=preconditioner, solver=replace(few.step.solver, iterations=3))
    # Round Gaussians: rotations have a gradient of rounding errors, of which Adam would make whole steps.
    still = replace(few.warm_up, rates=few.warm_up.rates | {"quaternions": Schedule(0.0)})
    system = replace(base, steps=6, optimizer=replace(few, warm_up=still, steps=2, step=step), strategies={})
    cpu = Fit(tiny_capture(holdout=8), system)
    cpu_losses = [cpu.advance()[0] for _ in range(6)]
    monkeypatch.setattr(room, "MARGIN", 1.0)
    monkeypatch.setattr(room, "_UNIT", 1)
    with pretended_gpu():
        fit = Fit(tiny_capture(holdout=8), system, device=CUDA)
        fit.problem.room.sizes["tiles"] = 7  # the last steps of Adam are made again before the first of second order
        losses = []
        while fit.step < 6:
            losses.append(fit.advance()[0])
    assert fit.problem.room.grown
    assert losses[-1] < 0.98 * losses[-2]
    assert abs(losses[-1] - cpu_losses[-1]) < 1e-3 * cpu_losses[-1]
    ours, theirs = fit.field.params.state(), cpu.field.params.state()
    for name in ("means", "logits", "sh0"):
        assert float((ours[name] - theirs[name]).norm()) < 1e-2 * float(theirs[name].norm()), name


@pytest.mark.usefixtures("gpu")
def test_local_newton_steps_on_a_gpu() -> None:
    local = replace(gaussians_newton.PRESETS["fast"].optimizer, share=0.5, curved=4, every=2)
    system = replace(_system(), steps=6, optimizer=local, strategies={})
    cpu = Fit(tiny_capture(holdout=8), system)
    with pretended_gpu():
        fit = Fit(tiny_capture(holdout=8), system, device=CUDA)
        while fit.step < 6:
            fit.advance()
    while cpu.step < 3:
        cpu.advance()
    before = {name: t.clone() for name, t in cpu.field.params.state().items()}
    while cpu.step < 6:
        cpu.advance()
    ours, theirs = fit.field.params.state(), cpu.field.params.state()
    for name in ("means", "logits", "sh0"):
        apart = float((ours[name] - theirs[name]).norm())
        assert apart < 1e-2 * float(theirs[name].norm()), name
        assert apart < 0.1 * float((before[name] - theirs[name]).norm()), name


def _of_second_order(system: System, steps: int, **step: object) -> System:
    """``system`` whose last ``steps`` steps are of second order, and look at three photos each."""
    few = gaussians_lm.PRESETS["fast"].optimizer
    settings = replace(few.step, solver=replace(few.step.solver, iterations=2), **step)
    return replace(system, optimizer=replace(few, steps=steps, views=3, curved=1, tested=2, step=settings),
                   strategies={})


def _with_poses(steps: int = 12) -> System:
    return replace(_system(steps), pose_refinement=PoseRefinement(True, begin=0.2))


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize(("base", "preconditioner", "trials"), [
    (_system(4), "jacobi", 1), (_system(4), "block", 3), (_with_poses(4), "jacobi", 3), (_with_poses(4), "block", 1)])
def test_a_step_of_second_order_waits_once_at_its_end(base: System, preconditioner: str, trials: int) -> None:
    system = _of_second_order(base, 2, line_search=trials, preconditioner=preconditioner)
    with pretended_gpu():
        fit = Fit(tiny_capture(holdout=2), system, device=CUDA)
        while fit.step < 2:
            fit.advance()
        for _ in range(2):
            before = len(WAITS)
            fit.advance()
            assert WAITS[before:] == ["tolist", "tolist"]  # what became of it; whether its lists had room
        if fit.problem.poses is not None:
            assert fit.problem.poses._coming  # where the cameras are is on its way
    assert any(r.accepted for r in fit.optimizer.reports)


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("base", [_system(4), _with_poses(4)], ids=["fixed", "poses"])
def test_a_step_of_second_order_without_room_changes_nothing_and_is_made_again(
        monkeypatch: pytest.MonkeyPatch, base: System) -> None:
    monkeypatch.setattr(room, "_UNIT", 1)
    monkeypatch.setattr(room, "MARGIN", 1.0)
    results = []
    for size in (20_000, 7):
        with pretended_gpu():
            fit = Fit(tiny_capture(holdout=2), _of_second_order(base, 3), device=CUDA)
            while fit.step < 2:
                fit.advance()
            fit.problem.room._forget()
            fit.problem.room.sizes["tiles"] = size
            grown = fit.problem.room.grown
            while fit.step < 4:
                fit.advance()
            fit.settle()
        assert (fit.problem.room.grown > grown) == (size == 7)
        assert fit.step == 4
        poses = {} if fit.problem.poses is None else {"poses": fit.problem.poses.current.clone()}
        results.append((fit.field.params.state() | poses, fit.optimizer.memory, fit.optimizer.reports))
    assert results[0][1:] == results[1][1:]
    assert len(results[0][2]) == 3
    for name, tensor in results[0][0].items():
        assert torch.equal(tensor, results[1][0][name]), name


@pytest.mark.usefixtures("gpu")
def test_a_loss_that_is_not_finite_is_named_after_a_step_of_second_order(monkeypatch: pytest.MonkeyPatch) -> None:
    system = _of_second_order(_system(3), 3)
    system = replace(system, optimizer=replace(system.optimizer, views=0))  # all of them
    kind = type(system.losses["photometric"])
    sound = kind.curvature

    def broken(self: object, rgb: torch.Tensor, seen: Observation) -> tuple[object, torch.Tensor, torch.Tensor]:
        value, gradient, weights = sound(self, rgb, seen)
        return (value * math.nan if seen.index == 2 else value), gradient, weights

    monkeypatch.setattr(kind, "curvature", broken)
    with pretended_gpu():
        fit = Fit(tiny_capture(holdout=2), system, device=CUDA)
        before = {name: t.clone() for name, t in fit.field.params.state().items()}
        with pytest.raises(InputError, match=f'"photometric".*{fit.problem.observations.views[2].name}'):
            fit.advance()
    for name, tensor in fit.field.params.state().items():
        assert torch.equal(tensor, before[name]), name


def test_pretending_notices_a_tensor_that_was_left_behind() -> None:
    with pretended_gpu():
        a = torch.ones(3).to(CUDA)
        assert a.device == CUDA
        assert (a + torch.tensor(1.0)).device == CUDA  # a single number may be anywhere
        with pytest.raises(RuntimeError, match="on one device"):
            a + torch.ones(3)
        with pytest.raises(RuntimeError, match="on one device"):
            torch.tensor(1.0).add_(a.sum())
        with pytest.raises(RuntimeError, match="on one device"):
            torch.stack([a.sum(), torch.tensor(1.0)])
        with pytest.raises(RuntimeError, match="generator"):
            torch.randn(3, generator=torch.Generator(), device=CUDA)
        assert a.cpu().sum() == 3


def _with_exposure() -> System:
    return replace(_system(), exposure=Exposure(True, 0.03, 0.01))


def _learned(fit: Fit) -> torch.Tensor:
    """What a fit knows of its photos: their maps of colours, or their poses."""
    if fit.problem.exposure is not None:
        return fit.problem.exposure.state()["maps"]
    assert fit.problem.poses is not None
    return fit.problem.poses.state()["current"]


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("system", [_with_exposure(), _with_poses()], ids=["exposure", "poses"])
def test_photos_are_corrected_on_a_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, system: System) -> None:
    cpu = Fit(tiny_capture(), system)
    cpu_psnr, params = _result(cpu)
    found = [_learned(cpu)]
    monkeypatch.setattr(room, "_UNIT", 1)
    monkeypatch.setattr(room, "MARGIN", 1.0)  # steps are made again, and must not count twice
    for size in (20_000, 7):
        with pretended_gpu():
            fit = Fit(tiny_capture(), system, device=CUDA, folder=tmp_path / str(size), until=7)
            fit.problem.room.sizes["tiles"] = size
            for _ in fit.events():
                pass
            assert (fit.problem.room.grown > 1) == (size == 7)
            fit = Fit(tiny_capture(), system, device=CUDA, folder=tmp_path / str(size), resume=True)
            assert fit.step == 7
            psnr, ours = _result(fit)
        assert abs(psnr - cpu_psnr) < 0.05
        found.append(_learned(fit))
    start = _learned(Fit(tiny_capture(), system))
    moved = float((found[0] - start).norm())
    assert moved > 1e-3
    for name in ("means", "logits", "sh0"):
        assert float((ours[name] - params[name]).norm()) < 1e-2 * float(params[name].norm()), name
    assert float((found[1] - found[0]).norm()) < 0.05 * moved
    assert torch.equal(found[1], found[2])


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("system", [_with_exposure(), _with_poses()], ids=["exposure", "poses"])
def test_correcting_photos_waits_for_nothing(system: System) -> None:
    with pretended_gpu():
        fit = Fit(tiny_capture(), replace(system, strategies={}), device=CUDA)
        fit.advance()
        before = len(WAITS)
        for _ in range(8):
            fit.advance()
        assert WAITS[before:] == []
        if fit.problem.poses is not None:
            assert fit.problem.poses.steps > 3
            assert len(fit.problem.poses._coming) > 1  # of views that were not looked at again


@pytest.mark.usefixtures("gpu")
def test_poses_and_scene_are_solved_together_on_a_gpu() -> None:
    base, few = _with_poses(), gaussians_lm.PRESETS["fast"].optimizer
    step = replace(few.step, solver=replace(few.step.solver, iterations=3))
    system = replace(base, steps=5, optimizer=replace(few, steps=2, step=step), strategies={})
    cpu = Fit(tiny_capture(holdout=8), system)
    cpu_losses = [cpu.advance()[0] for _ in range(5)]
    with pretended_gpu():
        fit = Fit(tiny_capture(holdout=8), system, device=CUDA)
        losses = [fit.advance()[0] for _ in range(5)]
    assert losses[-1] == pytest.approx(cpu_losses[-1], rel=1e-3)
    start = _learned(Fit(tiny_capture(holdout=8), system))
    moved = float((_learned(cpu) - start).norm())
    assert moved > 1e-4
    assert float((_learned(fit) - _learned(cpu)).norm()) < 0.05 * moved


def test_what_has_no_kernels_is_refused_by_name() -> None:
    second_order = replace(_system(), renderer=MeshRenderer(), optimizer=gaussians_lm.PRESETS["fast"].optimizer)
    with pytest.raises(InputError, match="MeshRenderer"):
        refuse_what_is_not_on_cuda(second_order)
