"""Panels about photos, colours, meshes and time, in a real browser and without one."""

from __future__ import annotations

import io
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_capture import Fixed, MemoryPhoto, camera_at, picture, random_gaussians, tiny_capture
from watching import PAINT, choose, control, has_picture, pixels, wait_for, watcher_of

from recon.app import pages, pictures, sources, viewing
from recon.app.reporters import make as make_reporter
from recon.configs import gaussians
from recon.export import read_mesh, write_mesh
from recon.fit.session import Session, Showable
from recon.fit.system import Resolution
from recon.renderers.splat import SplatRenderer
from recon.types import Gaussians, Mesh, Similarity
from recon.viewer.crop import Frozen
from recon.viewer.page import Page
from recon.viewer.panels.curves import _marked
from recon.viewer.panels.local import for_browser
from recon.viewer.patrol import Patrol


def cube() -> Mesh:
    """From -0.5 to 0.5, each corner in its own colour."""
    corners = torch.cartesian_prod(*[torch.tensor([-0.5, 0.5])] * 3)
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    faces = [t for a, b, c, d in quads for t in ((a, b, c), (a, c, d))]
    return Mesh(corners, torch.tensor(faces, dtype=torch.int32), colours=corners + 0.5).with_normals()


class Still:
    """A viewer of something that is not fitted, without a browser."""

    def __init__(self, page: Page, field: Any) -> None:
        self.page, self.session = page, Session(Showable(field, SplatRenderer(), torch.zeros(3)))
        self.session.start()


def test_the_patrol_finds_the_photo_that_does_not_agree() -> None:
    truth = Fixed(random_gaussians())
    views = list(tiny_capture().views)
    odd = 3
    rgb = 255 - views[odd].photo().rgb
    views[odd] = replace(views[odd], source=MemoryPhoto(replace(views[odd].photo(), rgb=rgb)))
    up = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    viewer = Still(Page("t", PAINT, camera_at(0.0), torch.zeros(3), up, tuple(views)), truth)
    patrol = Patrol(viewer, list(range(len(views))))  # type: ignore[arg-type]
    try:
        wait_for(lambda: patrol.go_on() or len(patrol.errors) == len(views))
    finally:
        viewer.session.close()
    assert max(patrol.errors, key=patrol.errors.__getitem__) == odd
    others = [e for i, e in patrol.errors.items() if i != odd]
    assert max(others) < 0.01, "the photos are pictures of these very Gaussians"


def test_frustums_are_coloured_by_error(make_viewer: Any, open_page: Any) -> None:
    shown = make_viewer()
    page = open_page(shown.viewer.url)
    wait_for(lambda: has_picture(page))
    panel = next(p for p in shown.viewer.panels if hasattr(p, "by_error"))
    before = {tuple(h.color) for h in panel.handles.values()}
    page.get_by_text("Photos", exact=True).click()
    time.sleep(1.0)
    control(page, "Coloured by error").click()
    wait_for(lambda: len(panel.patrol.errors) == len(panel.handles))
    wait_for(lambda: len({tuple(h.color) for h in panel.handles.values()}) > len(before))
    control(page, "Coloured by error").click()
    wait_for(lambda: {tuple(h.color) for h in panel.handles.values()} == before)


def test_colours_and_range_of_depth(make_viewer: Any, open_page: Any) -> None:
    shown = make_viewer()
    page = open_page(shown.viewer.url)
    watcher = watcher_of(shown)
    wait_for(lambda: has_picture(page))
    shown.session.pause()
    choose(page, "Show", "depth")
    wait_for(lambda: watcher.channel == "depth" and watcher.last.render.depth is not None)
    time.sleep(1.0)
    usual = pixels(page)
    choose(page, "Colours", "black to white")
    wait_for(lambda: watcher.ramp == "black to white")
    wait_for(lambda: np.ptp(pixels(page)[300:], axis=2).mean() < 0.5 * np.ptp(usual[300:], axis=2).mean())
    control(page, "Set the range").click()
    wait_for(lambda: watcher.range is not None)
    near, far = watcher.range
    depth = watcher.last.render.depth
    assert float(depth[depth > 0].min()) - 0.1 <= near < far <= float(depth.max()) + 0.1, "it starts from what suits"


