"""The report of a mesh names every fault, and the repairs mend what they say."""

from __future__ import annotations

import numpy as np
import torch

from recon.mesh.check import check
from recon.mesh.clean import drop_small_parts, part_sheets
from recon.mesh.connect import label
from recon.mesh.holes import fill_holes
from recon.types import Mesh

CUBE = [[0, 2, 1], [1, 2, 3], [4, 5, 6], [5, 7, 6], [0, 1, 4], [1, 5, 4], [2, 6, 3], [3, 6, 7], [0, 4, 2], [2, 4, 6],
        [1, 3, 5], [3, 7, 5]]  # corner i at (i & 1, i >> 1 & 1, i >> 2)


def mesh(faces: list[list[int]], vertices: torch.Tensor | None = None) -> Mesh:
    count = max(map(max, faces)) + 1
    places = torch.randn(count, 3, generator=torch.Generator().manual_seed(0)) if vertices is None else vertices
    return Mesh(places, torch.tensor(faces, dtype=torch.int32))


def cube(offset: float = 0.0, size: float = 1.0) -> Mesh:
    corners = torch.tensor([[i & 1, i >> 1 & 1, i >> 2] for i in range(8)], dtype=torch.float32)
    return mesh(CUBE, corners * size + offset)


def joined(a: Mesh, b: Mesh) -> Mesh:
    return Mesh(torch.cat([a.vertices, b.vertices]), torch.cat([a.faces, b.faces + len(a.vertices)]))


def test_a_cube_is_perfect() -> None:
    report = check(cube(), intersections=True)
    assert (report.watertight, report.euler, report.parts, report.self_intersections) == (True, 2, 1, 0)
    assert cube().volume == 1.0
    assert cube().area == 6.0
    assert "watertight" in str(report)


def test_faults_are_found() -> None:
    assert check(mesh(CUBE[:-1], cube().vertices)).border_edges == 3
    assert check(mesh([[0, 1, 2], [1, 0, 3], [0, 1, 4]])).nonmanifold_edges == 1
    assert check(mesh([[0, 1, 2], [0, 3, 4]])).nonmanifold_vertices == 1
    assert check(mesh([[0, 1, 2], [0, 1, 3]])).inverted_edges == 1
    assert check(mesh([[0, 1, 1]])).degenerate_faces == 1
    assert check(Mesh(torch.zeros(3, 3), torch.zeros(0, 3, dtype=torch.int32))).watertight is False


def test_cuts_are_counted() -> None:
    inner = cube()
    two = joined(cube(), Mesh(inner.vertices + torch.tensor([0.41, 0.33, 0.57]), inner.faces))
    assert check(two, intersections=True).self_intersections > 0
    assert check(two).self_intersections is None
    assert check(joined(cube(), cube(1.5)), intersections=True).self_intersections == 0
    crossing = mesh([[0, 1, 2], [3, 4, 5]], torch.tensor(
        [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0.2, 0.2, -1], [0.2, 0.2, 1], [2, 2, 0.5]], dtype=torch.float32))
    assert check(crossing, intersections=True).self_intersections == 1


def test_labels_of_random_graphs() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        n = int(rng.integers(1, 60))
        a, b = rng.integers(0, n, (2, int(rng.integers(0, 60))))
        want = np.arange(n)
        for _ in range(n):
            for x, y in zip(a, b):
                want[x] = want[y] = min(want[x], want[y])
        assert np.array_equal(label(n, a, b), want)


def test_sheets_that_touch_are_parted() -> None:
    bow = mesh([[0, 1, 2], [0, 3, 4]])
    fixed = part_sheets(bow)
    assert check(fixed).manifold
    assert len(fixed.vertices) == 6
    torch.testing.assert_close(fixed.corners, bow.corners)
    assert check(part_sheets(mesh([[0, 1, 2], [1, 0, 3], [0, 1, 4], [5, 5, 1]]))).manifold


def test_small_parts_go() -> None:
    kept, dropped = drop_small_parts(joined(cube(size=0.05), cube(offset=2.0)), 0.01)
    assert (len(kept), dropped) == (12, 1)
    assert float(kept.vertices.min()) == 2.0


def test_holes_are_closed_the_right_way_round() -> None:
    open_cube = mesh([f for i, f in enumerate(CUBE) if i not in (0, 11)], cube().vertices)
    closed, count = fill_holes(open_cube)
    report = check(closed)
    assert (count, report.watertight, report.euler) == (2, True, 2)
    assert abs(closed.volume - 1) < 1e-6
    assert fill_holes(open_cube, longest=2)[1] == 0


def test_solids_that_touch_along_an_edge_come_apart() -> None:
    first = cube()
    second = Mesh(first.vertices + torch.tensor([1.0, 1.0, 0.0]), first.faces)
    both = joined(first, second)
    whole, index = torch.unique(both.vertices, dim=0, return_inverse=True)
    touching = Mesh(whole, index[both.faces.long()].to(torch.int32))
    assert check(touching).nonmanifold_edges == 1
    apart = part_sheets(touching)
    report = check(apart)
    assert report.watertight
    assert report.parts == 2
    assert len(apart.vertices) == 16
    assert abs(apart.volume - 2) < 1e-6
    hollows = part_sheets(Mesh(touching.vertices, touching.faces.flip(1)))  # of one solid, which meets itself there
    assert check(hollows).watertight
    assert abs(hollows.volume + 2) < 1e-6


def test_what_hangs_together_elsewhere_is_cut_open_where_it_touches() -> None:
    faces = torch.tensor([[0, 1, 2], [1, 0, 3], [0, 1, 4], [1, 0, 5], [0, 2, 5], [0, 4, 3]], dtype=torch.int32)
    points = torch.tensor([[0.0, 0, 0], [0, 0, 1], [1, 0.1, 0], [1, -0.1, 0], [-1, -0.1, 0], [-1, 0.1, 0]])
    parted = part_sheets(Mesh(points, faces))
    assert check(parted).manifold
    assert len(parted) == 6
