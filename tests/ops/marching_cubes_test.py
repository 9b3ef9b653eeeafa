"""Marching cubes: closed for every sign pattern, open only where nothing is known."""

from __future__ import annotations

import math
from types import ModuleType

import pytest
import torch

from recon.mesh.check import check
from recon.mesh.clean import part_sheets
from recon.ops import flexicubes_cuda
from recon.ops.flexicubes import grid_points
from recon.ops.marching_cubes import examples, marching_cubes, reference
from recon.types import Mesh


@pytest.fixture(autouse=True)
def _kernels(kernels: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flexicubes_cuda, "native", kernels)


def test_vertices_are_the_crossings() -> None:
    for example in examples(torch.float64):
        vertices, _ = marching_cubes(**example)
        torch.testing.assert_close(vertices, reference(**example)[0])


def test_noise_is_watertight() -> None:
    for seed in range(350):
        size = 4 + seed % 6
        values = torch.randn(size, size, size, generator=torch.Generator().manual_seed(seed))
        for axis in range(3):
            for end in (0, size - 1):
                values.select(axis, end).abs_()
        mesh = Mesh(*marching_cubes(values))
        if len(mesh):
            report = check(mesh)
            assert report.watertight, f"seed {seed}: {report}"


def test_sphere_is_wound_outwards() -> None:
    points = grid_points((33, 33, 33), (-1,) * 3, (1 / 16,) * 3)
    mesh = Mesh(*marching_cubes((points.norm(dim=-1) - 0.6).contiguous(), origin=(-1,) * 3, spacing=(1 / 16,) * 3))
    assert mesh.volume == pytest.approx(4 / 3 * math.pi * 0.6**3, rel=0.02)
    report = check(mesh, intersections=True)
    assert (report.euler, report.self_intersections) == (2, 0)


def test_gradient_moves_the_surface() -> None:
    points = grid_points((9, 9, 9), (-1,) * 3, (0.25,) * 3)
    values = (points.norm(dim=-1) - 0.6).requires_grad_()
    vertices, _ = marching_cubes(values, origin=(-1,) * 3, spacing=(0.25,) * 3)
    gradient = torch.autograd.grad(vertices.norm(dim=1).sum(), values)[0]
    assert (gradient[gradient != 0] < 0).all()  # larger values, smaller ball


def test_unknown_points_open_the_mesh() -> None:
    for seed in range(60):
        generator = torch.Generator().manual_seed(seed)
        values = torch.randn(7, 8, 9, generator=generator)
        known = (torch.rand(7, 8, 9, generator=generator) > 0.1).to(torch.uint8)
        vertices, faces = marching_cubes(values, known=known)
        assert len(torch.unique(faces)) == len(vertices)
        mesh = part_sheets(Mesh(vertices, faces))
        report = check(mesh)
        assert report.manifold
        assert report.border_edges > 0
        assert len(mesh) == len(faces)
    assert len(marching_cubes(values, known=torch.zeros_like(known))[1]) == 0


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="known"):
        marching_cubes(torch.randn(3, 3, 3), known=torch.ones(3, 3, 2, dtype=torch.uint8))
    with pytest.raises(ValueError, match="finite"):
        marching_cubes(torch.full((3, 3, 3), torch.inf))