def test_depth_is_black_at_the_far_end_and_white_at_the_near_one() -> None:
    render = SimpleNamespace(channel=lambda _: torch.tensor([[1.0, 2.0, 4.0, 8.0]]))
    shown = PAINT.depth(render, (2.0, 4.0), "black to white")  # type: ignore[arg-type]
    assert shown[0, :, 0].tolist() == [255, 255, 0, 0]


@pytest.mark.parametrize("name", sorted(pictures.RAMPS))
def test_ramps_are_colours(name: str) -> None:
    shown = PAINT.ramp(np.linspace(0, 1, 50), name)
    assert shown.shape == (50, 3)
    assert shown.min() >= 0
    assert shown.max() <= 1
    assert np.abs(np.diff(shown, axis=0)).sum(1).min() > 0, "each value has a colour of its own"


def test_the_schedule_is_marked_on_the_curves() -> None:
    system = replace(gaussians.PRESETS["fast"], steps=1000, resolution=Resolution(2.0, 0.4))
    schedule = pages.schedule_of(system)
    assert (400, "full resolution") in schedule
    assert (200, "sh degree 1") in schedule
    assert (600, "densify ends") in schedule
    assert list(schedule) == sorted(schedule)
    steps, values, marks = _marked((np.array([0.0, 300.0, 500.0]), np.array([10.0, 13.0, 15.0])), schedule)
    assert values[steps == 400].tolist() == marks[steps == 400].tolist() == [14.0]
    assert np.isnan(marks[steps == 300])
    assert steps.max() == 500, "what has not been reached is not marked"


def test_the_browser_draws_for_itself(open_page: Any, served: list[Any]) -> None:
    pytest.importorskip("viser")
    from recon.viewer.server import Viewer

    up = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    whole = random_gaussians()
    start = replace(camera_at(0.4, size=(900, 600)), intrinsics=torch.tensor([700.0, 700.0, 450.0, 300.0]))
    session = Session(Showable(Fixed(whole), SplatRenderer(), torch.zeros(3)))
    viewer = Viewer(session, Page("still", PAINT, start, torch.zeros(3), up), "127.0.0.1", 0)
    served.append(viewer)
    session.start()
    page = open_page(viewer.url)
    watcher = wait_for(lambda: next(iter(viewer.watchers.values()), None))
    wait_for(lambda: has_picture(page))
    choose(page, "Drawn by", "your browser")
    wait_for(lambda: watcher.local)
    frames = watcher.frames
    plain = Fixed(replace(whole, sh=whole.sh[:, :1].contiguous()))
    expected = 255 * picture(plain, watcher.camera().scaled(900, 600)).permute(1, 2, 0)[150:600, :560].numpy()
    wait_for(lambda: np.abs(pixels(page) - expected).mean() < 4)
    time.sleep(1.0)
    assert watcher.frames == frames, "no picture is sent meanwhile"
    choose(page, "Drawn by", "this computer")
    wait_for(lambda: watcher.frames > frames)
    choose(page, "Drawn by", "your browser")
    wait_for(lambda: watcher.local)
    page.evaluate("window.requestAnimationFrame = (call) => setTimeout(call, 1500)")  # a browser that is too slow
    wait_for(lambda: not watcher.local)


def test_covariances_for_the_browser() -> None:
    g = random_gaussians(20)
    sent = for_browser(g)
    q = torch.nn.functional.normalize(g.quaternions.double(), dim=1)
    for i in range(len(g)):
        for axis in range(3):
            v = torch.zeros(3, dtype=torch.float64)
            v[axis] = 1.0
            w, u = q[i, 0], q[i, 1:]
            t = 2 * torch.linalg.cross(u, v)
            turned = (v + w * t + torch.linalg.cross(u, t)).numpy()  # an axis of the ellipsoid, by quaternion algebra
            variance = float((2 * g.log_scales[i, axis].double()).exp())
            np.testing.assert_allclose(sent["covariances"][i] @ turned, variance * turned, atol=1e-5)


