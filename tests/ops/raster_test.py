"""Mesh rasterization against meeting every ray with every face."""

from __future__ import annotations

import pytest
import torch

from recon.ops.native import native
from recon.ops.raster import Fragments, rasterize, reference
from recon.types import Camera


def camera(width: int, height: int) -> Camera:
    pose = torch.eye(4, dtype=torch.float64)
    pose[2, 3] = -3.0
    return Camera(width, height, torch.tensor([1.1 * width, 1.2 * width, width / 2 + 0.3, height / 2]), pose)


def soup(n: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    vertices = torch.randn(n, 3, generator=g) * 0.5
    faces = torch.randint(0, n, (2 * n, 3), generator=g, dtype=torch.int32)
    return vertices, faces


@pytest.mark.parametrize(("n", "width", "height"), [(3, 1, 1), (20, 7, 9), (50, 37, 29)])
def test_against_rays(n: int, width: int, height: int) -> None:
    vertices, faces = soup(n)
    at = camera(width, height)
    seen = rasterize(vertices, faces, at)
    face, depth = reference(vertices, faces, at)
    assert torch.equal(seen.face.long(), face)
    torch.testing.assert_close(seen.depth.double(), depth, atol=1e-5, rtol=0)
    if n > 3:
        assert 0.05 < float((face >= 0).float().mean()) < 1
    points = seen.interpolate(vertices, faces)
    far = (points.double() @ at.camera_from_world[:3, :3].T + at.camera_from_world[:3, 3])[..., 2]
    hit = seen.face >= 0
    torch.testing.assert_close(far[hit].float(), seen.depth[hit], atol=1e-5, rtol=0)
    pixels, _ = at.project(points[hit].double())
    y, x = hit.nonzero(as_tuple=True)
    torch.testing.assert_close(pixels, torch.stack([x, y], dim=1) + 0.5, atol=1e-3, rtol=0, check_dtype=False)


def test_neighbours_leave_no_gap() -> None:
    """A square of two faces that share a diagonal covers every pixel inside it."""
    vertices = torch.tensor([[-1.0, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]], dtype=torch.int32)
    assert bool((rasterize(vertices, faces, camera(64, 48)).face[6:-6, 10:-10] >= 0).all())


def test_threads_agree_and_empty() -> None:
    vertices, faces = soup(400)
    at = camera(101, 75)
    before = native.get_threads()
    found: list[Fragments] = []
    for threads in (1, 2):
        native.set_threads(threads)
        found.append(rasterize(vertices, faces, at))
    native.set_threads(before)
    assert torch.equal(found[0].face, found[1].face)
    assert torch.equal(found[0].shares, found[1].shares)
    nothing = rasterize(vertices, faces[:0], at)
    assert int(nothing.face.max()) == -1


def test_bad_arguments() -> None:
    vertices, faces = soup(5)
    with pytest.raises(TypeError, match="faces"):
        rasterize(vertices, faces.long(), camera(5, 5))
    with pytest.raises(ValueError, match="vertex that is not there"):
        rasterize(vertices[:2], torch.tensor([[0, 1, 2]], dtype=torch.int32), camera(5, 5))
    for bad in (float("nan"), float("inf"), -1e30):
        broken = vertices.clone()
        broken[0] = bad
        rasterize(broken, faces, camera(5, 5))
