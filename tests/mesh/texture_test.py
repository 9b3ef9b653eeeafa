"""Decimation, unwrapping and baking: a ball of known colours photographed from all sides."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

pytest.importorskip("xatlas")
pytest.importorskip("fast_simplification")

from recon.errors import InputError
from recon.mesh.check import check
from recon.mesh.grid import Grid
from recon.mesh.marching_cubes import mesh_distance
from recon.mesh.simplify import simplify
from recon.mesh.texture import Baking, bake, texels, textured_picture, unwrap
from recon.mesh.texture_fit import TextureFit, fit_texture
from recon.types import Camera, Mesh

RADIUS = 0.7


def ball() -> Mesh:
    low = torch.full((3,), -1.0)
    return mesh_distance(lambda x: x.norm(dim=1) - RADIUS, Grid.around(low, -low, 24))


def paint(x: Tensor) -> Tensor:
    """Colours that vary slowly over the ball and differ on its two sides."""
    return 0.5 + 0.45 * torch.sin(3 * x / RADIUS)


def view(angle: float, height: float) -> Camera:
    eye = torch.tensor([2.5 * math.cos(angle), 2.5 * math.sin(angle), height], dtype=torch.float64)
    forward = -eye / eye.norm()
    right = torch.nn.functional.normalize(torch.linalg.cross(forward, torch.tensor([0.0, 0, 1]).double()), dim=0)
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, 0], pose[:3, 1], pose[:3, 2], pose[:3, 3] = right, torch.linalg.cross(forward, right), forward, eye
    return Camera(160, 140, torch.tensor([190.0, 190.0, 80.0, 70.0]), pose)


def photo(mesh: Mesh, camera: Camera) -> tuple[Tensor, Tensor]:
    from recon.ops.raster import rasterize

    seen = rasterize(mesh.vertices, mesh.faces, camera)
    hit = seen.face >= 0
    return torch.where(hit[..., None], paint(seen.interpolate(mesh.vertices, mesh.faces)), 0.0), hit.float()


@pytest.fixture(scope="module")
def textured() -> Mesh:
    mesh = unwrap(ball())

    def views() -> Iterator[tuple[Camera, Tensor, Tensor]]:
        for h in (-2.0, 0.3, 2.0):
            for i in range(6):
                camera = view(1.05 * i + h, h)
                yield camera, *photo(mesh, camera)

    return bake(mesh, views(), Baking(256))


def test_unwrapping_keeps_the_surface_and_charts_do_not_overlap() -> None:
    mesh = ball()
    flat = unwrap(mesh)
    assert flat.uvs is not None
    assert len(flat) == len(mesh)
    assert flat.area == pytest.approx(mesh.area, rel=1e-5)
    corners = flat.uvs[flat.faces.long()]
    a, b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = float((a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).abs().sum()) / 2
    covered = float((texels(flat, 512).face >= 0).float().mean())
    assert 0.3 < covered <= 1
    assert covered == pytest.approx(area, rel=0.02)  # charts that overlap would cover less


def test_baked_colours_are_those_of_the_pictures(textured: Mesh) -> None:
    assert textured.texture is not None
    assert tuple(textured.texture.shape) == (256, 256, 3)
    for angle, height in ((0.4, 1.0), (3.5, -1.2)):  # cameras that were not baked from
        camera = view(angle, height)
        true, solid = photo(textured, camera)
        shown, hit = textured_picture(textured, camera)
        assert torch.equal(hit, solid > 0)
        assert float((shown - true)[hit].abs().mean()) < 0.02
        assert float((shown.flip(1) - true)[hit & hit.flip(1)].abs().mean()) > 0.1  # a mirrored one would be seen


def test_a_fitted_texture_is_sharper_than_a_baked_one_and_does_not_depend_on_threads() -> None:
    """Photos of fine stripes: each of their pixels is a mean over a pixel, and baking blurs that once more."""
    def stripes(x: Tensor) -> Tensor:
        return (0.5 + 0.4 * torch.sin(40 * x[..., 2:] / RADIUS)).expand(*x.shape)

    mesh = unwrap(ball())

    def taken(camera: Camera) -> tuple[Tensor, Tensor]:
        from recon.ops.raster import rasterize

        fine = camera.scaled(4 * camera.width, 4 * camera.height)
        seen = rasterize(mesh.vertices, mesh.faces, fine)
        colours = stripes(seen.interpolate(mesh.vertices, mesh.faces)) * (seen.face >= 0)[..., None]
        planes = torch.cat([colours, (seen.face >= 0)[..., None].float()], dim=-1).permute(2, 0, 1)[None]
        small = torch.nn.functional.avg_pool2d(planes, 4)[0].permute(1, 2, 0)
        return small[..., :3], small[..., 3]

    views = [(c, *taken(c)) for c in (view(0.9 * i, h) for h in (-1.0, 0.8) for i in range(7))]
    baked = bake(mesh, views, Baking(256))

    def error(m: Mesh, camera: Camera) -> float:
        true, solid = taken(camera)
        shown, _ = textured_picture(m, camera.scaled(4 * camera.width, 4 * camera.height))
        small = torch.nn.functional.avg_pool2d(shown.permute(2, 0, 1)[None], 4)[0].permute(1, 2, 0)
        return float((small - true)[solid == 1].square().mean())

    before = torch.get_num_threads()
    fitted = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        fitted.append(fit_texture(baked, lambda: views, TextureFit(8)))
    torch.set_num_threads(before)
    assert fitted[0].texture is not None
    assert fitted[1].texture is not None
    assert torch.equal(fitted[0].texture, fitted[1].texture)
    for camera in (view(0.45, 0.0), view(3.6, 0.3)):  # not among them
        assert error(fitted[0], camera) < 0.5 * error(baked, camera)


def test_what_no_camera_sees_keeps_its_vertex_colours() -> None:
    mesh = ball()
    grey = Mesh(mesh.vertices, mesh.faces, colours=torch.full_like(mesh.vertices, 0.25))
    flat = unwrap(grey)
    camera = view(0.0, 0.0)
    white = torch.ones(camera.height, camera.width, 3)
    baked = bake(flat, [(camera, white, None)], Baking(128))
    front, hit = textured_picture(baked, camera)
    back, behind = textured_picture(baked, view(math.pi, 0.0))
    assert float(front[65:75, 75:85].min()) > 0.95
    assert float((back[behind] - 0.25).abs().mean()) < 0.05
    assert bool(hit.any())


def test_decimation_reaches_its_number_and_stays_closed() -> None:
    mesh = ball()
    coloured = Mesh(mesh.vertices, mesh.faces, colours=paint(mesh.vertices))
    small = simplify(coloured, 600)
    assert 500 <= len(small) <= 620
    report = check(small)
    assert (report.watertight, report.euler) == (True, 2)
    assert small.volume == pytest.approx(mesh.volume, rel=0.03)
    assert small.colours is not None
    assert float((small.colours - paint(small.vertices)).abs().max()) < 0.25
    assert simplify(mesh, 10**6) is mesh


def test_charts_that_do_not_fit_are_refused() -> None:
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(3000, 1, 3, generator=generator) + 0.02 * torch.randn(3000, 3, 3, generator=generator)
    dust = Mesh(corners.reshape(-1, 3), torch.arange(9000, dtype=torch.int32).view(-1, 3))
    with pytest.raises(InputError, match="3,000 charts, which do not fit on a texture of 64"):
        unwrap(dust, 64)
    assert unwrap(dust, 1024).uvs is not None
