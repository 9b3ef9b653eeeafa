"""Meshes in the page to share: the packing, and what a real browser shows."""

from __future__ import annotations

import base64
import io
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from html_test import content, psnr, ring
from page_in_browser import Page, chromium
from PIL import Image

from recon.app.main import main
from recon.export import read_mesh, write_mesh, write_splats
from recon.export.page_mesh import pack_mesh, vertex_colours
from recon.types import Camera, Gaussians, Mesh


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


def sphere(rings: int = 40, radius: float = 2.0, coloured: bool = True) -> Mesh:
    """Around the origin, coloured by the direction from it."""
    theta = torch.linspace(0, torch.pi, rings)
    phi = torch.linspace(0, 2 * torch.pi, 2 * rings)
    t, p = torch.meshgrid(theta, phi, indexing="ij")
    x = torch.stack([t.sin() * p.cos(), t.sin() * p.sin(), t.cos()], -1).reshape(-1, 3)
    i, j = torch.meshgrid(torch.arange(rings - 1), torch.arange(2 * rings - 1), indexing="ij")
    a = (i * 2 * rings + j).reshape(-1)
    quads = torch.stack([a, a + 2 * rings, a + 2 * rings + 1, a + 1], 1)
    faces = torch.cat([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]).to(torch.int32)
    return Mesh(radius * x, faces, colours=0.5 + 0.5 * x if coloured else None)


def expected(camera: Camera, background: float, radius: float = 2.0) -> np.ndarray:
    """The picture of the sphere by intersection of rays [height, width, 3]."""
    y, x = torch.meshgrid(torch.arange(camera.height) + 0.5, torch.arange(camera.width) + 0.5, indexing="ij")
    origin, direction = camera.rays(torch.stack([x, y], -1))
    direction = torch.nn.functional.normalize(direction.double(), dim=-1)
    b = (origin.double() * direction).sum(-1)
    disc = b * b - (origin.double() ** 2).sum(-1) + radius * radius
    hit = origin.double() + direction * (-b - disc.clamp_min(0).sqrt())[..., None]
    colour = 0.5 + 0.5 * hit / radius
    return torch.where((disc > 0)[..., None], colour, torch.full_like(colour, background)).numpy()


def shown(page: Page, camera: Camera) -> np.ndarray:
    """The page's picture at a camera, in 0..1."""
    fx, fy, cx, cy = camera.intrinsics.tolist()
    plain = {"width": camera.width, "height": camera.height, "fx": fx, "fy": fy, "cx": cx, "cy": cy,
             "world_from_camera": camera.world_from_camera[:3].tolist()}
    url = page.page.evaluate("async (c) => (await recon).picture(c)", plain)
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGB")) / 255.0


def unpacked(data: bytes, layout: dict[str, Any]) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
    """What web/mesh.js does, in a few lines of numpy: vertices, colours, faces."""
    raw = np.frombuffer(zlib.decompress(data), np.uint8).astype(np.int64)
    v, f = layout["vertices"], layout["faces"]
    steps = raw[:6 * v].reshape(3, 2, v)
    place = np.cumsum(steps[:, 0] | steps[:, 1] << 8, 1) & 0xFFFF
    low, high = np.array(layout["low"]), np.array(layout["high"])
    colours = np.cumsum(raw[6 * v:9 * v].reshape(3, v), 1) & 255 if layout["coloured"] else None
    planes = raw[-12 * f:].reshape(3, 4, f)
    a, b, c = (sum(p[i] << 8 * i for i in range(4)) for p in planes)
    a = np.cumsum(a)
    return (low[:, None] + place / 65535 * (high - low)[:, None]).T, None if colours is None else colours.T, \
        np.stack([a, a + b, a + c], 1)