def test_a_mesh_is_shown_and_exported(make_viewer: Any, open_page: Any, tmp_path: Path) -> None:
    shown = make_viewer(mesh=cube())
    page = open_page(shown.viewer.url)
    wait_for(lambda: has_picture(page))
    shown.session.pause()
    panel = next(p for p in shown.viewer.panels if hasattr(p, "make"))
    time.sleep(1.0)
    with_mesh = pixels(page)
    panel.visible.value = False
    wait_for(lambda: np.abs(pixels(page) - with_mesh).mean() > 3)
    export = next(p for p in shown.viewer.panels if hasattr(p, "format"))
    for suffix in ("glb", "obj", "stl"):
        export.format.value = suffix
        with page.expect_download(timeout=30_000) as waiting:
            page.click("button:has-text('Export')")
        waiting.value.save_as(tmp_path / f"m.{suffix}")
        got = read_mesh(tmp_path / f"m.{suffix}")
        assert len(got) == 12
        assert abs(got.volume) == pytest.approx(1.0, abs=1e-4)
    assert len(set(export.format.options)) == len(export.format.options)
    export.format.value = "glb (splats)"
    with page.expect_download(timeout=30_000) as waiting:
        page.click("button:has-text('Export')")
    waiting.value.save_as(tmp_path / "splats.glb")
    assert b"KHR_gaussian_splatting" in (tmp_path / "splats.glb").read_bytes()


def test_a_mesh_is_made_from_what_the_cameras_see(make_viewer: Any) -> None:
    shown = make_viewer(capture_meshing=True)
    wait_for(lambda: shown.session.step > 300)
    shown.session.pause()
    panel = next(p for p in shown.viewer.panels if hasattr(p, "make"))
    mesh = panel.get()
    assert len(mesh) > 100
    assert float(mesh.vertices.norm(dim=1).median()) < 1.2, "the blobs lie in a ball of radius 0.6"
    assert panel.get() is mesh, "it is kept"


def test_a_mesh_file_in_the_browser(tmp_path: Path, open_page: Any, served: list[Any]) -> None:
    pytest.importorskip("viser")
    file = tmp_path / "cube.glb"
    write_mesh(file, cube())
    assert sources.is_mesh(file)
    session, page = sources.open_source(file, make_reporter(quiet=True, json_lines=False))
    viewer = viewing.open_viewer(session, page, "127.0.0.1", 0, make_reporter(quiet=True, json_lines=False))
    served.append(viewer)
    session.start()
    shown = open_page(viewer.url)
    wait_for(lambda: has_picture(shown))
    centre = pixels(shown)[100:250, 300:500]
    assert centre.std(axis=(0, 1)).mean() > 10, "its colours are seen"


class Moving:
    """One blob that goes along x."""

    span = (0.0, 2.0)

    def __init__(self) -> None:
        self.one = random_gaussians(1)

    def gaussians(self, t: float = 0.0) -> Gaussians:
        return replace(self.one, means=torch.tensor([[t, 0.0, 0.0]]))


def test_quick_browsers_get_all_gaussians_and_others_the_most_important(monkeypatch: Any) -> None:
    from recon.viewer.panels import local

    monkeypatch.setattr(local, "EASY", 20)
    whole, sent, notes = random_gaussians(), [], []
    session = Session(Showable(Fixed(whole), SplatRenderer(), torch.zeros(3)))
    session.start()
    who = SimpleNamespace(value=local.THERE, on_update=lambda call: setattr(who, "update", call))
    client = SimpleNamespace(
        gui=SimpleNamespace(add_dropdown=lambda *a, **k: who), add_notification=lambda *a, **k: notes.append(a),
        scene=SimpleNamespace(set_background_image=lambda *a, **k: None,
                              add_gaussian_splats=lambda name, **rows: sent.append(len(rows["centers"]))))
    panel = local.Panel(SimpleNamespace(session=session, guard=lambda call: call, watchers={}))  # type: ignore[arg-type]
    watcher = SimpleNamespace(id=1, client=client, crop=None, local=False)
    panel.connect(watcher)  # type: ignore[arg-type]
    who.update(None)
    panel.drew(watcher, 0.4)  # type: ignore[arg-type]
    assert sent == [20]
    panel.drew(watcher, 0.02)  # type: ignore[arg-type]
    assert sent == [20, len(whole)]
    panel.drew(watcher, 3.0)  # type: ignore[arg-type]
    assert who.value == local.HERE
    assert len(notes) == 1
    session.close()


