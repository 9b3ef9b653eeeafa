"""Meshers of distance functions and of depth pictures."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from recon.errors import InputError
from recon.mesh import flexicubes, marching_cubes, tsdf
from recon.mesh.check import check
from recon.mesh.grid import Grid, border_crossed
from recon.types import Camera, Render

HALF = 0.55


def turned() -> Tensor:
    """The rotation by (0.3, 0.4, 0.5) rad about x, y, z."""
    out = torch.eye(3, dtype=torch.float64)
    for axis, angle in enumerate((0.3, 0.4, 0.5)):
        u, v = (axis + 1) % 3, (axis + 2) % 3
        r = torch.eye(3, dtype=torch.float64)
        r[u, u] = r[v, v] = math.cos(angle)
        r[v, u], r[u, v] = math.sin(angle), -math.sin(angle)
        out = r @ out
    return out.float()


def box_distance(x: Tensor) -> Tensor:
    q = (x @ turned()).abs() - HALF
    return q.clamp_min(0).norm(dim=1) + q.amax(1).clamp_max(0)






@pytest.mark.parametrize("cells", [16, 24])
def test_a_turned_cube_keeps_its_edges(cells: int) -> None:
    grid = Grid((-1.05,) * 3, 2.1 / cells, (cells,) * 3)
    flexible, marching = (m.mesh_distance(box_distance, grid) for m in (flexicubes, marching_cubes))
    for mesh in (flexible, marching):
        report = check(mesh, intersections=True)
        assert (report.watertight, report.euler, report.self_intersections) == (True, 2, 0)
    error = [float(box_distance(m.vertices).abs().mean()) / grid.spacing for m in (flexible, marching)]
    assert error[0] < 0.02
    corners = torch.tensor([[x, y, z] for x in (-HALF, HALF) for y in (-HALF, HALF) for z in (-HALF, HALF)])
    miss = [float(torch.cdist(corners @ turned().T, m.vertices).amin(1).max()) / grid.spacing
            for m in (flexible, marching)]
    assert miss[0] < 0.25
    assert miss[0] < miss[1]
    assert flexible.volume == pytest.approx((2 * HALF) ** 3, rel=0.005)
    assert abs(flexible.volume - (2 * HALF) ** 3) < 0.5 * abs(marching.volume - (2 * HALF) ** 3)


def test_grid_around_keeps_a_margin() -> None:
    grid = Grid.around(torch.tensor([-1.0, -0.5, 0.0]), torch.tensor([1.0, 0.5, 0.25]), 32)
    points = grid.points().reshape(-1, 3)
    assert (points.amin(0) < torch.tensor([-1.0, -0.5, 0.0])).all()
    assert (points.amax(0) > torch.tensor([1.0, 0.5, 0.25])).all()
    assert max(grid.cubes) == 34


def test_what_cannot_be_meshed_is_said() -> None:
    grid = Grid((-1.0,) * 3, 0.25, (8,) * 3)
    for distance, words in ((lambda x: x[:, 0] * 0 + 1, "no surface.*outside"),
                            (lambda x: x[:, 0] * 0 - 1, "no surface.*inside"),
                            (lambda x: x[:, 0] * math.nan, "not finite")):
        for mesher in (flexicubes, marching_cubes):
            with pytest.raises(InputError, match=words):
                mesher.mesh_distance(distance, grid)
    with pytest.raises(InputError, match="no size"):
        Grid.around(torch.zeros(3), torch.zeros(3), 16)
    open_values = grid.sample(lambda x: x[:, 0])
    assert border_crossed(open_values)
    report = check(flexicubes.mesh_distance(lambda x: x[:, 0], grid))
    assert report.manifold
    assert report.border_edges > 0


def sphere_view(angle: float, height: float) -> Camera:
    eye = torch.tensor([2.5 * math.cos(angle), 2.5 * math.sin(angle), height], dtype=torch.float64)
    forward = -eye / eye.norm()
    right = torch.linalg.cross(forward, torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64))
    right = right / right.norm()
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, 0], pose[:3, 1], pose[:3, 2], pose[:3, 3] = right, torch.linalg.cross(forward, right), forward, eye
    return Camera(96, 80, torch.tensor([110.0, 110.0, 48.0, 40.0]), pose)


def render_sphere(camera: Camera) -> Render:
    """The ball of radius 0.7 at (0, 0, 0.1), coloured by its normal."""
    y, x = np.mgrid[0:camera.height, 0:camera.width] + 0.5
    origin, direction = camera.rays(torch.from_numpy(np.stack([x, y], axis=-1)))
    to = origin - torch.tensor([0, 0, 0.1], dtype=torch.float64)
    b = (to * direction).sum(-1)
    root = b * b - (to * to).sum(-1) + 0.49
    t = -b - root.clamp_min(0).sqrt()
    hit = (root > 0).float()
    normal = (to + t[..., None] * direction) / 0.7
    depth = t * (direction @ camera.forward)
    return Render(rgb=(0.5 + 0.5 * normal).float() * hit[..., None], depth=depth.float() * hit, opacity=hit)


def test_tsdf_of_a_sphere() -> None:
    cameras = [sphere_view(0.7 * i, h) for h in (-2.0, 0.0, 2.0) for i in range(9)]
    low, high = tsdf.box_of_views(cameras, render_sphere)
    assert (low < torch.tensor([-0.6, -0.6, -0.5])).all()
    assert (high > torch.tensor([0.6, 0.6, 0.7])).all()
    low, high = torch.tensor([-0.75, -0.75, -0.65]), torch.tensor([0.75, 0.75, 0.85])
    settings = tsdf.TsdfSettings(resolution=48, empty=0.5, edge=0.5)
    mesh = tsdf.extract(tsdf.fuse(cameras, render_sphere, Grid.around(low, high, 48), settings))
    report = check(mesh)
    assert (report.watertight, report.euler) == (True, 2)
    offset = mesh.vertices - torch.tensor([0.0, 0.0, 0.1])
    spacing = 1.5 / 48
    assert float((offset.norm(dim=1) - 0.7).abs().mean()) < 0.3 * spacing
    assert mesh.volume > 0
    assert mesh.colours is not None
    assert float((mesh.colours - (0.5 + 0.5 * offset / 0.7)).abs().mean()) < 0.05


def test_tsdf_where_nothing_is_seen() -> None:
    def nothing(camera: Camera) -> Render:
        zero = torch.zeros(camera.height, camera.width)
        return Render(rgb=torch.zeros(camera.height, camera.width, 3), depth=zero, opacity=zero)

    cameras = [sphere_view(0.0, 0.0)]
    with pytest.raises(InputError, match="nothing solid"):
        tsdf.box_of_views(cameras, nothing)
    grid = Grid((-1.0,) * 3, 0.25, (8,) * 3)
    with pytest.raises(InputError, match="no surface"):
        tsdf.extract(tsdf.fuse(cameras, nothing, grid, tsdf.TsdfSettings()))


def test_resolution_follows_memory() -> None:
    low, high = -torch.ones(3), torch.ones(3)
    fitted = tsdf.fit_to_memory(tsdf.TsdfSettings(resolution=512), low, high, 100e6)
    assert 100 < fitted.resolution < 140