@pytest.mark.parametrize("coloured", [True, False])
def test_packing_keeps_every_triangle(coloured: bool) -> None:
    mesh = sphere(20, coloured=coloured)
    packed = pack_mesh(mesh)
    vertices, colours, faces = unpacked(packed.data, packed.layout)
    assert len(faces) == len(mesh)

    def sorted_corners(x: np.ndarray) -> np.ndarray:
        rolled = [np.roll(t, -int(np.lexsort(np.rint(t[:, ::-1] * 100).T)[0]), axis=0).reshape(-1) for t in x]
        return np.array(sorted(rolled, key=lambda t: tuple(np.rint(t * 100))))

    same = sorted_corners(vertices[faces]), sorted_corners(mesh.corners.numpy().astype(np.float64))
    centres = [np.sort(c.reshape(-1, 3, 3).mean(1).round(3), axis=0) for c in same]
    np.testing.assert_allclose(*centres, atol=2e-3)
    signed = [np.einsum("fi,fi->", c[:, 0], np.cross(c[:, 1], c[:, 2])) / 6 for c in
              (vertices[faces], mesh.corners.numpy())]
    assert signed[0] == pytest.approx(signed[1], rel=1e-3), "the winding is kept"
    if coloured:
        assert colours is not None
        np.testing.assert_allclose(colours / 255, 0.5 + 0.25 * vertices, atol=0.003)
    else:
        assert colours is None
    assert len(packed.data) < 20 * len(mesh), "small"


def test_colours_come_from_the_texture() -> None:
    texture = torch.zeros(2, 2, 3, dtype=torch.uint8)
    texture[0, 1] = torch.tensor([255, 0, 0], dtype=torch.uint8)  # upper right
    mesh = Mesh(torch.eye(3), torch.tensor([[0, 1, 2]], dtype=torch.int32), texture=texture,
                uvs=torch.tensor([[0.75, 0.75], [0.25, 0.25], [0.75, 0.25]]))
    colours = vertex_colours(mesh)
    assert colours is not None
    assert colours.tolist() == [[1, 0, 0], [0, 0, 0], [0, 0, 0]]


def test_the_browser_shows_the_mesh(browser: Any, tmp_path: Path) -> None:
    path = tmp_path / "sphere.html"
    assert write_mesh(path, sphere(80)) == ()
    background = json.loads(content(path, "scene"))["background"][0]
    with Page(browser, path) as page:
        for camera in ring():
            want = expected(camera, background)
            assert psnr(shown(page, camera), want) > 30
        assert not page.complaints
        assert "triangles" in page.page.inner_text("#count")
        assert page.page.locator("#triangles").is_hidden(), "there is nothing to switch to"


def test_a_mesh_without_colours_is_lit(browser: Any, tmp_path: Path) -> None:
    path = tmp_path / "grey.html"
    write_mesh(path, sphere(coloured=False))
    camera = ring()[0]
    with Page(browser, path) as page:
        picture = shown(page, camera)
        assert not page.complaints
    x, y = (round(float(c)) for c in camera.project(torch.zeros(1, 3, dtype=torch.float64))[0][0])
    assert picture[y, x].mean() > 0.6, "bright where it faces the viewer"
    lit = picture[expected(camera, -1.0).min(-1) >= 0]
    assert lit.mean() < 0.62, "darker towards the rim"


def test_a_button_switches_between_splats_and_triangles(browser: Any, tmp_path: Path) -> None:
    path = tmp_path / "both.html"
    red = torch.tensor([[[1.7, -1.7, -1.7]]])  # one red blob
    blob = Gaussians(torch.zeros(1, 3), torch.zeros(1, 3) - 0.5, torch.tensor([[1.0, 0, 0, 0]]), torch.full((1,), 5.0),
                     red)
    write_splats(path, blob, cameras=ring(), mesh=sphere(80))
    camera = ring()[1]
    with Page(browser, path) as page:
        splats = shown(page, camera)
        assert splats[:, :, 0].max() > 0.8
        assert splats[:, :, 1].max() < 0.1
        page.page.click("#triangles")
        assert psnr(shown(page, camera), expected(camera, 0.0)) > 30
        page.page.keyboard.press("t")
        assert np.abs(shown(page, camera) - splats).max() < 0.02
        assert not page.complaints


def test_export_turns_meshes_into_pages_and_other_meshes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "a.obj"
    write_mesh(source, sphere(10))
    assert main(["export", str(source), str(tmp_path / "a.html")]) == 0
    assert "triangles" in capsys.readouterr().out
    assert main(["export", str(source), str(tmp_path / "a.stl")]) == 0
    before, after = read_mesh(source), read_mesh(tmp_path / "a.stl")
    top = before.vertices[before.vertices[:, 1].argmax()]
    turned = after.vertices[(after.vertices - torch.stack([top[0], -top[2], top[1]])).norm(dim=1).argmin()]
    assert turned[2] == pytest.approx(float(top[1]), abs=1e-4), "y up became z up"
    assert main(["export", str(source), str(tmp_path / "a.spz")]) == 2
    assert main(["export", str(source), str(tmp_path / "b.html"), "--mesh", str(source)]) == 2