def test_time_and_crop_are_seen_together() -> None:
    from recon.viewer.crop import Crop
    from recon.viewer.stream import Stream, Watcher

    up = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    page = Page("t", PAINT, camera_at(0.0), torch.zeros(3), up)
    field = Moving()
    session = Session(Showable(field, SplatRenderer(), torch.zeros(3)))
    stream = Stream(session, page)
    watcher = Watcher(SimpleNamespace(client_id=1), session, page, stream)
    assert watcher.edit() is None
    watcher.time = 1.5
    edit = watcher.edit()
    assert edit is not None
    assert isinstance(edit(field), Frozen)
    assert edit(field).gaussians().means[0, 0] == 1.5
    watcher.crop = Crop(torch.zeros(3, dtype=torch.float64), torch.eye(3, dtype=torch.float64),
                        torch.ones(3, dtype=torch.float64))
    edit = watcher.edit()
    assert edit is not None
    assert len(edit(field).gaussians()) == 0, "at that moment it is outside"
    stream.close()


def test_the_time_slider_moves_the_scene(open_page: Any, served: list[Any]) -> None:
    pytest.importorskip("viser")
    from recon.viewer.server import Viewer

    up = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    session = Session(Showable(Moving(), SplatRenderer(), torch.zeros(3)))
    viewer = Viewer(session, Page("moving", PAINT, camera_at(-1.57, 5.0), torch.zeros(3), up), "127.0.0.1", 0)
    served.append(viewer)
    session.start()
    page = open_page(viewer.url)
    watcher = wait_for(lambda: next(iter(viewer.watchers.values()), None))
    panel = next(p for p in viewer.panels if hasattr(p, "playing"))
    slider, _ = wait_for(lambda: panel.playing.get(watcher.id))
    wait_for(lambda: watcher.frames > 1)

    def column() -> float:
        """Of the middle of what is lit, in the picture that was sent last."""
        light = watcher.last.render.rgb.sum((0, 2))
        return float((light * torch.arange(len(light))).sum() / light.sum().clamp_min(1e-9)) / len(light)

    before = column()
    slider.value = 2.0
    wait_for(lambda: watcher.time == 2.0 and abs(column() - before) > 0.1)
    assert page.get_by_text("Time", exact=True).count() == 1


def test_meshes_are_exported_with_up_where_the_format_has_it() -> None:
    frame = pages.meshing_of(tiny_capture())["mesh_frame"]
    up = torch.tensor([[0.0, 0.0, 1.0]])  # of the tiny capture
    assert frame(".glb", Similarity()).points(up).round().tolist() == [[0.0, 1.0, 0.0]]
    assert frame(".stl", Similarity()).points(up).round().tolist() == [[0.0, 0.0, 1.0]]


def test_the_curve_is_drawn(make_viewer: Any, open_page: Any) -> None:
    """Also where no step of the schedule is marked: those values are no numbers."""
    shown = make_viewer()
    page = open_page(shown.viewer.url)
    curves = next(p for p in shown.viewer.panels if hasattr(p, "psnr"))
    wait_for(lambda: curves.psnr.visible)

    def blue() -> int:
        """Pixels of the PSNR curve's colour."""
        shot = page.screenshot(clip={"x": 565, "y": 160, "width": 335, "height": 240})
        rgb = np.asarray(Image.open(io.BytesIO(shot)).convert("RGB")).astype(int)
        return int((np.abs(rgb - (0x4A, 0xA3, 0xFF)).max(-1) < 25).sum())

    wait_for(lambda: blue() > 40)
