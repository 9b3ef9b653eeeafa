"""Poses as unknowns: bundle adjustment of a fit against its pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_capture import random_gaussians, tiny_capture
from torch import Tensor

from recon.errors import InputError
from recon.fields.gaussians import GaussianField, GaussianSettings
from recon.fit.evaluate import compare, mean
from recon.fit.loop import Fit
from recon.fit.own_poses import on_own_photos
from recon.fit.pose_block import flat, rows
from recon.fit.poses import Poses, twist
from recon.fit.second_order import ViewsProblem
from recon.fit.system import PoseRefinement, System
from recon.losses.photometric import Photometric
from recon.losses.squared import SquaredError
from recon.optim.adam import AdamSettings
from recon.optim.damping import PaperDamping, TrustRegion
from recon.optim.gauss_newton import GaussNewton, Memory
from recon.optim.linear import ConjugateGradients
from recon.optim.schedule import Schedule
from recon.renderers.march import MarchRenderer
from recon.renderers.splat import SplatRenderer
from recon.types import Capture, View

RATES = {"means": Schedule(3e-3, 3e-4), "log_scales": Schedule(1e-2, 1e-3), "quaternions": Schedule(4e-3, 4e-4),
         "logits": Schedule(0.05, 0.005), "sh0": Schedule(1e-2, 1e-3), "sh_rest": Schedule(1e-3, 1e-4)}


def _system(steps: int = 60, **refinement: Any) -> System:
    return System(GaussianSettings(sh_degree=1), SplatRenderer(), AdamSettings(RATES), {"photometric": Photometric()},
                  steps=steps, pose_refinement=PoseRefinement(True, begin=0.0, **refinement))


def _shaken(capture: Capture, degrees: float, share: float, seed: int = 3) -> Capture:
    """Every fitted camera turned and moved at random, by so many degrees and such a share of the radius (rms)."""
    generator = torch.Generator().manual_seed(seed)
    views = []
    for view in capture.views:
        xi = torch.randn(6, generator=generator, dtype=torch.float64) / math.sqrt(3)
        xi[:3] *= math.radians(degrees)
        xi[3:] *= share * capture.radius
        if view.split == "train":
            pose = view.camera.world_from_camera @ twist(xi)
            view = replace(view, camera=replace(view.camera, world_from_camera=pose))
        views.append(view)
    return replace(capture, views=tuple(views))


def _true_field(fit: Fit) -> None:
    truth = GaussianField.from_gaussians(random_gaussians())
    fit.field.params.load_state({k: v.clone() for k, v in truth.params.state().items()})
    fit.field.active_degree = 1


def _errors(poses: Poses, truth: Tensor) -> tuple[float, float]:
    """Median error in degrees and in scene units, after the similarity that pixels cannot tell."""
    found = Poses(poses.settings, [], poses.radius, given=truth)
    found.current = poses.current
    turned, moved = found.moves()
    return float(turned.median()), float(moved.median()) * poses.radius


@pytest.fixture(scope="module")
def capture() -> Capture:
    return tiny_capture()


@pytest.fixture(scope="module")
def truth(capture: Capture) -> Tensor:
    return torch.stack([v.camera.world_from_camera for v in capture.train])


def test_twist_is_rigid_and_its_inverse_undoes_it() -> None:
    for scale in (0.0, 1e-12, 1e-5, 1.0, 3.0):
        xi = scale * torch.tensor([0.3, -0.8, 0.5, 0.0, 0.0, 0.0], dtype=torch.float64)
        T = twist(xi)
        torch.testing.assert_close(T[:3, :3] @ T[:3, :3].T, torch.eye(3, dtype=torch.float64))
        torch.testing.assert_close(T @ twist(-xi), torch.eye(4, dtype=torch.float64))
        K = torch.tensor([[0, -xi[2], xi[1]], [xi[2], 0, -xi[0]], [-xi[1], xi[0], 0]], dtype=torch.float64)
        torch.testing.assert_close(T[:3, :3], torch.linalg.matrix_exp(K))


def test_poses_come_back_in_front_of_the_true_scene(capture: Capture, truth: Tensor) -> None:
    fit = Fit(_shaken(capture, 1.0, 0.01), _system(damping=1e-3))
    _true_field(fit)
    poses = fit.problem.poses
    assert poses is not None
    before = _errors(poses, truth)
    for step in range(30):
        fit.problem.step = step
        seen = fit.problem.observe()
        poses.refine(SplatRenderer().linearise(fit.field, seen.camera, background=seen.background), seen)
    after = _errors(poses, truth)
    assert before[0] > 0.5
    assert after[0] < 0.1 * before[0]
    assert after[1] < 0.1 * before[1]


def test_held_out_cameras_find_their_places_by_their_own_photos(capture: Capture) -> None:
    """All off alike, as the fitted cameras' frame may be: 1 degree and 1 % of the radius."""
    fit = Fit(capture, _system())
    _true_field(fit)
    off = twist(torch.tensor([0.008, -0.012, 0.010, *(capture.radius * x for x in (0.006, 0.006, -0.006))],
                             dtype=torch.float64))
    wrong = [replace(v, camera=replace(v.camera, world_from_camera=off @ v.camera.world_from_camera))
             for v in capture.test]
    before = {k: v.clone() for k, v in fit.field.params.state().items()}
    own = tuple(on_own_photos(fit.field, fit.system, capture, wrong))

    def quality(views: Sequence[View]) -> float:
        return mean({r.name: r.scores for r in compare(fit.field, fit.system, capture, views)})["psnr"]

    assert quality(wrong) < quality(capture.test) - 3
    assert quality(own) > quality(capture.test) - 0.1
    for found, view in zip(own, capture.test):
        gap = found.camera.world_from_camera - view.camera.world_from_camera
        assert float(gap[:3, :3].norm()) < 0.1 * float(off[:3, :3].sub(torch.eye(3)).norm())
    assert all(torch.equal(v, before[k]) for k, v in fit.field.params.state().items())  # the scene stood still


