"""The page to share: how small and how true the packing is, and what a real browser shows."""

from __future__ import annotations

import base64
import json
import math
import re
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from page_in_browser import Page, chromium

from recon.errors import InputError
from recon.export import read_splats, splat_suffixes, write_splats
from recon.export.html import _plain
from recon.export.page_packing import morton_order, pack
from recon.export.page_view import middle_of_views, outside_camera, up_of_cameras
from recon.export.splat_file import SH_C0, arrays_to_write, sigmoid, unit_quaternions
from recon.renderers.splat import SplatRenderer
from recon.types import Camera, Gaussians


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


def ring(n: int = 6, distance: float = 12.0, up: tuple[float, float, float] = (0.2, 0.3, 1.0),
         size: tuple[int, int] = (160, 120)) -> list[Camera]:
    """Level cameras around the origin that look a little downwards."""
    top = np.array(up) / np.linalg.norm(up)
    aside = np.linalg.svd(top[None])[2][1:]
    out = []
    for angle in np.linspace(0, 2 * math.pi, n, endpoint=False):
        centre = distance * (math.cos(angle) * aside[0] + math.sin(angle) * aside[1] + 0.4 * top)
        forward = -centre / np.linalg.norm(centre)
        right = np.cross(forward, top) / np.linalg.norm(np.cross(forward, top))
        pose = np.eye(4)
        pose[:3] = np.stack([right, np.cross(forward, right), forward, centre], 1)
        out.append(Camera(*size, torch.tensor([150.0, 145.0, 84.0, 57.0]), torch.from_numpy(pose)))
    return out


def ours(gaussians: Gaussians, camera: Camera, near: float, background: float = 0.0) -> np.ndarray:
    """The picture of our own renderer [height, width, 3]."""
    field = SimpleNamespace(gaussians=lambda: gaussians)
    with torch.no_grad():
        shown = SplatRenderer(near=near).render(field, camera, background=torch.full((3,), background))
    return shown.rgb.clamp(0, 1).numpy().astype(np.float64)


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    return -10 * math.log10(float(((one - other) ** 2).mean()) + 1e-12)


def content(path: Path, part: str) -> str:
    return re.search(rf'<script type="[^"]*" id="{part}">(.*?)</script>', path.read_text("utf-8"), re.S)[1]


# ---------------------------------------------------------------- packing


