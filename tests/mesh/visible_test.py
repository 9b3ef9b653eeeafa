"""What cameras see of meshes: a ball from one side and from all around."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from recon.mesh import flexicubes
from recon.mesh.check import check
from recon.mesh.grid import Grid
from recon.mesh.visible import drop_unseen, seen_vertices, smooth_unseen
from recon.types import Camera, Mesh


def ball(radius: float = 0.5) -> Mesh:
    grid = Grid.around(torch.tensor([-0.6] * 3), torch.tensor([0.6] * 3), 24)
    return flexicubes.mesh_distance(lambda x: x.norm(dim=1) - radius, grid)


def camera(direction: list[float]) -> Camera:
    """On a ray from the origin, three away, looking back."""
    z = -torch.nn.functional.normalize(torch.tensor(direction, dtype=torch.float64), dim=0)
    up = torch.tensor([0.0, 0.0, 1.0] if abs(z[2]) < 0.9 else [1.0, 0.0, 0.0], dtype=torch.float64)
    x = torch.nn.functional.normalize(torch.linalg.cross(z, up), dim=0)
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, 0], pose[:3, 1], pose[:3, 2], pose[:3, 3] = x, torch.linalg.cross(z, x), z, -3 * z
    return Camera(80, 60, torch.tensor([120.0, 120.0, 40.0, 30.0]), pose)


def test_one_camera_sees_its_side_of_a_ball() -> None:
    mesh = ball()
    seen = seen_vertices(mesh, [camera([1.0, 0.0, 0.0])])
    x = mesh.vertices[:, 0]
    # the way to a camera three away is 80 degrees off the normal where 3 x / r - r = 0.174 |way|, about x = 0.167
    assert seen[x > 0.167 + 0.03].all()
    assert not seen[x < 0.167 - 0.03].any()


def test_with_more_cameras_two_must_see_it() -> None:
    mesh = ball()
    apart, above = camera([-1.0, 0.0, 0.0]), camera([1.0, 0.1, 0.0])
    assert not seen_vertices(mesh, [camera([1.0, 0.0, 0.0]), apart]).any()
    both = seen_vertices(mesh, [camera([1.0, 0.0, 0.0]), apart, above])
    x = mesh.vertices[:, 0]
    assert both[x > 0.3].all()
    assert not both[x < 0].any()


def test_what_nobody_sees_goes() -> None:
    mesh, share = drop_unseen(ball(), [camera([1.0, 0.0, 0.0])])
    assert share == pytest.approx(0.667, abs=0.04)  # seen is a cap of height r - 0.167
    assert float(mesh.vertices[:, 0].min()) > 0.05
    assert check(mesh).manifold


def test_a_ball_seen_from_all_around_stays_closed() -> None:
    around = [camera([math.cos(a), math.sin(a), 0.2]) for a in torch.linspace(0, 6.28, 7)[:-1].tolist()]
    mesh, share = drop_unseen(ball(), [*around, camera([0.0, 0.0, 1.0]), camera([0.0, 0.1, -1.0]),
                                      camera([0.1, 0.0, -1.0])])
    assert share == 0.0
    assert check(mesh).watertight


def test_what_nobody_sees_is_smoothed() -> None:
    mesh = ball()
    steps = 1 + 0.06 * torch.sin(60 * mesh.vertices[:, 1:2]) * (mesh.vertices[:, 0:1] < 0)  # terraces of the far side
    rough = replace(mesh, vertices=mesh.vertices * steps)
    smooth, share = smooth_unseen(rough, [camera([1.0, 0.0, 0.0])])
    assert share == pytest.approx(0.667, abs=0.06)
    seen = rough.vertices[:, 0] > 0.25
    assert torch.equal(smooth.vertices[seen], rough.vertices[seen])
    far = rough.vertices[:, 0] < -0.1
    before, after = (m.vertices[far].norm(dim=1) for m in (rough, smooth))
    assert float(before.std()) > 0.015
    assert float(after.std()) < 0.35 * float(before.std())
    assert float(after.mean()) == pytest.approx(0.5, rel=0.1)  # of means alone it would be 0.39
    assert check(smooth).watertight
    assert torch.equal(smooth_unseen(rough, [])[0].vertices, rough.vertices)


def test_colours_that_nobody_sees_are_those_next_to_them() -> None:
    mesh = ball()
    red, blue = torch.tensor([1.0, 0.2, 0.1]), torch.tensor([0.1, 0.2, 1.0])
    colours = torch.where(mesh.vertices[:, 1:2] > 0, red, blue)
    far = mesh.vertices[:, 0] < 0.1
    spoilt = torch.where(far[:, None], torch.rand(len(colours), 3, generator=torch.Generator().manual_seed(0)), colours)
    found = smooth_unseen(replace(mesh, colours=spoilt), [camera([1.0, 0.0, 0.0])])[0].colours
    assert found is not None
    assert torch.equal(found[mesh.vertices[:, 0] > 0.25], colours[mesh.vertices[:, 0] > 0.25])
    clear = far & (mesh.vertices[:, 1].abs() > 0.3) & (mesh.vertices[:, 0] < -0.1)
    assert clear.any()
    assert float((found - colours)[clear].abs().mean()) < 0.1
    assert float((spoilt - colours)[clear].abs().mean()) > 0.25


def test_outside_of_all_pictures_nothing_is_seen() -> None:
    mesh = ball()
    away = camera([1.0, 0.0, 0.0])
    pose = away.world_from_camera.clone()
    pose[:3, 3] += torch.tensor([0.0, 30.0, 0.0])
    assert not seen_vertices(mesh, [Camera(80, 60, away.intrinsics, pose)]).any()
    assert drop_unseen(mesh, [Camera(80, 60, away.intrinsics, pose)])[1] == 0.0  # all of it: there is no better mesh
    assert drop_unseen(mesh, [])[1] == 0.0