def test_a_fit_wins_back_what_wrong_poses_cost(capture: Capture, truth: Tensor) -> None:
    """From a scene disturbed like the poses: scene and poses together, PSNR of held-out views."""
    def quality(system: System, seen: Capture) -> tuple[float, Fit]:
        fit = Fit(seen, system)
        _true_field(fit)
        generator = torch.Generator().manual_seed(11)
        for name, size in (("means", 0.02), ("sh0", 0.3), ("log_scales", 0.1)):
            t = fit.field.params[name].detach()
            t += size * torch.randn(t.shape, generator=generator)
        fit.optimizer = system.optimizer.build(fit.field, fit.problem.radius, system.steps)
        for _ in range(system.steps):
            fit.advance()
        return fit.evaluate().psnr, fit

    shaken, system = _shaken(capture, 1.0, 0.01), _system(360)
    right = quality(replace(system, pose_refinement=PoseRefinement()), capture)[0]
    wrong = quality(replace(system, pose_refinement=PoseRefinement()), shaken)[0]
    got, fit = quality(system, shaken)
    assert right - wrong > 1.0
    assert got >= wrong + 0.9 * (right - wrong)
    assert fit.problem.poses is not None
    turned, _ = _errors(fit.problem.poses, truth)
    assert turned < 0.4


def test_drift_of_all_cameras_is_taken_along(capture: Capture) -> None:
    poses = Poses(PoseRefinement(True), capture.train, capture.radius)
    together = twist(torch.tensor([0.1, -0.2, 0.05, 0.3, 0.1, -0.4], dtype=torch.float64))
    poses.current = together @ poses.current
    drift = poses.drift()
    assert drift.scale == pytest.approx(1.0)
    torch.testing.assert_close(drift.rotation, together[:3, :3])
    for before, after in zip(capture.test, poses.aligned(capture.test)):
        torch.testing.assert_close(after.camera.world_from_camera, together @ before.camera.world_from_camera)
    assert "0.00 degrees" in poses.words()


def _joint(fit: Fit, **options: Any) -> ViewsProblem:
    return ViewsProblem(fit.field, fit.system, fit.problem.observations, range(6), poses=fit.problem.poses, **options)


def test_gradient_by_poses_agrees_with_central_differences(capture: Capture) -> None:
    fit = Fit(_shaken(capture, 1.0, 0.01), replace(_system(), losses={"squared": SquaredError()}))
    _true_field(fit)
    problem = _joint(fit)
    near = problem.linearise()
    x, first = problem.read(), len(problem.read()) - 36
    assert float(x[first:].abs().max()) == 0
    want = torch.zeros(36)
    for k in range(36):
        values = []
        for h in (-3e-4, 3e-4):
            moved = x.clone()
            moved[first + k] = h
            problem.write(moved)
            values.append(problem.value())
        want[k] = (values[1] - values[0]) / 6e-4
    # edges at alpha = 1/255 that cross pixels are in the differences only
    assert (near.gradient[first:] - want).norm() <= 0.03 * want.norm()
    problem.write(x)