def unpacked(data: bytes, layout: dict[str, Any]) -> dict[str, np.ndarray]:
    """What web/unpack.js does, in a few lines of numpy."""
    raw = zlib.decompress(data)
    n, d, k, wide = (layout[name] for name in ("count", "coefficients", "components", "wide"))
    chunks = -(-n // layout["chunk"])
    ranges = np.frombuffer(raw, "<f4", chunks * 18).reshape(chunks, 9, 2).astype(np.float64)
    basis = np.frombuffer(raw, "<f4", k * d, chunks * 72).reshape(k, d)
    planes = np.frombuffer(raw, np.uint8, offset=chunks * 72 + k * d * 4).reshape(-1, n).astype(np.int64)
    low, high = np.moveaxis(ranges[np.arange(n) // layout["chunk"]], 2, 0)
    share = np.concatenate([(planes[:3] + 256 * planes[3:6]) / 65535, planes[6:9] / 255, planes[13:16] / 255]).T
    values = low + (high - low) * share
    bits = planes[9] | planes[10] << 8 | planes[11] << 16 | planes[12] << 24
    small = (np.stack([bits >> 20 & 1023, bits >> 10 & 1023, bits & 1023], 1) / 511 - 1) / math.sqrt(2)
    q = np.empty((n, 4))
    for i, (which, three) in enumerate(zip(bits >> 30, small, strict=True)):
        q[i] = np.insert(three, which, math.sqrt(max(0, 1 - (three**2).sum())))
    weights, at = np.zeros((n, k)), 17
    for c in range(k):
        code = planes[at] + (256 * planes[at + 1] if wide[c] else 0)
        weights[:, c] = (code >> 1 ^ -(code & 1)) * layout["step"]
        at += 1 + wide[c]
    assert at == len(planes)
    return {"means": values[:, :3], "log_scales": values[:, 3:6], "colour": values[:, 6:], "quaternions": q,
            "opacity": (planes[16] / 255) ** 2, "rest": weights @ basis}


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_packing_loses_little(make_gaussians, degree: int) -> None:
    arrays, _ = arrays_to_write(make_gaussians(1000, degree))
    packed = pack(arrays)
    back = unpacked(packed.data, packed.layout)
    arrays = arrays.rows(morton_order(arrays.means))
    assert packed.layout["count"] == 1000
    np.testing.assert_allclose(back["means"], arrays.means, atol=np.ptp(arrays.means) / 65535)
    np.testing.assert_allclose(back["log_scales"], arrays.log_scales, atol=np.ptp(arrays.log_scales) / 500)
    np.testing.assert_allclose(back["colour"], 0.5 + SH_C0 * arrays.sh[:, 0], atol=0.002)
    np.testing.assert_allclose(back["opacity"], sigmoid(arrays.logits), atol=0.004)
    assert np.abs((back["quaternions"] * unit_quaternions(arrays.quaternions)).sum(1)).min() > 0.99999
    rest = arrays.sh[:, 1:].reshape(1000, -1)
    assert back["rest"].shape == rest.shape
    if degree:
        assert np.sqrt(((back["rest"] - rest) ** 2).mean()) < 0.5 * packed.layout["step"] <= 0.005


def test_packing_extremes(make_gaussians) -> None:
    one = make_gaussians(1, 3)
    packed = pack(arrays_to_write(one)[0])
    np.testing.assert_allclose(unpacked(packed.data, packed.layout)["means"], one.means, rtol=1e-6)
    g = make_gaussians(600, 3)
    g.means[5] = 1e30  # a far outlier spoils no more than its own chunk
    g.sh[7, 3, 1] = 300.0
    g.quaternions[9] = 0
    arrays, _ = arrays_to_write(g)
    packed = pack(arrays)
    back = unpacked(packed.data, packed.layout)
    good = np.abs(back["means"] - arrays.rows(morton_order(arrays.means)).means).max(1) < 1e-3
    assert good.sum() >= 600 - 256
    assert np.abs(back["rest"]).max() == pytest.approx(300, rel=0.01)
    assert any(packed.layout["wide"])


def test_equal_splats_pack_small(make_gaussians) -> None:
    g = make_gaussians(1, 3)
    same = Gaussians(**{name: rows.repeat(5000, *[1] * (rows.ndim - 1)) for name, rows in g.tensors.items()})
    assert len(pack(arrays_to_write(same)[0]).data) < 5000


@pytest.mark.slow
def test_half_a_million_splats_stay_under_20_mb(tmp_path) -> None:
    """Even when every number is independent noise, which a fitted scene never is."""
    g, n = torch.Generator().manual_seed(0), 500_000

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=g)

    write_splats(tmp_path / "a.html", Gaussians(3 * normal(n, 3), normal(n, 3) - 4, normal(n, 4), normal(n) + 2,
                                                0.2 * normal(n, 16, 3)))
    assert (tmp_path / "a.html").stat().st_size < 20e6
    assert json.loads(content(tmp_path / "a.html", "scene"))["packing"]["count"] > 499_000


# ---------------------------------------------------------------- the file


def test_page_is_found_by_its_suffix_and_is_whole(tmp_path, make_gaussians) -> None:
    assert ".html" in splat_suffixes("written")
    assert ".html" not in splat_suffixes("read")
    path = tmp_path / "deep" / "a.html"
    assert write_splats(path, make_gaussians(300), cameras=ring(), comments=("made --> by <us>",)) == ()
    text = path.read_text("utf-8")
    assert not re.findall(r"\{\{[A-Z]+\}\}|^(?:import|export) ", text, re.M)
    assert not re.findall(r"https?://|src=|href=\"(?!data:,)", text)
    scene = json.loads(content(path, "scene"))
    assert len(scene["cameras"]) == 6
    assert scene["title"] == "a"
    assert zlib.decompress(base64.b64decode(content(path, "splats")))


def test_what_cannot_be_seen_is_left_out(tmp_path, make_gaussians) -> None:
    g = make_gaussians(100)
    g.logits[:40] = -8.0  # below 1/255
    g.means[50] = float("nan")
    (warning,) = write_splats(tmp_path / "a.html", g)
    assert "1 of 100" in warning
    assert json.loads(content(tmp_path / "a.html", "scene"))["packing"]["count"] == 59
    with pytest.raises(InputError, match="no visible splats"):
        write_splats(tmp_path / "b.html", g.select(torch.arange(40)))
    with pytest.raises(InputError, match="no direction"):
        write_splats(tmp_path / "b.html", g, up=(0, 0, 0))
    assert not (tmp_path / "b.html").exists()


def test_up_and_middle_come_from_the_cameras() -> None:
    up = np.array([0.2, 0.3, 1.0]) / np.linalg.norm([0.2, 0.3, 1.0])
    for cameras in (ring(), ring()[:2]):
        assert up_of_cameras(cameras) @ up > 0.995
    assert up_of_cameras(ring()[:1]) @ up > 0.9  # one photo: its own top
    means = np.random.default_rng(0).normal(size=(500, 3)) + 5
    np.testing.assert_allclose(middle_of_views(ring(), means), 0, atol=1e-6)
    np.testing.assert_allclose(middle_of_views(ring()[:1], means), np.median(means, 0), atol=1e-6)


# ---------------------------------------------------------------- in the browser


@pytest.mark.parametrize(("degree", "antialiased", "background"), [(0, False, 0.0), (1, True, 1.0), (2, False, 0.5),
                                                                   (3, False, 0.0), (3, True, 1.0)])
def test_pictures_are_those_of_our_renderer(browser, tmp_path, make_gaussians, degree: int, antialiased: bool,
                                            background: float) -> None:
    g = make_gaussians(2500, degree, seed=degree, antialiased=antialiased)
    g = replace(g, log_scales=g.log_scales + 0.7)
    cameras = ring()
    write_splats(tmp_path / "a.html", g, cameras=cameras, near=0.3, background=[background] * 3)
    with Page(browser, tmp_path / "a.html") as page:
        for camera in (cameras[0], cameras[2].scaled(77, 200)):
            shown, expected = page.picture(_plain(camera)), ours(g, camera, 0.3, background)
            assert expected.std() > 0.05  # something to see
            assert psnr(shown, expected) > 40
        inside = replace(cameras[1], world_from_camera=np.diag([1.0, 1.0, 1.0, 1.0]))  # in the middle of the splats
        assert psnr(page.picture(_plain(inside)), ours(g, inside, 0.3, background)) > 34
        assert page.complaints == []


def test_a_fitted_scene(browser, tmp_path, scenes) -> None:
    source = scenes / "splats" / "scenesculpt_4560.ply"
    if not source.exists():
        pytest.skip("scenesculpt_4560.ply is not among the reference scenes")
    g = read_splats(source).gaussians
    write_splats(tmp_path / "a.html", g)
    near = json.loads(content(tmp_path / "a.html", "scene"))["near"]
    with Page(browser, tmp_path / "a.html") as page:
        for up in ((0.0, -1.0, 0.0), (0.0, 1.0, 0.0)):
            camera = outside_camera(g.means.numpy(), np.array(up)).scaled(400, 300)
            assert psnr(page.picture(_plain(camera)), ours(g, camera, near)) > 40
        assert page.complaints == []


def balls(colours: list[list[float]], z: list[float], rest: float = 0.0) -> Gaussians:
    """Opaque balls on the z axis, the colours' first SH band turning red with z."""
    n = len(z)
    sh = torch.zeros(n, 16, 3)
    sh[:, 0] = (torch.tensor(colours) - 0.5) / SH_C0
    sh[:, 2, 0] = rest
    return Gaussians(torch.tensor([[0.0, 0.0, v] for v in z]), torch.full((n, 3), -1.0),
                     torch.tensor([[1.0, 0, 0, 0]]).repeat(n, 1), torch.full((n,), 8.0), sh)


def facing(z: float) -> Camera:
    """A camera on the z axis that looks at the origin."""
    pose = np.diag([1.0, 1.0, 1.0, 1.0]) if z < 0 else np.diag([-1.0, 1.0, -1.0, 1.0])
    pose[2, 3] = z
    return Camera(64, 48, torch.tensor([60.0, 60.0, 32.0, 24.0]), torch.from_numpy(pose))


def test_the_nearer_splat_hides_the_farther_one(browser, tmp_path) -> None:
    write_splats(tmp_path / "a.html", balls([[1, 0, 0], [0, 1, 0], [0, 0, 1]], [-1.0, 0.0, 1.0]))
    with Page(browser, tmp_path / "a.html") as page:
        np.testing.assert_allclose(page.picture(_plain(facing(-5)))[24, 32], [0.99, 0.0099, 0], atol=0.01)
        np.testing.assert_allclose(page.picture(_plain(facing(5)))[24, 32], [0, 0.0099, 0.99], atol=0.01)


def test_colour_depends_on_the_direction(browser, tmp_path) -> None:
    write_splats(tmp_path / "a.html", balls([[0.5, 0.5, 0.5]], [0.0], rest=0.6))
    with Page(browser, tmp_path / "a.html") as page:
        there = page.picture(_plain(facing(-5)))[24, 32]
        back = page.picture(_plain(facing(5)))[24, 32]
    change = 0.4886025 * 0.6 * 0.99
    np.testing.assert_allclose(there - back, [2 * change, 0, 0], atol=0.01)


def test_hands_on(browser, tmp_path, make_gaussians) -> None:
    """Drag, wheel, photo positions, keys, address and resizing."""
    cameras = ring()
    write_splats(tmp_path / "a.html", make_gaussians(400), cameras=cameras, title="A scene")
    with Page(browser, tmp_path / "a.html") as opened:
        page = opened.page
        assert page.title() == "A scene"
        assert "Gaussians · 6 photos" in page.inner_text("#count")
        opened.settle()
        at_first = opened.canvas()
        assert at_first.std() > 0.05
        np.testing.assert_allclose(opened.ask("r.motion.view.position"), cameras[0].centre, atol=1e-5)

        page.mouse.move(100, 100)
        page.mouse.down()
        page.mouse.move(160, 110, steps=3)
        page.mouse.up()
        opened.settle()
        turned = opened.ask("r.motion.view.position")
        assert np.linalg.norm(np.array(turned) - cameras[0].centre.numpy()) > 2
        assert np.linalg.norm(turned) == pytest.approx(np.linalg.norm(cameras[0].centre), rel=1e-4)  # about the target
        assert np.abs(opened.canvas() - at_first).mean() > 0.01

        page.mouse.wheel(0, -300)
        opened.settle()
        assert np.linalg.norm(opened.ask("r.motion.view.position")) < 0.8 * np.linalg.norm(turned)

        page.keyboard.press("p")
        assert page.is_visible("#photo-bar")
        page.keyboard.press("]")
        page.keyboard.press("]")
        opened.settle()
        assert page.inner_text("#photo-name") == "Photo 2 of 6"
        np.testing.assert_allclose(opened.ask("r.motion.view.position"), cameras[1].centre, atol=1e-5)

        page.keyboard.press("r")
        opened.settle()
        np.testing.assert_allclose(opened.ask("r.motion.view.position"), cameras[0].centre, atol=1e-5)

        page.keyboard.press("h")
        assert page.is_visible("#help")
        page.keyboard.press("Escape")
        assert not page.is_visible("#help")

        page.set_viewport_size({"width": 200, "height": 400})
        page.wait_for_function("() => document.getElementById('canvas').height === 400")
        address = page.evaluate("location.hash")
        assert opened.complaints == []
    with Page(browser, tmp_path / "a.html", hash="#view=1,2,3,1,0,0,0") as opened:
        assert opened.ask("r.motion.view.position") == [1, 2, 3]
    assert address.startswith("#view=")


def test_a_click_on_a_photo_position_goes_there(browser, tmp_path, make_gaussians) -> None:
    cameras = ring()
    write_splats(tmp_path / "a.html", make_gaussians(50), cameras=cameras)
    with Page(browser, tmp_path / "a.html") as opened:
        opened.page.keyboard.press("p")
        opened.page.keyboard.press("-")
        for _ in range(4):
            opened.page.keyboard.press("-")
        opened.settle()
        fx, fy = opened.ask("(() => { const l = r.motion.view.lens, s = Math.max(Math.min(innerWidth / l.width, "
                            "innerHeight / l.height), 0.5 * Math.max(innerWidth, innerHeight) / Math.max(l.fx, l.fy));"
                            "return [l.fx * s, l.fy * s]; })()")
        view = opened.ask("r.motion.view")
        lens, middle = view["lens"], np.array([160, 120.0])
        middle += (np.array([lens["cx"], lens["cy"]]) - np.array([lens["width"], lens["height"]]) / 2) * fx / lens["fx"]
        x, y, z = np.array(view["axes"]) @ (cameras[3].centre.numpy() - view["position"])
        opened.page.mouse.click(middle[0] + fx * x / z, middle[1] + fy * y / z)
        opened.settle()
        np.testing.assert_allclose(opened.ask("r.motion.view.position"), cameras[3].centre, atol=1e-5)
        assert opened.page.inner_text("#photo-name") == "Photo 4 of 6"


def test_on_a_phone(browser, tmp_path, make_gaussians) -> None:
    """Dense small screen: one finger turns, two fingers come nearer."""
    write_splats(tmp_path / "a.html", make_gaussians(400), cameras=ring())
    with Page(browser, tmp_path / "a.html", viewport={"width": 180, "height": 320}, device_scale_factor=3,
              is_mobile=True, has_touch=True) as opened:
        assert opened.ask("document.getElementById('canvas').width") in (0, 300, 360)
        touch = opened.page.context.new_cdp_session(opened.page)

        def fingers(kind: str, *points: tuple[int, int]) -> None:
            touch.send("Input.dispatchTouchEvent", {
                "type": kind, "touchPoints": [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(points)]})

        opened.settle()
        assert opened.ask("document.getElementById('canvas').width") == 360  # two pixels per point, not three
        start = np.array(opened.ask("r.motion.view.position"))
        fingers("touchStart", (60, 150))
        fingers("touchMove", (80, 150))
        fingers("touchMove", (100, 150))
        fingers("touchEnd")
        opened.settle()
        turned = np.array(opened.ask("r.motion.view.position"))
        assert np.linalg.norm(turned - start) > 1
        fingers("touchStart", (60, 150), (100, 150))
        fingers("touchMove", (50, 150), (110, 150))
        fingers("touchMove", (40, 150), (120, 150))
        fingers("touchEnd")
        opened.settle()
        assert np.linalg.norm(opened.ask("r.motion.view.position")) < 0.7 * np.linalg.norm(turned)
        assert opened.complaints == []


def test_a_hostile_title_is_only_text(browser, tmp_path, make_gaussians) -> None:
    title = "</script><img src=x onerror='window.broken=1'>{{SPLATS}}<!--"
    comment = "--><script>window.broken=1</script>"
    write_splats(tmp_path / "a.html", make_gaussians(20), title=title, comments=(comment,))
    with Page(browser, tmp_path / "a.html") as opened:
        assert opened.page.title() == title
        assert opened.page.inner_text("h1") == title
        assert opened.page.evaluate("window.broken") is None
        assert opened.complaints == []


@pytest.mark.parametrize(("script", "message"), [
    ("HTMLCanvasElement.prototype.getContext = () => null", "WebGL 2"),
    ("", "could not|incorrect|corrupt|unexpected|invalid|Failed"),
])
def test_what_cannot_work_is_said(browser, tmp_path, make_gaussians, script: str, message: str) -> None:
    path = tmp_path / "a.html"
    write_splats(path, make_gaussians(200))
    if not script:  # a damaged file
        text = path.read_text("utf-8")
        at = text.index('id="splats">') + 12
        path.write_text(text[:at] + "AAAA" * 30 + text[at + 120:], "utf-8")
    with Page(browser, path, wait=False, script=script) as opened:
        opened.page.wait_for_selector("#error:not([hidden])", timeout=20_000)
        assert re.search(message, opened.page.inner_text("#error"), re.I)
        assert not opened.page.is_visible("#loading")
