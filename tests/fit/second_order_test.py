"""Second-order steps of a fit: the model of the loss, its products, refusals, memory, recovery."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from near_truth import RATES, near_the_truth, values
from tiny_capture import tiny_capture
from torch import Tensor

from recon.errors import InputError
from recon.fields.gaussians import GaussianSettings
from recon.fit.loop import Fit
from recon.fit.second_order import ViewsProblem
from recon.fit.system import System
from recon.losses.photometric import Photometric
from recon.losses.sparsity import OpacitySparsity
from recon.losses.squared import SquaredError
from recon.ops import photometric as op
from recon.ops.photometric import photometric_gradient, squares_above
from recon.optim.adam import AdamSettings
from recon.optim.damping import PaperDamping, TrustRegion
from recon.optim.gauss_newton import GaussNewton, Memory
from recon.optim.levenberg_marquardt import LevenbergMarquardtSettings
from recon.optim.linear import ConjugateGradients, dot
from recon.optim.schedule import Schedule
from recon.renderers.splat import SplatRenderer
from recon.types import Capture, Render

OFF = {"means": 0.02, "sh0": 0.1 / 0.282}  # 2 % of the scene, a tenth of the range of colours


def _system(steps: int = 4, **options: Any) -> System:
    return System(GaussianSettings(sh_degree=1), SplatRenderer(), LevenbergMarquardtSettings(
        warm_up=AdamSettings(RATES), **options), {"photometric": Photometric()}, steps=steps)


@pytest.fixture(scope="module")
def capture() -> Capture:
    return tiny_capture()


# ---------------------------------------------------------------- the model of a picture's loss


def test_squares_above_are_the_curvature_of_the_loss() -> None:
    """Along random directions the model lies above the loss far out, and not a hundred times above it nearby."""
    generator = torch.Generator().manual_seed(0)
    target = torch.rand(3, 24, 30, generator=generator)
    target = torch.nn.functional.avg_pool2d(target, 3, 1, 1)
    image = target + 0.06 * torch.randn(target.shape, generator=generator)
    for weight in (0.0, 0.2, 1.0):
        value, gradient = photometric_gradient(image, target, ssim_weight=weight)
        squares = squares_above(image, target, ssim_weight=weight)
        assert bool((squares > 0).all())
        for _ in range(8):
            d = 0.05 * torch.randn(target.shape, generator=generator)
            got = photometric_gradient(image + d, target, ssim_weight=weight)[0]
            model = value + float((gradient * d).sum() + 0.5 * (squares * d * d).sum())
            assert got <= model + 1e-6
            assert model - value < 30 * abs(got - value) + 1.0


def test_ignored_pixels_have_no_weight() -> None:
    image, target = torch.rand(3, 20, 20), torch.rand(3, 20, 20)
    mask = torch.ones(20, 20, dtype=torch.uint8)
    mask[:, :9] = 0
    image[:, :, :9] = math.nan
    squares = squares_above(image, target, mask=mask)
    assert bool(torch.isfinite(squares).all())
    assert float(squares[:, :, :9].abs().max()) == 0
    assert bool((squares[:, :, 9:] > 0).all())


def test_blur_is_the_window_of_ssim() -> None:
    planes = torch.rand(3, 17, 23, dtype=torch.float64)
    taps = torch.exp(-torch.arange(-5, 6, dtype=torch.float64) ** 2 / 4.5)
    taps = taps / taps.sum()
    want = torch.nn.functional.conv2d(planes[None], (taps[:, None] * taps).expand(3, 1, 11, 11), padding=5, groups=3)
    torch.testing.assert_close(op._blur(planes), want[0])


# ---------------------------------------------------------------- several views as one problem


def test_gradient_and_value_are_those_of_the_losses(capture: Capture) -> None:
    fit = near_the_truth(capture, _system(), OFF)
    problem = fit.problem.least_squares()
    near = problem.linearise()
    loss = torch.zeros(())
    for view in problem.views:
        seen = problem.observe(view)
        render = fit.system.renderer.render(fit.field, seen.camera, background=seen.background)
        loss = loss + fit.system.losses["photometric"].value(render, seen) / len(problem.views)
    loss.backward()
    loss = loss.detach()
    want = torch.cat([fit.field.params[n].grad.flatten() for n in problem.names])
    assert near.value == pytest.approx(float(loss), rel=1e-5)
    assert problem.value() == pytest.approx(float(loss), rel=1e-5)
    assert (near.gradient - want).norm() <= 1e-4 * want.norm()


def test_products_are_symmetric_and_positive(capture: Capture) -> None:
    near = near_the_truth(capture, _system(), OFF).problem.least_squares().linearise()
    generator = torch.Generator().manual_seed(1)
    a, b = (torch.randn(len(near.gradient), generator=generator) for _ in range(2))
    Ha, Hb = near.product(a), near.product(b)
    assert dot(a, Hb) == pytest.approx(dot(b, Ha), rel=1e-3, abs=1e-4 * math.sqrt(dot(a, Ha) * dot(b, Hb)))
    assert dot(a, Ha) > 0
    assert bool((near.diagonal >= 0).all())


def test_too_little_memory_draws_pictures_again_to_the_same_bits(capture: Capture) -> None:
    fit = near_the_truth(capture, _system(), OFF)
    found = []
    for memory in (1 << 30, 200_000, 0):
        problem = ViewsProblem(fit.field, fit.system, fit.problem.observations, range(6), memory=memory)
        near = problem.linearise()
        found.append((problem.redrawn, near.product(near.gradient)))
    assert found[0][0] == 0
    assert 0 < found[1][0] < 6
    assert found[2][0] == 6
    assert torch.equal(found[0][1], found[1][1])
    assert torch.equal(found[0][1], found[2][1])


def test_too_little_memory_is_said_once(capture: Capture) -> None:
    fit = Fit(capture, replace(_system(steps=2), optimizer=LevenbergMarquardtSettings(AdamSettings(RATES), steps=2)),
              memory=100_000)
    for _ in range(2):
        fit.advance()
    assert len(fit.problem.warnings) == 1
    assert "memory budget" in fit.problem.warnings[0]


def test_curvature_of_some_views_stands_for_all(capture: Capture) -> None:
    fit = near_the_truth(capture, _system(), OFF)

    def of(**options: Any) -> Any:
        return ViewsProblem(fit.field, fit.system, fit.problem.observations, range(6), **options).linearise()

    whole, v = of(), torch.ones(len(values(fit)))
    halves = [of(curved=3, phase=phase) for phase in (0.25, 0.75)]
    assert halves[0].problem.curved != halves[1].problem.curved
    want = whole.product(v)
    mean = (halves[0].product(v) + halves[1].product(v)) / 2
    assert (mean - want).norm() <= 1e-4 * want.norm()
    assert torch.equal(halves[0].gradient, whole.gradient)
    assert torch.equal(halves[0].diagonal, whole.diagonal)


def test_views_in_batches_lower_the_loss(capture: Capture) -> None:
    fit = near_the_truth(capture, _system(), OFF)
    problem = fit.problem.least_squares(batches=3)
    assert sorted(v for part in problem.parts for v in part.views) == problem.views
    report = GaussNewton(TrustRegion(start=1.0), ConjugateGradients(8)).step(problem, Memory())
    assert report.accepted
    assert report.before == pytest.approx(fit.problem.least_squares().linearise().value, rel=0.5)
    assert report.after < 0.8 * report.before


def test_views_are_spread_and_drawn_from_the_step(capture: Capture) -> None:
    fit = near_the_truth(capture, _system(), OFF)
    first = fit.problem.least_squares(3).views
    assert len(set(first)) == 3
    assert fit.problem.least_squares(3).views == first
    assert fit.problem.least_squares().views == list(range(6))
    assert len(fit.problem.least_squares(0, tested=2).tested) == 2


# ---------------------------------------------------------------- whole steps


def test_six_steps_recover_more_than_600_of_adam(capture: Capture) -> None:
    """Squared error, 60 Gaussians, the rates of the preset and a schedule for Adam."""
    squared = replace(_system(), losses={"squared": SquaredError()})
    few = GaussNewton(solver=ConjugateGradients(8, 0.01))
    second = near_the_truth(capture, replace(
        squared, steps=6, optimizer=LevenbergMarquardtSettings(AdamSettings(RATES), steps=6, step=few)), OFF)
    for _ in range(6):
        second.advance()
    first = near_the_truth(capture, replace(squared, steps=600, optimizer=AdamSettings(
        {k: Schedule(s.start, s.start / 10) for k, s in RATES.items()})), OFF)
    for _ in range(600):
        first.advance()
    got, adam = second.problem.least_squares().value(), first.problem.least_squares().value()
    assert got <= adam


def test_colours_alone_are_solved_by_one_undamped_step(capture: Capture) -> None:
    """The picture is linear in the colours (where none is clamped), so squared errors are a quadratic."""
    fit = near_the_truth(capture, replace(_system(), losses={"squared": SquaredError()}), OFF)
    params = fit.field.params
    params["sh0"].detach().add_(3.0)  # far from the clamp at zero
    problem = fit.problem.least_squares()

    class Colours(ViewsProblem):
        """Everything else stands still."""

        def linearise(self, blocks: bool = False) -> Any:
            near = super().linearise(blocks)
            keep = torch.cat([torch.full((params[n].numel(),), float(n in ("sh0", "sh_rest"))) for n in self.names])
            near.gradient *= keep
            near.diagonal = near.diagonal * keep
            product = near.product
            near.product = lambda v: product(v * keep) * keep
            return near

    colours = Colours(fit.field, problem.system, problem.observations, problem.views)
    exact = GaussNewton(PaperDamping(start=1e-7, least=0.0), ConjugateGradients(400, 1e-6), most_change=1e3,
                        line_search=1)
    report = exact.step(colours, Memory())
    assert report.accepted
    assert report.ratio == pytest.approx(1.0, abs=0.02)
    again = exact.step(colours, Memory())
    assert again.before - again.after <= 1e-3 * (report.before - report.after)


def test_a_failed_step_leaves_the_parameters_to_the_bit(capture: Capture) -> None:
    fit = near_the_truth(capture, _system(), OFF)

    class Boastful(ViewsProblem):
        def linearise(self, blocks: bool = False) -> Any:
            near = super().linearise(blocks)
            near.gradient *= 1e4
            return near

    before = values(fit)
    problem = Boastful(fit.field, fit.system, fit.problem.observations, range(6))
    memory = Memory()
    report = GaussNewton(TrustRegion(start=1e-3), most_change=1e3).step(problem, memory)
    assert not report.accepted
    assert torch.equal(values(fit), before)
    assert memory.strength > 1e-3


def test_the_same_bits_again_and_after_a_resume(capture: Capture, tmp_path: Any) -> None:
    system = replace(_system(steps=12), optimizer=LevenbergMarquardtSettings(AdamSettings(RATES), steps=3))
    whole = Fit(capture, system)
    for _ in whole.events():
        pass
    part = Fit(capture, system, folder=tmp_path, until=10)  # stopped between two second-order steps
    for _ in part.events():
        pass
    rest = Fit(capture, system, folder=tmp_path, resume=True)
    for _ in rest.events():
        pass
    assert rest.resumed
    assert torch.equal(values(whole), values(rest))
    assert whole.optimizer.memory == rest.optimizer.memory


def test_what_has_no_curvature_is_refused_by_name(capture: Capture) -> None:
    system = _system()
    with pytest.raises(InputError, match='the loss "sparse"'):
        Fit(capture, replace(system, losses={**system.losses, "sparse": OpacitySparsity()}))


def test_a_loss_that_is_not_a_number_names_loss_and_view(capture: Capture) -> None:
    class Broken(Photometric):
        def curvature(self, rgb: Tensor, seen: Any) -> tuple[float, Tensor, Tensor]:
            value, gradient, weights = super().curvature(rgb, seen)
            return (math.nan if seen.index == 2 else value), gradient, weights

    system = _system(steps=1)
    fit = near_the_truth(capture, replace(system, losses={"colours": Broken()}), OFF)
    fit.system = fit.problem.system
    before = values(fit)
    with pytest.raises(InputError, match=f'"colours" became nan on view {capture.train[2].name}'):
        fit.advance()
    assert torch.equal(values(fit), before)


def test_squared_error_is_its_own_model(capture: Capture) -> None:
    seen = near_the_truth(capture, _system(), OFF).problem.least_squares().observe(0)
    rgb = torch.rand(3, *seen.target.shape[1:])
    for mask in (None, (torch.rand(*seen.target.shape[1:]) > 0.4).to(torch.uint8)):
        seen = replace(seen, mask=mask)
        value, gradient, weights = SquaredError().curvature(rgb, seen)
        d = 0.1 * torch.randn(rgb.shape)
        want = SquaredError().curvature(rgb + d, seen)[0]
        assert value + float((gradient * d + 0.5 * weights * d * d).sum()) == pytest.approx(want, rel=1e-4)
        drawn = Render((rgb + d).permute(1, 2, 0))
        assert float(SquaredError().value(drawn, seen)) == pytest.approx(want, rel=1e-6)
