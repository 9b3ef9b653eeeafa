"""Colour maps of photos as unknowns of second-order steps, beside the scene and beside poses."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from near_truth import RATES, near_the_truth
from tiny_capture import Fixed, MemoryPhoto, camera_at, picture, random_gaussians, tiny_capture
from torch import Tensor

from recon.fields.gaussians import GaussianSettings
from recon.fit.corrected_picture import CorrectedPicture, corrected
from recon.fit.exposure_block import ExposureBlock
from recon.fit.loop import Fit
from recon.fit.second_order import ViewsProblem
from recon.fit.system import Exposure, PoseRefinement, System
from recon.losses.photometric import Photometric
from recon.losses.squared import SquaredError
from recon.ops.splat import Projection
from recon.ops.splat_normal import SplatLinearisation
from recon.optim.adam import AdamSettings
from recon.optim.damping import PaperDamping, TrustRegion
from recon.optim.gauss_newton import GaussNewton, Memory
from recon.optim.levenberg_marquardt import LevenbergMarquardtSettings
from recon.optim.linear import ConjugateGradients
from recon.renderers.splat import SplatRenderer
from recon.types import Capture, Gaussians, Photo

OFF = {"means": 0.02, "sh0": 0.3}
STEP = GaussNewton(TrustRegion(start=0.1), ConjugateGradients(20, 0.01))
MIXED = torch.tensor([[0.9, 0.06, -0.02, 0.03], [-0.05, 1.1, 0.04, -0.02], [0.01, -0.07, 1.2, 0.05]],
                     dtype=torch.float64)
GAINS = torch.tensor([[0.7, 0, 0, 0.03], [0, 1.1, 0, -0.02], [0, 0, 1.2, 0.05]], dtype=torch.float64)


def _normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# ---------------------------------------------------------------- a picture behind a map, in double precision


def _rows() -> list[Tensor]:
    g = random_gaussians(7, degree=0)
    sh = g.sh.double()
    sh[:, 0] = sh[:, 0].abs() + 1.0  # no colour is clamped
    return [t.contiguous() for t in (g.means.double(), g.log_scales.double(), g.quaternions.double(),
                                     g.logits.double(), sh[:, 0], sh[:, 1:])]


def _drawn(rows: list[Tensor]) -> SplatLinearisation:
    return SplatLinearisation(rows, camera_at(0.3, size=(24, 20)), Projection(0, False, 0.02, 0.3),
                              _normal(4, 3).abs(), check=True)


@pytest.mark.parametrize("colours", [MIXED, GAINS], ids=["mixed", "gains"])
def test_products_of_a_corrected_picture(colours: Tensor) -> None:
    rows, h = _rows(), 1e-6
    near = CorrectedPicture(_drawn(rows), colours)
    v = [_normal(i, *r.shape) for i, r in enumerate(rows)]
    ends = [corrected(_drawn([r + s * h * t for r, t in zip(rows, v)]).picture, colours) for s in (1, -1)]
    want = (ends[0] - ends[1]) / (2 * h)
    close = (near.jvp(v) - want).abs() <= 1e-5 * want.abs().max()  # edges that cross a pixel have no derivative
    assert close.double().mean() > 0.98
    u, weights = _normal(8, *near.picture.shape), _normal(9, *near.picture.shape).abs()
    pulled = [torch.zeros_like(r) for r in rows]
    near.vjp_(u, pulled)
    inner = sum(float((a * b).sum()) for a, b in zip(v, pulled))
    assert inner == pytest.approx(float((near.jvp(v) * u).sum()), rel=1e-10)
    moved = [torch.zeros_like(r) for r in rows]
    near.normal_(v, weights, moved)
    assert sum(float((a * b).sum()) for a, b in zip(v, moved)) == pytest.approx(
        float((near.jvp(v).square() * weights).sum()), rel=1e-10)


def test_diagonal_of_a_corrected_picture_is_exact_for_gains_and_else_a_bound() -> None:
    rows = _rows()
    for colours in (GAINS, MIXED):
        near = CorrectedPicture(_drawn(rows), colours)
        weights, got = _normal(9, *near.picture.shape).abs(), [torch.zeros_like(r) for r in rows]
        near.diagonal_(weights, got)
        for k, r in enumerate(rows):
            for i in range(r.numel()):
                unit = [torch.zeros_like(t) for t in rows]
                unit[k].view(-1)[i] = 1
                want = float((near.jvp(unit).square() * weights).sum())
                if colours is GAINS:
                    assert float(got[k].view(-1)[i]) == pytest.approx(want, rel=1e-8, abs=1e-12)
                else:
                    assert want <= float(got[k].view(-1)[i]) * (1 + 1e-9) <= 3 * want + 1e-9


def test_gradient_curvature_and_products_by_the_maps() -> None:
    """Against the dense Jacobian, in double precision."""
    maps = torch.stack([GAINS, MIXED])
    block = ExposureBlock(SimpleNamespace(maps=maps), [0, 1])  # type: ignore[arg-type]
    source = _drawn(_rows())
    picture = CorrectedPicture(source, MIXED)
    u, weights = _normal(8, *picture.picture.shape), _normal(9, *picture.picture.shape).abs()
    block.add(1, picture, u, weights)
    J = torch.zeros(u.numel(), 12, dtype=torch.float64)
    for k in range(12):
        change = torch.zeros(12, dtype=torch.float64)
        change[k] = 1.0
        J[:, k] = (corrected(source.picture, MIXED + change.view(3, 4)) - picture.picture).flatten()
    v = _normal(3, 24)
    own = block.rows(v)[1].flatten()
    torch.testing.assert_close(block.rows(block.gradient())[1].flatten(), J.T @ u.flatten())
    torch.testing.assert_close(block.jvp(1, picture, v).flatten(), J @ own)
    out = torch.zeros(24, dtype=torch.float64)
    block.vjp_(1, picture, u, out)
    torch.testing.assert_close(out, block.gradient())
    H = (J * weights.flatten()[:, None]).T @ J
    torch.testing.assert_close(block.rows(block.product(v))[1].flatten(), H @ own)
    torch.testing.assert_close(block.rows(block.diagonal())[1].flatten(), H.diagonal())
    added = _normal(6, 24).abs()
    want = torch.linalg.solve(H + torch.diag(block.rows(added)[1].flatten()), own)
    torch.testing.assert_close(block.rows(block.solve(added, v))[1].flatten(), want)
    assert float(block.rows(block.diagonal())[0].abs().max()) == 0  # a photo that was not seen


# ---------------------------------------------------------------- whole problems


def _system(steps: int = 4, **options: Any) -> System:
    return System(GaussianSettings(sh_degree=1), SplatRenderer(), LevenbergMarquardtSettings(
        warm_up=AdamSettings(RATES), **options), {"squared": SquaredError()}, steps=steps, exposure=Exposure(True))


def _tints(count: int, seed: int = 2) -> Tensor:
    """[count, 3] gains between 0.6 and 1."""
    return 0.6 + 0.4 * torch.rand(count, 3, generator=torch.Generator().manual_seed(seed))


def _truth() -> Gaussians:
    """Colours that do not depend on the direction of view: those could tell gains of few photos as well."""
    g = random_gaussians()
    return replace(g, sh=0.5 * g.sh * (torch.arange(g.sh.shape[1]) == 0)[:, None])


def _tinted(capture: Capture) -> Capture:
    """Photos of ``_truth``, fitted ones with gains of their own."""
    tints, views = iter(_tints(len(capture.train))), []
    for v in capture.views:
        rgb = picture(Fixed(_truth()), v.camera) * (next(tints)[:, None, None] if v.split == "train" else 1.0)
        views.append(replace(v, source=MemoryPhoto(Photo((rgb * 255).round().to(torch.uint8)))))
    return replace(capture, views=tuple(views))


@pytest.fixture(scope="module")
def capture() -> Capture:
    return _tinted(tiny_capture())


def _maps(fit: Fit) -> Tensor:
    assert fit.problem.exposure is not None
    return fit.problem.exposure.maps.detach()


def _disturb_maps(fit: Fit) -> None:
    maps = _maps(fit)
    maps += 0.05 * torch.randn(maps.shape, generator=torch.Generator().manual_seed(6))


def test_gradient_by_maps_agrees_with_central_differences(capture: Capture) -> None:
    fit = near_the_truth(capture, _system(), OFF, _truth())
    _disturb_maps(fit)
    problem = fit.problem.least_squares()
    near = problem.linearise()
    x, first = problem.read(), len(problem.read()) - 72
    assert float(x[first:].abs().max()) == 0
    want = torch.zeros(72)
    for k in range(72):
        values = []
        for h in (-0.02, 0.02):  # the loss is a quadratic of the maps
            moved = x.clone()
            moved[first + k] = h
            problem.write(moved)
            values.append(problem.value())
        want[k] = (values[1] - values[0]) / 0.04
    problem.write(x)
    assert near.value == pytest.approx(problem.value(), rel=1e-5)
    assert (near.gradient[first:] - want).norm() <= 1e-3 * want.norm()
    assert want.norm() > 1e-3


@pytest.mark.parametrize("poses", [False, True], ids=["alone", "with poses"])
def test_products_are_symmetric_positive_and_agree_with_the_diagonal(capture: Capture, poses: bool) -> None:
    system = replace(_system(), losses={"photometric": Photometric()}, pose_refinement=PoseRefinement(poses, begin=0.0))
    fit = near_the_truth(capture, system, OFF, _truth())
    _disturb_maps(fit)
    generator, found = torch.Generator().manual_seed(1), []
    for options in ({}, {"curved": 3}, {"memory": 0}):
        problem = ViewsProblem(fit.field, fit.system, fit.problem.observations, range(6), poses=fit.problem.poses,
                               exposure=fit.problem.exposure, **options)  # type: ignore[arg-type]
        near = problem.linearise()
        a, b = (torch.randn(len(near.gradient), generator=generator) for _ in range(2))
        Ha, Hb = near.product(a), near.product(b)
        size = math.sqrt(float((a @ Ha) * (b @ Hb)))
        assert float(a @ Hb) == pytest.approx(float(b @ Ha), rel=1e-3, abs=1e-4 * size)
        assert float(a @ Ha) > 0
        for k in (1, 20, 70):
            unit = torch.zeros_like(a)
            unit[-k] = 1
            assert float(near.product(unit)[-k]) == pytest.approx(float(near.diagonal[-k]), rel=1e-4)
        found.append(near.product(near.gradient))
    assert torch.equal(found[0], found[2])


def test_the_model_predicts_what_a_small_step_does(capture: Capture) -> None:
    """Squared errors: near x the loss is gradient . d + d . H d / 2 along scene and maps together."""
    fit = near_the_truth(capture, _system(), OFF, _truth())
    _disturb_maps(fit)
    problem = fit.problem.least_squares()
    near = problem.linearise()
    before = problem.value()
    report = replace(STEP, line_search=1, damping=PaperDamping(start=10.0)).step(problem, Memory())
    assert report.accepted
    assert report.before == pytest.approx(before, rel=1e-5)
    assert report.ratio == pytest.approx(1.0, abs=0.15)
    assert near.gradient.norm() > 0


def _gain_errors(fit: Fit, gains: Tensor) -> float:
    """Scene and maps are known up to one map of all colours. So: what each photo's map makes of the scene's mean
    colour, channel by channel, against the mean over photos; the largest difference to the same of ``gains``."""
    colour = 0.5 + 0.282095 * fit.field.params["sh0"].detach()
    found = _maps(fit)[:, :, :3] @ colour.clamp_min(0).mean(0) + _maps(fit)[:, :, 3]
    return float((found / found.mean(0) - gains / gains.mean(0)).abs().max())


def test_a_fit_finds_the_gains_of_its_photos(capture: Capture) -> None:
    """Brightness and tint of every photo disturbed, scene disturbed: the gains come back in a dozen steps."""
    gains, system = _tints(6), replace(_system(12), field=GaussianSettings(sh_degree=0))
    system = replace(system, optimizer=LevenbergMarquardtSettings(AdamSettings(RATES), steps=12, step=STEP))
    fit = near_the_truth(capture, system, OFF, _truth())
    before = _gain_errors(fit, gains)
    first = fit.advance()[0]
    for _ in range(11):
        last = fit.advance()[0]
    assert before > 0.1
    assert _gain_errors(fit, gains) < 0.02
    without = near_the_truth(capture, replace(system, exposure=Exposure()), OFF, _truth())
    for _ in range(12):
        tinted = without.advance()[0]
    assert last < 0.02 * first
    assert last < 0.05 * tinted


def test_a_failed_step_leaves_the_maps_to_the_bit(capture: Capture) -> None:
    fit = near_the_truth(capture, _system(), OFF, _truth())
    _disturb_maps(fit)

    class Boastful(ViewsProblem):
        def linearise(self, blocks: bool = False) -> Any:
            near = super().linearise(blocks)
            near.gradient *= 1e4
            return near

    before = _maps(fit).clone()
    problem = Boastful(fit.field, fit.system, fit.problem.observations, range(6), exposure=fit.problem.exposure)
    assert not GaussNewton(TrustRegion(start=1e-3), most_change=1e3).step(problem, Memory()).accepted
    assert torch.equal(_maps(fit), before)


@pytest.mark.parametrize("poses", [False, True], ids=["alone", "with poses"])
def test_first_order_steps_then_second_order_ones_and_the_same_bits_after_a_resume(
        capture: Capture, tmp_path: Any, poses: bool) -> None:
    system = replace(_system(12), pose_refinement=PoseRefinement(poses, begin=0.0),
                     optimizer=LevenbergMarquardtSettings(AdamSettings(RATES), steps=3))
    whole = Fit(capture, system)
    for _ in whole.events():
        pass
    part = Fit(capture, system, folder=tmp_path, until=10)
    for _ in part.events():
        pass
    rest = Fit(capture, system, folder=tmp_path, resume=True)
    for _ in rest.events():
        pass
    assert rest.resumed
    assert torch.equal(_maps(whole), _maps(rest))
    for (_, a), (_, b) in zip(whole.field.params.items(), rest.field.params.items()):
        assert torch.equal(a, b)
