"""Gradients through an iso-surface, against finite differences of the meshed shape and against formulas."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from recon.mesh.grid import Grid
from recon.mesh.level_set import moving_vertices
from recon.mesh.marching_cubes import mesh_distance

LOW = torch.full((3,), -1.0)


def volume(vertices: Tensor, faces: Tensor) -> Tensor:
    a, b, c = vertices[faces.long()].unbind(1)
    return (a * torch.linalg.cross(b, c)).sum() / 6


def gradient(function: Callable[[Tensor, Tensor], Tensor], p: Tensor, loss: Callable[[Tensor, Tensor], Tensor],
             cells: int = 32) -> tuple[Tensor, Tensor]:
    """dL/dp through the level set, and the same by central differences of newly made meshes, in float64."""
    def meshed(p: Tensor) -> tuple[Tensor, Tensor]:
        found = mesh_distance(lambda x: function(x.double(), p).float(), Grid.around(LOW, -LOW, cells))
        return found.vertices.double(), found.faces

    p = p.clone().requires_grad_(True)
    vertices, faces = meshed(p.detach())
    loss(moving_vertices(vertices, lambda x: function(x, p)), faces).backward()
    assert p.grad is not None
    differences, step = torch.zeros_like(p), 0.01
    for i in range(p.numel()):
        there = []
        for sign in (1, -1):
            q = p.detach().clone()
            q.view(-1)[i] += sign * step
            v, f = meshed(q)
            there.append(float(loss(v, f)))
        differences.view(-1)[i] = (there[0] - there[1]) / (2 * step)
    return p.grad, differences


@pytest.mark.parametrize("slope", [1.0, 5.0])
def test_a_ball_grows_with_its_radius_whatever_the_slope_of_its_function(slope: float) -> None:
    r = torch.tensor(0.6, dtype=torch.float64)
    found, differences = gradient(lambda x, r: slope * (x.norm(dim=1) - r), r, volume)
    exact = 4 * math.pi * 0.6**2
    assert float(found) == pytest.approx(exact, rel=0.01)
    assert float(differences) == pytest.approx(exact, rel=0.01)


def test_a_plane_moves_along_its_normal_and_not_along_itself() -> None:
    n = torch.nn.functional.normalize(torch.tensor([0.3, -0.5, 0.8], dtype=torch.float64), dim=0)
    d = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
    x = torch.rand(50, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) - 0.5
    moved = moving_vertices(x, lambda x: x @ n - d)
    assert torch.allclose(moved.detach() @ n, torch.full((50,), 0.1, dtype=torch.float64), atol=1e-12)  # projected
    along, = torch.autograd.grad((moved @ n).mean(), d, retain_graph=True)
    aside = torch.linalg.cross(n, torch.tensor([1.0, 0, 0], dtype=torch.float64))
    across, = torch.autograd.grad((moved @ aside).mean(), d)
    assert float(along) == pytest.approx(1.0, abs=1e-9)
    assert float(across) == pytest.approx(0.0, abs=1e-9)


def balls(x: Tensor, p: Tensor) -> Tensor:
    """A smooth union of four balls: centres and radii [4, 4]."""
    away = (x[:, None] - p[:, :3]).norm(dim=-1) - p[:, 3]
    return -torch.logsumexp(-12 * away, dim=1) / 12


def test_the_sixteen_numbers_of_four_merged_balls_against_finite_differences() -> None:
    p = torch.tensor([[0.3, 0.1, 0.0, 0.35], [-0.3, 0.0, 0.1, 0.3], [0.0, 0.35, -0.2, 0.28], [0.1, -0.3, 0.25, 0.3]],
                     dtype=torch.float64)
    direction = torch.tensor([0.2, 0.5, -0.3], dtype=torch.float64)

    def moment(v: Tensor, f: Tensor) -> Tensor:  # of the volume, so that it does not depend on the triangles
        a, b, c = v[f.long()].unbind(1)
        return ((a * torch.linalg.cross(b, c)).sum(1) / 6 * (1 + (a + b + c) @ direction / 4)).sum()

    found, differences = gradient(balls, p, moment, cells=40)
    cosine = torch.nn.functional.cosine_similarity(found.reshape(-1), differences.reshape(-1), dim=0)
    assert float(cosine) > 0.999
    assert float((found - differences).norm() / differences.norm()) < 0.02


def test_two_balls_grow_together_under_a_loss_on_their_mesh() -> None:
    """The level set changes its topology on the way: two parts become one."""
    from recon.mesh.connect import face_parts

    p = torch.tensor([[0.45, 0, 0, 0.3], [-0.45, 0, 0, 0.3]], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([p], lr=0.01)
    parts = []
    for _ in range(25):
        mesh = mesh_distance(lambda x: balls(x.double(), p).float(), Grid.around(LOW, -LOW, 20))
        parts.append(int(face_parts(mesh.faces.numpy()).max()) + 1)
        v = moving_vertices(mesh.vertices.double(), lambda x: balls(x, p))
        optimizer.zero_grad()
        (-volume(v, mesh.faces)).backward()
        optimizer.step()
    assert parts[0] == 2
    assert parts[-1] == 1


def test_no_vertices_and_no_slope() -> None:
    assert moving_vertices(torch.zeros(0, 3), lambda x: x[:, 0]).shape == (0, 3)
    with pytest.raises(ValueError, match="slope"):
        moving_vertices(torch.zeros(2, 3), lambda x: x.norm(dim=1).sqrt())
