"""Silhouettes: shares of pixels are areas for straight edges, and derivatives follow the vertices."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from recon.ops.antialias import antialias, silhouettes
from recon.ops.raster import rasterize
from recon.types import Camera

CAMERA = Camera(16, 12, torch.tensor([10.0, 10.0, 8.0, 6.0]), torch.eye(4, dtype=torch.float64))


def coverage(vertices: Tensor, faces: Tensor) -> Tensor:
    """[height, width] of white faces over black."""
    fragments = rasterize(vertices, faces, CAMERA)
    pixels, _ = CAMERA.project(vertices)
    white = (fragments.face >= 0).float()[..., None]
    return antialias(white, silhouettes(fragments.face, fragments.depth, pixels[faces.long()]))[..., 0]


def square(left: float, right: float, top: float, bottom: float, z: float = 1.0) -> tuple[Tensor, Tensor]:
    """Of two triangles; sides in pixels."""
    x = (torch.tensor([left, right, right, left]) - 8) / 10 * z
    y = (torch.tensor([top, top, bottom, bottom]) - 6) / 10 * z
    return (torch.stack([x, y, torch.full((4,), z)], dim=1),
            torch.tensor([[0, 1, 2], [0, 2, 3]], dtype=torch.int32))


@pytest.mark.parametrize(("left", "right"), [(3.2, 9.7), (3.5, 9.9), (2.9, 8.4), (4.0, 9.0)])
def test_upright_edges_cover_their_share(left: float, right: float) -> None:
    shown = coverage(*square(left, right, 2.0, 9.0))
    expected = torch.zeros(16)
    for i in range(16):
        expected[i] = max(0.0, min(right, i + 1) - max(left, i))
    torch.testing.assert_close(shown[5], expected, atol=1e-4, rtol=0)
    assert float(shown[0].sum()) == 0


def test_the_sum_moves_with_the_edge() -> None:
    vertices, faces = square(3.3, 9.6, 2.2, 8.7)
    vertices.requires_grad_()
    coverage(vertices, faces).sum().backward()
    assert vertices.grad is not None
    for index, axis in ((1, 0), (0, 0), (3, 1)):
        moved = []
        for sign in (1, -1):
            v = vertices.detach().clone()
            v[index, axis] += sign * 1e-3
            moved.append(float(coverage(v, faces).sum()))
        slope = (moved[0] - moved[1]) / 2e-3
        assert float(vertices.grad[index, axis]) == pytest.approx(slope, abs=2.0, rel=0.15)
    # a right side that moves by one pixel (0.1) uncovers its height of 6.5 pixels
    assert float(vertices.grad[[1, 2], 0].sum()) == pytest.approx(65, rel=0.15)


def test_an_edge_before_another_surface() -> None:
    near, faces = square(3.3, 7.4, 2.0, 9.0)
    far, _ = square(0.0, 16.0, 0.0, 12.0, z=3.0)
    vertices, all_faces = torch.cat([near, far]), torch.cat([faces, faces + 4])
    fragments = rasterize(vertices, all_faces, CAMERA)
    pixels, _ = CAMERA.project(vertices)
    colour = torch.where(fragments.face < 2, 1.0, 0.25)[..., None]
    shown = antialias(colour, silhouettes(fragments.face, fragments.depth, pixels[all_faces.long()]))[..., 0]
    assert float(shown[5, 7]) == pytest.approx(0.4 + 0.6 * 0.25, abs=1e-4)
    assert float(shown[5, 3]) == pytest.approx(0.7 + 0.3 * 0.25, abs=1e-4)
    assert float(shown[5, 10]) == 0.25


def test_nothing_to_see() -> None:
    vertices, faces = square(3.3, 7.4, 2.0, 9.0)
    assert float(coverage(vertices - torch.tensor([0.0, 0.0, 5.0]), faces).sum()) == 0
