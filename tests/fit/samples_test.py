"""What a step marches: about as many samples as asked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tiny_capture import tiny_capture

from recon.fields.dense_grid import DenseGridSettings
from recon.fit.loop import Fit
from recon.fit.system import System
from recon.losses.squared import SquaredError
from recon.optim.schedule import Schedule
from recon.optim.touched_adam import TouchedAdamSettings
from recon.renderers.march import MarchRenderer
from recon.samplers.pixels import RandomPixels
from recon.strategies.hold_samples import HoldSamples
from recon.strategies.occupancy import ShrinkOccupancy, _around

HOLD = HoldSamples(samples=3000, every=3, fewest=16)
RATES = {"density": Schedule(0.5, 0.5), "features": Schedule(0.1, 0.1), "decoder": Schedule(1e-3, 1e-3)}


def _system(strategies: dict[str, Any], steps: int = 12) -> System:
    return System(DenseGridSettings(start=1.0), MarchRenderer(), TouchedAdamSettings(rates=RATES),
                  losses={"colour": SquaredError()}, sampler=RandomPixels(rays=512), strategies=strategies, steps=steps)


def _samples(fit: Fit) -> list[int]:
    found = []
    while fit.step < fit.system.steps:
        fit.advance()
        found.append(fit.problem.render.trace.num_samples)
    return found


def test_steps_have_about_as_many_samples_as_asked() -> None:
    held, free = (_samples(Fit(tiny_capture(), _system(s))) for s in ({"rays": HOLD}, {}))
    assert held[0] == free[0] > 2 * HOLD.samples, "the first step does not know yet"
    assert all(0.8 * HOLD.samples < n < 1.1 * HOLD.samples for n in held[1:]), held
    assert min(free) > 2 * HOLD.samples, "else nothing was held"


def test_no_more_rays_than_the_sampler_likes_and_no_fewer_than_the_fewest() -> None:
    for hold, rays in ((replace(HOLD, samples=10**9), 512), (replace(HOLD, samples=1, fewest=64), 64)):
        fit = Fit(tiny_capture(), _system({"rays": hold}, steps=3))
        _samples(fit)
        assert fit.problem.seen.rays is not None
        assert len(fit.problem.seen.rays) == rays


def test_a_resumed_fit_has_as_many_rays(tmp_path: Path) -> None:
    system = _system({"rays": HOLD, "occupancy": ShrinkOccupancy(begin=0.2, every=3)})
    whole = Fit(tiny_capture(), system)
    _samples(whole)
    half = Fit(tiny_capture(), system, folder=tmp_path)
    while half.step < 8:  # between two looks
        half.advance()
    half.save()
    again = Fit(tiny_capture(), system, folder=tmp_path, resume=True)
    assert again.problem.most_rays == half.problem.most_rays > 0
    _samples(again)
    for name, tensor in whole.field.params.items():
        assert torch.equal(tensor, again.field.params[name]), name
    assert torch.equal(whole.field.cells, again.field.cells)


def test_the_largest_around_a_cell_is_that_of_a_pool() -> None:
    values = torch.rand(5, 1, 8, generator=torch.Generator().manual_seed(3))
    assert torch.equal(_around(values), torch.nn.functional.max_pool3d(values[None, None], 3, 1, 1)[0, 0])
