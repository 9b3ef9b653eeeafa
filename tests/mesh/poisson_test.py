"""Poisson reconstruction: close to the points, closed over holes, and clear words for nonsense."""

from __future__ import annotations

import pytest
import torch

from recon.errors import InputError
from recon.mesh.check import check
from recon.mesh.clean import drop_cavities
from recon.mesh.poisson import closed_over, poisson
from recon.ops.flexicubes import grid_points
from recon.ops.marching_cubes import marching_cubes
from recon.types import Mesh


def ball(radius: float = 1.0, inwards: bool = False) -> Mesh:
    x = grid_points((25,) * 3, (-1.3,) * 3, (2.6 / 24,) * 3)
    mesh = Mesh(*marching_cubes(x.norm(dim=-1) - radius, origin=(-1.3,) * 3, spacing=(2.6 / 24,) * 3))
    return Mesh(mesh.vertices, mesh.faces.flip(1)) if inwards else mesh


def test_points_of_a_sphere() -> None:
    x = torch.nn.functional.normalize(torch.randn(20_000, 3, generator=torch.Generator().manual_seed(0)), dim=1)
    mesh = poisson(x, x * (4 * torch.pi / 20_000), resolution=48)
    report = check(mesh, intersections=True)
    assert report.watertight
    assert (report.parts, report.euler, report.self_intersections) == (1, 2, 0)
    radius = mesh.vertices.norm(dim=1)
    assert float((radius - 1).abs().mean()) < 0.25 * 2 / 48  # of a cell
    assert mesh.volume == pytest.approx(4 / 3 * torch.pi, rel=0.02)


def test_a_hole_is_spanned() -> None:
    whole = ball()
    opened = whole.select(whole.corners.mean(1)[:, 2] < 0.85)
    assert not check(opened).watertight
    closed = closed_over(opened, resolution=40)
    assert check(closed).watertight
    assert closed.volume == pytest.approx(whole.volume, rel=0.05)


def test_same_bits_twice() -> None:
    opened = ball().select(ball().corners.mean(1)[:, 2] < 0.85)
    a, b = closed_over(opened, resolution=24), closed_over(opened, resolution=24)
    assert torch.equal(a.vertices, b.vertices)


def test_nonsense_is_refused() -> None:
    with pytest.raises(InputError, match="no finite points"):
        poisson(torch.zeros(0, 3), torch.zeros(0, 3))
    with pytest.raises(InputError, match="no finite points"):
        poisson(torch.full((3, 3), torch.nan), torch.ones(3, 3))
    with pytest.raises(InputError, match="no size"):
        poisson(torch.zeros(3, 3), torch.ones(3, 3))


def test_hollows_are_dropped_and_open_sheets_kept() -> None:
    outer, inner = ball(), ball(0.5, inwards=True)
    n = len(outer.vertices)
    both = Mesh(torch.cat([outer.vertices, inner.vertices]), torch.cat([outer.faces, inner.faces + n]))
    kept, dropped = drop_cavities(both)
    assert (len(kept), dropped) == (len(outer), 1)
    sheet = inner.select(inner.corners.mean(1)[:, 2] < 0.3)
    assert drop_cavities(sheet)[1] == 0
