"""Rates by how many views see a voxel."""

from __future__ import annotations

from dataclasses import replace

import torch
from tiny_capture import tiny_capture

from recon.fields.dense_grid import DenseGridSettings
from recon.fields.pyramid import PyramidSettings
from recon.fit.loop import Fit
from recon.fit.system import System
from recon.losses.squared import SquaredError
from recon.optim.schedule import Schedule
from recon.optim.touched_adam import TouchedAdamSettings
from recon.renderers.march import MarchRenderer
from recon.samplers.pixels import RandomPixels
from recon.strategies.view_counts import ViewCounts, view_counts
from recon.types.volume import world_from_unit

RATES = {"density": Schedule(0.1, 0.1), "features": Schedule(0.1, 0.1), "decoder": Schedule(1e-3, 1e-3)}


def _system(field: object, counts: ViewCounts) -> System:
    return System(field, MarchRenderer(), TouchedAdamSettings(rates=RATES),  # type: ignore[arg-type]
                  losses={"colour": SquaredError()}, sampler=RandomPixels(rays=256), steps=20,
                  strategies={"view_counts": counts})


def test_counts_are_those_of_a_loop_over_views_and_points() -> None:
    capture = tiny_capture()
    fit = Fit(capture, _system(DenseGridSettings(), ViewCounts()), seed=0)
    volume = fit.field.volume()
    cameras = [v.camera for v in capture.train]
    counts = view_counts(volume, cameras, 5)
    for index in ((0, 0, 0), (2, 2, 2), (4, 1, 3), (1, 3, 2)):
        x = world_from_unit(volume, torch.tensor([index]) / 4.0).double()
        expected = 0
        for camera in cameras:
            pixel, depth = camera.project(x)
            expected += int(bool(depth > 0) and 0 <= float(pixel[0, 0]) < camera.width
                            and 0 <= float(pixel[0, 1]) < camera.height)
        assert int(counts[index]) == expected
    assert counts.max() == len(cameras)
    assert counts.min() < len(cameras)


def test_a_voxel_that_half_of_the_views_see_goes_half_as_far_until_the_time_is_over() -> None:
    capture = tiny_capture()
    fits = [Fit(capture, _system(DenseGridSettings(), ViewCounts(until=u)), seed=0) for u in (0.5, 0.0)]
    before = fits[0].field.params["density"].detach().clone()
    share = None
    for fit in fits:
        fit.advance()  # the counts are taken after the first step
    shared = {name: fits[0].optimizer.slow(name) for name in ("density", "features")}
    share = shared["density"]
    assert share is not None
    assert float(share.max()) == 1.0
    assert float(share.min()) < 0.8
    assert fits[1].optimizer.slow("density") is None
    torch.testing.assert_close(*(f.field.params["density"] for f in fits))
    middle = fits[0].field.params["density"].detach().clone()
    for fit in fits:
        fit.advance()
    moved = [f.field.params["density"].detach() - middle for f in fits]
    torch.testing.assert_close(moved[0], share * moved[1], atol=1e-6, rtol=1e-4)
    assert not torch.equal(before, middle)
    while fits[0].step < 10:
        fits[0].advance()
    assert fits[0].optimizer.slow("density") is None


def test_shares_outlive_a_checkpoint() -> None:
    fit = Fit(tiny_capture(), _system(DenseGridSettings(), ViewCounts(until=0.9)), seed=0)
    for _ in range(3):
        fit.advance()
    again = Fit(tiny_capture(), fit.system, seed=0)
    again.field.params.load_state(fit.field.params.state())
    again.optimizer.load_state(fit.optimizer.state())
    again.field.load_state(fit.field.state())
    again.strategies["view_counts"].load_state(fit.strategies["view_counts"].state())
    again.problem.step = fit.problem.step
    for f in (fit, again):
        f.advance()
    assert torch.equal(fit.field.params["density"], again.field.params["density"])


def test_every_level_of_a_pyramid_is_slowed() -> None:
    fit = Fit(tiny_capture(), _system(PyramidSettings(DenseGridSettings(), levels=2), ViewCounts(until=0.9)), seed=0)
    fit.advance()
    for name in ("0.density", "1.features"):
        share = fit.optimizer.slow(name)
        assert share is not None
        assert share.shape[:3] == fit.field.params[name].shape[:3]


def test_cells_of_a_box_that_next_to_no_view_sees_are_empty() -> None:
    capture = tiny_capture(holdout=0)
    many = replace(capture, views=tuple(replace(v, name=f"{i}-{v.name}") for i in range(4) for v in capture.views))
    unbounded, fit = (Fit(many, _system(DenseGridSettings(margin=m), ViewCounts(until=0.5, fewest=3)), seed=0)
                      for m in (0.6, 0.0))
    before = unbounded.field.region.occupied.clone()  # but for cells before the points of a camera
    unbounded.advance()
    fit.advance()
    assert torch.equal(unbounded.field.region.occupied, before)
    assert float(fit.field.region.occupied.float().mean()) < 0.9
    seen = view_counts(fit.field.volume(), fit.problem.cameras, 9)
    size = torch.tensor(fit.field.region.occupied.shape)
    for index in (seen == len(many.views)).nonzero():
        cell = (index / 8 * size).long().minimum(size - 1)
        assert bool(fit.field.region.occupied[tuple(cell)])
