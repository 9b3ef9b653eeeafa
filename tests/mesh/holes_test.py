"""Holes: closed with the least area, slits as well as round ones, and the mesh stays manifold."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from recon.mesh.check import check
from recon.mesh.connect import find_edges
from recon.mesh.holes import fill_holes, least_area
from recon.types import Mesh


def triangulations(corners: tuple[int, ...]) -> list[list[tuple[int, int, int]]]:
    """All ways to cut a polygon into triangles."""
    if len(corners) < 3:
        return [[]]
    first, last = corners[0], corners[-1]
    return [[(first, corners[k], last), *a, *b] for k in range(1, len(corners) - 1)
            for a, b in itertools.product(triangulations(corners[:k + 1]), triangulations(corners[k:]))]


def areas(x: np.ndarray, triangles: np.ndarray) -> float:
    a, b, c = (x[triangles[:, i]] for i in range(3))
    return float(0.5 * np.linalg.norm(np.cross(b - a, c - a), axis=1).sum())


@pytest.mark.parametrize("seed", range(5))
def test_the_area_is_the_least_of_all_ways(seed: int) -> None:
    draws = np.random.default_rng(seed)
    x = draws.normal(size=(7, 3))
    barred = np.zeros((7, 7), bool)
    barred[1, 4] = barred[4, 1] = seed % 2 == 0
    ways = [np.array(way) for way in triangulations(tuple(range(7)))]
    assert len(ways) == 42
    allowed = [w for w in ways if not any(barred[i, j] for t in w for i, j in itertools.combinations(t, 2))]
    triangles, area = least_area(x, barred)
    assert area == pytest.approx(min(areas(x, w) for w in allowed), rel=1e-12)
    assert areas(x, triangles) == pytest.approx(area, rel=1e-12)
    assert not any(barred[i, j] for t in triangles for i, j in itertools.combinations(t, 2))


def sheet(gone: torch.Tensor) -> Mesh:
    """A square of 60 x 60 cells, bent, without the cells where ``gone`` [60, 60]."""
    n = 61
    y, x = torch.meshgrid(torch.arange(n), torch.arange(n), indexing="ij")
    vertices = torch.stack([x, y, 6 * torch.sin(x / 20)], dim=-1).reshape(-1, 3).float()
    corner = (y * n + x)[:-1, :-1][~gone]
    faces = torch.cat([torch.stack([corner, corner + 1, corner + n], 1),
                       torch.stack([corner + 1, corner + n + 1, corner + n], 1)])
    return Mesh(vertices, faces.to(torch.int32))


def test_a_slit_is_closed_and_a_round_hole_of_its_length_is_not() -> None:
    y, x = torch.meshgrid(torch.arange(60), torch.arange(60), indexing="ij")
    slit, hole = sheet((y == 20) & (x > 9) & (x < 50)), sheet((y > 19) & (y < 40) & (x > 19) & (x < 40))
    borders = [int((find_edges(m.faces.numpy()).count == 1).sum()) - 240 for m in (slit, hole)]
    assert borders == [82, 80]
    whole = sheet(torch.zeros(60, 60, dtype=torch.bool))
    for mesh, longest, count in ((slit, 30, 1), (slit, 15, 0), (hole, 30, 0), (hole, 90, 1)):
        filled, found = fill_holes(mesh, longest)
        assert found == count
        report = check(filled)
        assert report.manifold
        assert not report.inverted_edges
        if count:
            assert report.border_edges == 240
            assert filled.area == pytest.approx(whole.area, rel=0.02)
            assert len(filled.vertices) == len(mesh.vertices)


def test_no_edge_gets_a_third_face() -> None:
    square = Mesh(torch.tensor([[0.0, 0, 0], [1, 0, 0], [1, 1, 0.1], [0, 1, 0]]),
                  torch.tensor([[0, 1, 2], [0, 2, 3]], dtype=torch.int32))
    closed, count = fill_holes(square)
    assert count == 1
    assert check(closed).watertight  # the other diagonal: there are faces at both sides of the first already
    colours = torch.rand(4, 3)
    assert fill_holes(Mesh(square.vertices, square.faces, colours=colours))[0].colours is colours


def test_textured_meshes_are_left_alone() -> None:
    triangle = Mesh(torch.eye(3), torch.tensor([[0, 1, 2]], dtype=torch.int32), uvs=torch.rand(3, 2))
    assert fill_holes(triangle) == (triangle, 0)
