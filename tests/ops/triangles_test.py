"""Distances to triangles: nearest points and winding numbers against double precision by brute force."""

from __future__ import annotations

import pytest
import torch

from recon.ops.native import native
from recon.ops.triangles import Triangles, examples, reference_closest, reference_winding


def sphere(rings: int = 24) -> tuple[torch.Tensor, torch.Tensor]:
    """A closed unit sphere of triangles, wound outwards."""
    from recon.ops.flexicubes import grid_points
    from recon.ops.marching_cubes import marching_cubes

    x = grid_points((rings,) * 3, (-1.3,) * 3, (2.6 / (rings - 1),) * 3)
    return marching_cubes(x.norm(dim=-1) - 1, origin=(-1.3,) * 3, spacing=(2.6 / (rings - 1),) * 3)


@pytest.mark.parametrize("example", list(examples()), ids=lambda e: f"{len(e['faces'])} faces")
def test_nearest_points_are_the_nearest(example: dict[str, torch.Tensor]) -> None:
    vertices, faces, points = example["vertices"], example["faces"], example["points"]
    nearest, face = Triangles(vertices, faces).closest(points)
    if not len(faces):
        assert (face == -1).all()
        return
    squared = reference_closest(vertices, faces, points)
    torch.testing.assert_close((points - nearest).double().square().sum(1), squared.amin(1), rtol=1e-5, atol=1e-6)
    named = squared.gather(1, face.long()[:, None])[:, 0]
    torch.testing.assert_close(named, squared.amin(1), rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("example", list(examples()), ids=lambda e: f"{len(e['faces'])} faces")
def test_winding_numbers_of_soups(example: dict[str, torch.Tensor]) -> None:
    vertices, faces, points = example["vertices"], example["faces"], example["points"]
    got = Triangles(vertices, faces).winding(points).double()
    want = reference_winding(vertices, faces, points)
    assert float((got - want).abs().max()) < 0.05  # dipoles from afar


def test_signs_of_a_closed_surface() -> None:
    vertices, faces = sphere()
    points = torch.randn(2000, 3, generator=torch.Generator().manual_seed(0))
    radius = points.norm(dim=1)
    clear = (radius - 1).abs() > 0.02
    distance = Triangles(vertices, faces).distance(points)
    assert ((distance < 0) == (radius < 1))[clear].all()
    torch.testing.assert_close(distance, radius - 1, atol=0.01, rtol=0)


def test_a_hole_keeps_the_sign_away_from_it() -> None:
    vertices, faces = sphere()
    top = vertices[faces.long()].mean(1)[:, 2] > 0.93
    tree = Triangles(vertices, faces[~top].contiguous())
    points = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, -1.5], [0.0, 0.0, 2.0], [0.5, 0.2, 0.1]])
    assert (tree.distance(points) < 0).tolist() == [True, False, False, True]


def test_on_an_edge_the_face_that_tells_the_side() -> None:
    """A thin wedge: beyond its sharp edge the nearer plane's face is the wrong one to ask."""
    vertices = torch.tensor([[0.0, 0, 0], [0, 0, 1], [-1, 0.1, 0], [-1, -0.1, 0]])
    faces = torch.tensor([[0, 1, 2], [0, 3, 1]], dtype=torch.int32)
    _, face = Triangles(vertices, faces).closest(torch.tensor([[0.1, 0.3, 0.5], [0.1, -0.3, 0.5]]))
    assert face.tolist() == [0, 1]


def test_same_bits_on_any_number_of_threads() -> None:
    vertices, faces = sphere()
    tree = Triangles(vertices, faces)
    points = torch.randn(5000, 3, generator=torch.Generator().manual_seed(1))
    before = native.get_threads()
    try:
        results = []
        for threads in (1, 2):
            native.set_threads(threads)
            results.append((*tree.closest(points), tree.winding(points)))
    finally:
        native.set_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(*results))


def test_bad_arguments_are_named() -> None:
    vertices, faces = torch.zeros(3, 3), torch.tensor([[0, 1, 2]], dtype=torch.int32)
    with pytest.raises(ValueError, match="finite"):
        Triangles(vertices * torch.nan, faces)
    with pytest.raises(ValueError, match="name vertices"):
        Triangles(vertices, faces + 1)
    with pytest.raises(TypeError, match="faces must be int32"):
        Triangles(vertices, faces.long())
    with pytest.raises(ValueError, match="points must be"):
        Triangles(vertices, faces).closest(torch.zeros(2, 2))