def test_products_with_poses_are_symmetric_and_agree_with_columns(capture: Capture) -> None:
    fit = Fit(_shaken(capture, 1.0, 0.01), _system())
    _true_field(fit)
    generator = torch.Generator().manual_seed(1)
    for options in ({}, {"curved": 3}, {"memory": 0}):
        near = _joint(fit, **options).linearise()
        a, b = (torch.randn(len(near.gradient), generator=generator) for _ in range(2))
        Ha, Hb = near.product(a), near.product(b)
        size = math.sqrt(float((a @ Ha) * (b @ Hb)))
        assert float(a @ Hb) == pytest.approx(float(b @ Ha), rel=1e-3, abs=1e-4 * size)
        assert float(a @ Ha) > 0
        unit = torch.zeros_like(a)
        unit[-1] = 1
        assert float(near.product(unit)[-1]) == pytest.approx(float(near.diagonal[-1]), rel=1e-4)


def test_rows_and_parts_of_x() -> None:
    twists = torch.arange(24.0).view(4, 6)
    assert torch.equal(rows(flat(twists)), twists)


@pytest.mark.parametrize("damping", [PaperDamping(), TrustRegion(start=1e-2)], ids=["paper", "trust"])
@pytest.mark.parametrize("preconditioner", ["jacobi", "block"])
def test_joint_steps_lower_the_loss_and_mend_the_poses(
        capture: Capture, truth: Tensor, damping: Any, preconditioner: Any) -> None:
    fit = Fit(_shaken(capture, 1.0, 0.01), replace(_system(), losses={"squared": SquaredError()}))
    _true_field(fit)
    assert fit.problem.poses is not None
    before = _errors(fit.problem.poses, truth)
    problem, memory = _joint(fit), Memory()
    solver = GaussNewton(damping, ConjugateGradients(10, 0.01), preconditioner)
    first = problem.value()
    for _ in range(16):
        report = solver.step(problem, memory)
        assert report.after <= report.before
    assert problem.value() < 0.05 * first
    assert fit.problem.poses.drift().scale == pytest.approx(1.0, abs=0.02)
    assert _errors(fit.problem.poses, truth)[0] < 0.6 * before[0]


def test_a_failed_step_leaves_the_poses_to_the_bit(capture: Capture) -> None:
    fit = Fit(_shaken(capture, 1.0, 0.01), _system())
    _true_field(fit)

    class Boastful(ViewsProblem):
        def linearise(self, blocks: bool = False) -> Any:
            near = super().linearise(blocks)
            near.gradient *= 1e4
            return near

    assert fit.problem.poses is not None
    before = fit.problem.poses.current.clone()
    problem = Boastful(fit.field, fit.system, fit.problem.observations, range(6), poses=fit.problem.poses)
    report = GaussNewton(TrustRegion(start=1e-3), most_change=1e3).step(problem, Memory())
    assert not report.accepted
    assert torch.equal(fit.problem.poses.current, before)


def test_the_same_bits_after_a_resume(capture: Capture, tmp_path: Path) -> None:
    system = _system(20, every=1)
    whole = Fit(_shaken(capture, 1.0, 0.01), system)
    for _ in range(20):
        whole.advance()
    for _ in Fit(_shaken(capture, 1.0, 0.01), system, folder=tmp_path, until=9).events():
        pass
    rest = Fit(_shaken(capture, 1.0, 0.01), system, folder=tmp_path, resume=True)
    for _ in rest.events():
        pass
    assert rest.resumed
    assert whole.problem.poses is not None
    assert rest.problem.poses is not None
    assert whole.problem.poses.steps > 0
    assert torch.equal(whole.problem.poses.current, rest.problem.poses.current)


def test_what_has_no_poses_is_refused_by_name(capture: Capture) -> None:
    with pytest.raises(InputError, match="MarchRenderer"):
        Fit(capture, replace(_system(), renderer=MarchRenderer()))
