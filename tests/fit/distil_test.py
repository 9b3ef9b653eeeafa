"""Distillation at points: same places for both, clamped densities, identity."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_capture import tiny_capture

from recon.fields.dense_grid import DenseGridSettings
from recon.fields.vector_matrix import FactoredSettings
from recon.fit.distil import PointsProblem, difference, log_density, teach
from recon.optim.schedule import Schedule
from recon.optim.touched_adam import TouchedAdamSettings
from recon.types import Volume
from recon.types.volume import unit_from_world, world_from_unit

CUBE = (torch.arange(27) % 5).reshape(3, 3, 3).to(torch.uint8)


def _volume(margin: float = 0.0) -> Volume:
    return Volume((-1.0, -0.5, -2.0), (1.0, 0.5, 2.0), margin, CUBE, 0.01, 0.5, 0.3)


@pytest.mark.parametrize("margin", [0.0, 0.6])
def test_unit_coordinates_and_back(margin: float) -> None:
    volume = _volume(margin)
    generator = torch.Generator().manual_seed(0)
    u = torch.rand(500, 3, generator=generator) * 0.96 + 0.02
    torch.testing.assert_close(unit_from_world(volume, world_from_unit(volume, u)), u, atol=1e-4, rtol=1e-4)


def test_unit_coordinates_are_those_of_the_kernel() -> None:
    from recon.ops.march import sample

    generator = torch.Generator().manual_seed(1)
    origin = torch.randn(20, 3, generator=generator)
    direction = torch.nn.functional.normalize(torch.randn(20, 3, generator=generator), dim=1)
    volume = Volume((-1.0, -0.5, -2.0), (1.0, 0.5, 2.0), 0.6, torch.zeros(2, 2, 2, dtype=torch.uint8), 0.05, 0.5, 0.0)
    found = sample(origin, direction, torch.full((20,), 0.5), volume.box, volume.cells, near=0.05, far=50.0, step=0.05)
    ray = torch.repeat_interleave(torch.arange(20), (found.offsets[1:] - found.offsets[:-1]).long())
    x = origin[ray] + found.t[:, None] * direction[ray]
    assert len(x) > 500
    torch.testing.assert_close(unit_from_world(volume, x), found.position, atol=1e-5, rtol=1e-4)


def test_densities_that_change_no_picture_do_not_count() -> None:
    opaque, clear = torch.tensor([4000.0, 5000.0, 1e6]), torch.tensor([-40.0, -60.0, -1000.0])
    for raw in (opaque, clear):
        assert not difference(log_density(raw, _volume()), log_density(raw + 20, _volume())).any()
    assert (difference(log_density(clear, _volume()), log_density(opaque, _volume())) < -9).all()


def test_log_density_is_exact() -> None:
    x = torch.linspace(-30.0, 40.0, 300, dtype=torch.float64)
    exact = (torch.log1p(torch.exp(x + 0.3)) * 0.5 / 0.01).log()
    torch.testing.assert_close(log_density(x.float(), _volume()).double(), exact, atol=2e-5, rtol=1e-5)


def _teacher() -> Any:
    """A ball with colours that differ from place to place."""
    field = DenseGridSettings(voxels=8000, start=1.0).build()
    field.initialise(tiny_capture(), 0)
    axes = [torch.linspace(-1, 1, n) for n in field.size]
    at = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
    far = at.norm(dim=-1, keepdim=True)
    field.params["density"] = 12 * (0.3 - far).clamp(-1, 1) / 0.1
    field.params["features"] = torch.sin(4 * at @ torch.linspace(-1, 1, 36).view(3, 12))
    cells = [torch.linspace(-1, 1, n) for n in field.region.occupied.shape]
    field.occupy(torch.stack(torch.meshgrid(*cells, indexing="ij"), dim=-1).norm(dim=-1) < 0.5)
    return field


def _likeness(a: Any, b: Any) -> float:
    from recon.fit.evaluate import psnr
    from recon.renderers.march import MarchRenderer

    camera = tiny_capture().test[0].camera
    with torch.no_grad():
        x, y = (MarchRenderer().render(f, camera).rgb.permute(2, 0, 1) for f in (a, b))
    return psnr(x, y)


def _problem(student: Any, steps: int) -> PointsProblem:
    return PointsProblem(student, _teacher(), [v.camera for v in tiny_capture().train], steps, 0, rays=256, points=4096)


def test_a_copy_has_nothing_to_learn() -> None:
    problem = _problem(_teacher(), 10)
    assert float(problem.loss(problem.lesson()).detach()) < 1e-3
    assert torch.equal(problem.lesson().x_world, problem.lesson().x_world)


@pytest.mark.parametrize("settings", [DenseGridSettings(voxels=8000), FactoredSettings(voxels=8000)])
def test_another_field_comes_to_look_like_it(settings: Any) -> None:
    """By points alone; the last decibels need pictures."""
    student = settings.build()
    student.initialise(tiny_capture(), 1)
    problem = _problem(student, 250)
    rates = {n: Schedule(0.5, 0.02) if n == "density" else Schedule(0.05, 2e-3) for n in student.params}
    rates["decoder"] = Schedule(5e-3, 5e-4)
    before = _likeness(student, problem.teacher)
    teach(problem, TouchedAdamSettings(rates=rates).build(student, 1.0, 250), 250)
    assert _likeness(student, problem.teacher) > before + 7
