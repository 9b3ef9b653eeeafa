"""Local Newton steps on one view at a time: what they cost and reach, what they measure, resuming, refusals."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from near_truth import RATES, near_the_truth, values
from tiny_capture import tiny_capture

from recon.errors import InputError
from recon.fields.gaussians import GaussianSettings
from recon.fit.loop import Fit
from recon.fit.system import Exposure, System
from recon.losses.photometric import Photometric
from recon.optim.adam import AdamSettings
from recon.optim.local_newton import LocalNewton, LocalNewtonSettings
from recon.optim.schedule import Schedule
from recon.params import RowChange
from recon.renderers.march import MarchRenderer
from recon.renderers.splat import SplatRenderer
from recon.types import Capture

OFF = {"means": 0.02, "sh0": 0.35, "log_scales": 0.1}


def _system(steps: int, **options: Any) -> System:
    return System(GaussianSettings(sh_degree=1), SplatRenderer(),
                  LocalNewtonSettings(AdamSettings(RATES), share=1.0, **options), {"photometric": Photometric()},
                  steps=steps)


@pytest.fixture(scope="module")
def capture() -> Capture:
    return tiny_capture()


def _loss(fit: Fit) -> float:
    return fit.problem.least_squares().value()


def test_fewer_steps_than_adam_for_the_same_loss(capture: Capture) -> None:
    """L1 and SSIM, 60 Gaussians; Adam at the rates of the preset with a schedule, at twice and four times of them."""
    local = near_the_truth(capture, _system(60, rate=Schedule(0.3, 0.03)), OFF)
    before = _loss(local)
    for _ in range(60):
        local.advance()
    best = before
    for scale in (1.0, 2.0, 4.0):
        rates = {k: Schedule(scale * s.start, scale * s.start / 10) for k, s in RATES.items()}
        adam = near_the_truth(capture, replace(_system(120), optimizer=AdamSettings(rates)), OFF)
        for _ in range(120):
            adam.advance()
        best = min(best, _loss(adam))
    assert best < 0.5 * before
    assert _loss(local) < best


def test_curvature_is_the_mean_over_the_views_that_show_a_gaussian(capture: Capture) -> None:
    fit = near_the_truth(capture, _system(4), OFF)
    far = fit.field.params["means"].detach()
    far[0] = torch.tensor([30.0, 0.0, 0.5])  # one camera at most looks there
    problem = fit.problem.least_squares()
    got = problem.own_curvature(0.3, 0.1)
    diagonal = [torch.zeros_like(t.detach()) for _, t in fit.field.params.items()]
    seen = torch.zeros(fit.field.params.rows)
    for view in problem.views:
        observed = problem.observe(view)
        picture: Any = problem.draw(observed)
        seen += picture.visible
        picture.diagonal_(problem.curvature(picture.picture, observed)[2], diagonal)
    assert float(seen.min()) < len(problem.views)
    assert float(seen.max()) == len(problem.views)
    d = dict(zip(problem.names, diagonal))["sh0"]
    want = (d + 0.3 * d.clamp_min(0.1 * float(d.mean()))) / seen.clamp_min(1)[:, None]
    torch.testing.assert_close(got["sh0"], 1 / want, rtol=1e-4, atol=0.0)


def test_the_same_bits_after_a_resume(capture: Capture, tmp_path: Any) -> None:
    system = replace(_system(12), optimizer=LocalNewtonSettings(AdamSettings(RATES), share=2 / 3, every=5, curved=3))
    whole = Fit(capture, system)
    for _ in whole.events():
        pass
    for until in (6, 10):  # among Newton steps, between two measurements and behind the second
        for _ in Fit(capture, system, folder=tmp_path, until=until, resume=until > 6).events():
            pass
    rest = Fit(capture, system, folder=tmp_path, resume=True)
    for _ in rest.events():
        pass
    assert rest.resumed
    assert torch.equal(values(whole), values(rest))


def test_one_and_two_threads_give_the_same_bits(capture: Capture) -> None:
    from recon.ops.native import native

    found, before = [], (native.get_threads(), torch.get_num_threads())
    for count in (1, 2):
        native.set_threads(count)
        torch.set_num_threads(count)
        fit = near_the_truth(capture, _system(6), OFF)
        for _ in range(6):
            fit.advance()
        found.append(values(fit))
    native.set_threads(before[0])
    torch.set_num_threads(before[1])
    assert torch.equal(found[0], found[1])


def test_other_rows_are_measured_anew(capture: Capture) -> None:
    fit = near_the_truth(capture, _system(8), OFF)
    for _ in range(3):
        fit.advance()
    optimizer: Any = fit.optimizer
    assert isinstance(optimizer, LocalNewton)
    n = fit.field.params.rows
    change = RowChange(torch.arange(n - 5), torch.zeros(n - 5, dtype=torch.bool))
    fit.field.params.apply(change)
    optimizer.follow(change)
    assert not optimizer.curvature
    for _ in range(3):
        fit.advance()
    assert len(optimizer.curvature["factors"]) == n - 5
    assert bool(torch.isfinite(values(fit)).all())


def test_exposures_go_on_beside_it(capture: Capture) -> None:
    fit = near_the_truth(capture, replace(_system(12), exposure=Exposure(True)), OFF)
    assert fit.problem.exposure is not None
    before = fit.problem.exposure.maps.detach().clone()
    for _ in range(12):
        fit.advance()
    assert not torch.equal(fit.problem.exposure.maps.detach(), before)


def test_what_has_no_primitives_is_refused_by_name(capture: Capture) -> None:
    with pytest.raises(InputError, match="MarchRenderer"):
        Fit(capture, replace(_system(4), renderer=MarchRenderer()))
