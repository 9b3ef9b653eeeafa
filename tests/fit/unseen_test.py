"""Cells that rays pass without seeing anything become empty; those that are seen, or hardly passed, stay."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from tiny_capture import tiny_capture

from recon.fields.dense_grid import DenseGridField, DenseGridSettings
from recon.fields.parts.region import Region
from recon.fit.loop import Fit
from recon.fit.system import System
from recon.losses.squared import SquaredError
from recon.optim.schedule import Schedule
from recon.optim.touched_adam import TouchedAdamSettings
from recon.params import Params
from recon.renderers.march import MarchRenderer
from recon.samplers.pixels import RandomPixels
from recon.strategies.unseen import EmptyUnseen
from recon.types import Rays

CELLS = 16
WALL = 8  # the cell, along x, that begins with something opaque


def _wall(margin: float = 1e-3) -> DenseGridField:
    """A box 0..1 with haze up to a wall at x = 0.5, and haze behind it; ``margin``: of a shell, as good as none."""
    field = DenseGridField(DenseGridSettings(channels=2, hidden=8, layers=1))
    field.region = Region((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), margin, torch.ones(CELLS, CELLS, CELLS, dtype=torch.bool))
    field.voxels = field.most_voxels = float((2 * CELLS) ** 3)
    field.occupy(field.region.occupied)
    field.params = Params(field.build_params(torch.Generator()) | {
        "decoder": torch.zeros(sum((a + 1) * b for a, b in zip(field.decoder_sizes, field.decoder_sizes[1:])))})
    density = field.params["density"].detach()
    density.fill_(-9.0)
    density[2 * WALL:2 * WALL + 3] = 9.0
    return field


def _problem(field: DenseGridField, step: int, most_y: float) -> Any:
    """A step whose rays go along x, at y below ``most_y``."""
    generator = torch.Generator().manual_seed(step)
    origin = torch.rand(1024, 3, generator=generator) * torch.tensor([0.0, most_y, 1.0]) - torch.tensor([1.0, 0, 0])
    direction = torch.tensor([[1.0, 0.0, 0.0]]).expand(1024, 3).contiguous()
    rays = Rays(origin, direction, torch.zeros(1024), (32, 32), step)
    with torch.no_grad():
        render = MarchRenderer().render_rays(field, rays, background=torch.zeros(3))
    return SimpleNamespace(field=field, render=render, step=step)


def test_haze_and_what_lies_behind_a_wall_become_empty_and_the_wall_stays() -> None:
    field = _wall()
    strategy: Any = EmptyUnseen(begin=0.0, every=1, looks=4, samples=64).build(field, 1.0, 100)
    found = [strategy.act(_problem(field, step, most_y=0.5), None) for step in range(4)]
    assert found[:3] == [None] * 3
    assert found[3] is not None
    passed, other = field.region.occupied[:, :CELLS // 2 - 1], field.region.occupied[:, CELLS // 2 + 1:]
    assert bool(passed[WALL - 1:WALL + 2].all()), "the wall and a cell before it are seen"
    assert not bool(passed[:WALL - 2].any()), "haze before it is not"
    assert not bool(passed[WALL + 4:].any()), "nor is what lies behind"
    assert bool(other.all()), "where no ray passes nothing is known"


def test_what_was_cut_out_keeps_its_cells() -> None:
    """Rays that come from behind would take away what few views see."""
    field = _wall(margin=0.0)
    strategy: Any = EmptyUnseen(begin=0.0, every=1, looks=1, samples=64).build(field, 1.0, 100)
    assert strategy.act(_problem(field, 0, most_y=1.0), None) is None
    assert bool(field.region.occupied.all())


def test_few_samples_are_not_enough_to_judge_by() -> None:
    field = _wall()
    strategy: Any = EmptyUnseen(begin=0.0, every=1, looks=1, samples=10**6).build(field, 1.0, 100)
    assert strategy.act(_problem(field, 0, most_y=1.0), None) is None
    assert bool(field.region.occupied.all())


def test_a_resumed_fit_has_counted_as_much(tmp_path: Path) -> None:
    rates = {"density": Schedule(0.5, 0.5), "features": Schedule(0.1, 0.1), "decoder": Schedule(1e-3, 1e-3)}
    system = System(DenseGridSettings(start=1.0), MarchRenderer(), TouchedAdamSettings(rates=rates),
                    losses={"colour": SquaredError()}, sampler=RandomPixels(rays=512),
                    strategies={"unseen": EmptyUnseen(every=2, looks=3, samples=8, threshold=3e-2)}, steps=24)
    whole, half = Fit(tiny_capture(), system), Fit(tiny_capture(), system, folder=tmp_path)
    while half.step < 15:  # between two looks
        half.advance()
    half.save()
    again = Fit(tiny_capture(), system, folder=tmp_path, resume=True)
    for fit in (whole, again):
        while fit.step < system.steps:
            fit.advance()
    assert bool((whole.field.cells > 0).any()), "else nothing was emptied"
    assert torch.equal(whole.field.cells, again.field.cells)
    for name, tensor in whole.field.params.items():
        assert torch.equal(tensor, again.field.params[name]), name
