"""The page in a real browser."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from typing import Any

import numpy as np
import pytest
import torch
from watching import CHROMIUM, FLAGS, choose, control, has_picture, pixels, wait_for, watcher_of

from recon.export import read_splats
from recon.fit.events import Warned
from recon.viewer import server as server_module


def test_the_picture_appears_and_changes(make_viewer: Any, open_page: Any) -> None:
    shown = make_viewer(start=False)
    page = open_page(shown.viewer.url)
    began = time.monotonic()
    shown.session.start()
    watcher = watcher_of(shown)
    wait_for(lambda: watcher.frames > 0)
    assert time.monotonic() - began < 3.0, "first picture within three seconds"
    wait_for(lambda: has_picture(page))
    before, step = pixels(page), shown.session.step
    wait_for(lambda: shown.session.step > step + 200)
    wait_for(lambda: np.abs(pixels(page) - before).mean() > 1.0)
    assert "tiny" in page.inner_text("body")


def test_pause_step_resume_stop(make_viewer: Any, open_page: Any) -> None:
    shown = make_viewer()
    page, session = open_page(shown.viewer.url), shown.session
    page.click("button:has-text('Pause')")
    wait_for(lambda: session.paused)
    session.ask(lambda: None).result(10)
    step = session.step
    time.sleep(0.3)
    assert session.step == step
    page.click("button:has-text('One step')")
    wait_for(lambda: session.step == step + 1)
    page.click("button:has-text('Resume')")
    wait_for(lambda: session.step > step + 5)
    page.click("button:has-text('Pause')")
    page.click("button:has-text('Stop and keep')")
    wait_for(lambda: not session.running)
    page.wait_for_selector("text=stopped and saved")


def test_a_click_on_a_frustum_goes_there(make_viewer: Any, open_page: Any) -> None:
    shown = make_viewer()
    page, watcher = open_page(shown.viewer.url), None
    watcher = watcher_of(shown)
    wait_for(lambda: has_picture(page))
    views = shown.viewer.page.views
    box = {"width": 900, "height": 600}
    clicked = None
    for index, view in enumerate(views):  # one that can be seen and is not under the panels or the notice
        camera = watcher.camera()
        at, depth = camera.project((view.camera.centre + 0.02 * view.camera.forward)[None])
        x, y = (at[0] * torch.tensor([box["width"] / camera.width, box["height"] / camera.height])).tolist()
        if float(depth[0]) > 0.3 and 20 < x < 560 and 20 < y < 580 and not (x < 330 and y < 160):
            clicked = index
            break
    assert clicked is not None, "no frustum is in sight"
    target = views[clicked].camera

    def there() -> bool:
        now = watcher.camera()
        return bool((now.centre - target.centre).norm() < 1e-3 and now.forward @ target.forward > 0.9999)

    for hover in (1.0, 4.0, 10.0):  # it is seen in the next frame, which a busy machine draws late
        page.mouse.move(x - 30, y)
        page.mouse.move(x, y)
        time.sleep(hover)
        page.mouse.click(x, y)
        until = time.monotonic() + 10
        while not there() and time.monotonic() < until:  # it may turn later than it moves
            time.sleep(0.05)
        if there():
            break
    assert there(), "nobody went there"
    assert float((watcher.camera().world_from_camera[:3, 1] * target.world_from_camera[:3, 1]).sum()) > 0.999


@pytest.mark.parametrize("suffix", ["ply", "spz", "splat"])
def test_exports_arrive_and_are_read_again(make_viewer: Any, open_page: Any, suffix: str, tmp_path: Any) -> None:
    shown = make_viewer()
    page = open_page(shown.viewer.url)
    shown.session.pause()
    export = next(p for p in shown.viewer.panels if hasattr(p, "format"))
    export.format.value = suffix
    with page.expect_download(timeout=30_000) as waiting:
        page.click("button:has-text('Export')")
    file = tmp_path / "got" / f"file.{suffix}"
    waiting.value.save_as(file)
    assert waiting.value.suggested_filename == f"tiny.{suffix}"
    got = read_splats(file).gaussians
    assert len(got) == shown.session.fit.field.num_primitives
    assert {p.name for p in (shown.folder / "exports").iterdir()} == {f"tiny.{suffix}"}


def test_the_crop_box_changes_picture_and_export(make_viewer: Any, open_page: Any, tmp_path: Any) -> None:
    shown = make_viewer()
    page = open_page(shown.viewer.url)
    watcher = watcher_of(shown)
    wait_for(lambda: has_picture(page))
    shown.session.pause()
    page.get_by_text("Crop", exact=True).click()
    page.get_by_text("Crop to a box").wait_for()
    crop = next(p for p in shown.viewer.panels if hasattr(p, "crop"))
    crop.size.value = (0.5, 0.5, 0.5)
    time.sleep(1.0)  # the folder opens with an animation, and a click on what moves misses
    control(page, "Crop to a box").click()
    wait_for(lambda: crop.crop is not None)
    wait_for(lambda: watcher.last is not None and watcher.last.look.edit is not None)
    with page.expect_download(timeout=30_000) as waiting:
        page.click("button:has-text('Export')")
    waiting.value.save_as(tmp_path / "c.ply")
    got = read_splats(tmp_path / "c.ply").gaussians
    assert 0 < len(got) < shown.session.fit.field.num_primitives
    assert float(got.means.abs().max()) <= 0.25 + 1e-6


def test_a_page_to_share_opens_where_the_browser_stands(make_viewer: Any, open_page: Any, browser: Any,
                                                        tmp_path: Any) -> None:
    """Exported from one page, opened from the file in another browser: the same picture, and the photos' places."""
    shown = make_viewer()
    page = open_page(shown.viewer.url)
    wait_for(lambda: shown.session.step > 300)
    wait_for(lambda: has_picture(page))
    shown.session.pause()
    next(p for p in shown.viewer.panels if hasattr(p, "visible") and hasattr(p, "by_error")).visible.value = False
    next(p for p in shown.viewer.panels if hasattr(p, "format")).format.value = "html"
    with page.expect_download(timeout=30_000) as waiting:
        page.click("button:has-text('Export')")
    waiting.value.save_as(tmp_path / "shared.html")
    text = (tmp_path / "shared.html").read_text()
    scene = json.loads(re.search(r'<script type="application/json" id="scene">(.*?)</script>', text, re.S)[1])
    assert len(scene["cameras"]) == len(shown.viewer.page.views)
    camera = watcher_of(shown).camera().scaled(900, 600)
    start = torch.tensor(scene["start"]["world_from_camera"], dtype=torch.float64)
    torch.testing.assert_close(start, camera.world_from_camera[:3], atol=1e-6, rtol=0)
    truth = shown.session.ask(lambda: shown.session.shown.draw(camera, ("rgb",))).result(10).rgb.clamp(0, 1)
    truth = truth[150:600, :560].numpy()  # as ``pixels``
    context = browser.new_context(viewport={"width": 900, "height": 600}, offline=True)
    try:
        shared = context.new_page()
        shared.goto((tmp_path / "shared.html").as_uri())
        wait_for(lambda: -10 * np.log10(np.square(pixels(shared) / 255 - truth).mean()) > 28)
    finally:
        context.close()


def test_png_export_is_the_picture(make_viewer: Any, open_page: Any, tmp_path: Any) -> None:
    from PIL import Image

    shown = make_viewer()
    page = open_page(shown.viewer.url)
    wait_for(lambda: has_picture(page))
    next(p for p in shown.viewer.panels if hasattr(p, "format")).format.value = "png"
    with page.expect_download(timeout=30_000) as waiting:
        page.click("button:has-text('Export')")
    waiting.value.save_as(tmp_path / "p.png")
    assert Image.open(tmp_path / "p.png").size == (900, 600)


def test_two_clicks_and_a_length_scale_the_export(make_viewer: Any, open_page: Any, tmp_path: Any) -> None:
    shown = make_viewer()
    page = open_page(shown.viewer.url)
    wait_for(lambda: has_picture(page))
    shown.session.pause()
    scale = next(p for p in shown.viewer.panels if hasattr(p, "export_from_world"))
    page.get_by_text("Up and scale", exact=True).click()
    page.click("button:has-text('Click two points')")
    page.wait_for_selector("text=Click the first point")
    for x, y, count in ((400, 300, 1), (470, 330, 2)):
        time.sleep(0.5)
        page.mouse.click(x, y)
        wait_for(lambda count=count: len(scale.points) == count)
    camera = watcher_of(shown).camera()
    at, _ = camera.project(torch.stack(scale.points))
    expected = torch.tensor([[400.0, 300.0], [470.0, 330.0]]).double() * camera.width / 900
    assert float((at - expected).abs().max()) < 3.0, "the points lie under the clicks"
    scale.length.value = 7.0
    scale.use.value = True
    with page.expect_download(timeout=30_000) as waiting:
        page.click("button:has-text('Export')")
    waiting.value.save_as(tmp_path / "s.ply")
    got = read_splats(tmp_path / "s.ply").gaussians
    field = shown.session.fit.field
    spread = [float((m - m.mean(0)).norm(dim=1).max()) for m in (got.means, field.params["means"].detach())]
    assert spread[0] / spread[1] == pytest.approx(7.0 / scale.distance, rel=1e-3)


def test_a_path_becomes_a_video(make_viewer: Any, open_page: Any, tmp_path: Any) -> None:
    av = pytest.importorskip("av")
    shown = make_viewer()
    page = open_page(shown.viewer.url)
    wait_for(lambda: has_picture(page))
    panel = next(p for p in shown.viewer.panels if hasattr(p, "keys"))
    panel.seconds.value = 1.0
    page.get_by_text("Camera path", exact=True).click()
    page.click("button:has-text('Render mp4')")
    page.wait_for_selector("text=a path needs two views")
    page.click("button:has-text('Add this view')")
    wait_for(lambda: len(panel.keys) == 1)
    page.mouse.move(300, 400)
    page.mouse.down()
    page.mouse.move(200, 380, steps=5)
    page.mouse.up()
    time.sleep(0.5)
    page.click("button:has-text('Add this view')")
    wait_for(lambda: len(panel.keys) == 2)
    with page.expect_download(timeout=60_000) as waiting:
        page.click("button:has-text('Render mp4')")
    waiting.value.save_as(tmp_path / "v.mp4")
    with av.open(str(tmp_path / "v.mp4")) as video:
        frames = [f.to_ndarray(format="rgb24").astype(float) for f in video.decode(video=0)]
    assert len(frames) == 30
    assert np.abs(frames[0] - frames[-1]).mean() > 2


def test_two_browsers_are_independent(make_viewer: Any, open_page: Any) -> None:
    shown = make_viewer()
    first, second = open_page(shown.viewer.url), open_page(shown.viewer.url)
    wait_for(lambda: len(shown.viewer.watchers) == 2)
    wait_for(lambda: has_picture(first) and has_picture(second))
    choose(second, "Show", "depth")
    wait_for(lambda: sorted(w.channel for w in shown.viewer.watchers.values()) == ["depth", "rgb"])
    wait_for(lambda: np.abs(pixels(first) - pixels(second)).mean() > 5)
    second.context.close()
    wait_for(lambda: len(shown.viewer.watchers) == 1)
    step = shown.session.step
    wait_for(lambda: shown.session.step > step + 5)


def test_reconnects_after_a_cut(make_viewer: Any, open_page: Any) -> None:
    shown = make_viewer()
    page = open_page(shown.viewer.url)
    wait_for(lambda: has_picture(page))
    old = watcher_of(shown).id
    shown.viewer.server._websock_server.disconnect_all_clients()
    wait_for(lambda: any(i != old for i in shown.viewer.watchers))
    watcher = next(w for i, w in shown.viewer.watchers.items() if i != old)
    wait_for(lambda: watcher.frames > 2)
    wait_for(lambda: has_picture(page))


def test_moving_changes_the_picture(make_viewer: Any, open_page: Any) -> None:
    shown = make_viewer()
    page = open_page(shown.viewer.url)
    wait_for(lambda: has_picture(page))
    shown.session.pause()
    time.sleep(1.0)
    before, camera = pixels(page), watcher_of(shown).camera()
    page.mouse.move(450, 400)
    page.mouse.down()
    page.mouse.move(300, 380, steps=8)
    page.mouse.up()
    wait_for(lambda: np.abs(pixels(page) - before).mean() > 3)
    assert float((watcher_of(shown).camera().centre - camera.centre).norm()) > 0.1


def test_a_killed_browser_disturbs_nothing(make_viewer: Any, tmp_path: Any) -> None:
    """Killed with all its processes, so that it cannot say good-bye."""
    if CHROMIUM is None:
        pytest.skip("no chromium: apt-get install chromium")
    shown = make_viewer()
    other = subprocess.Popen([CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", shown.viewer.url],
                             start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        watcher = watcher_of(shown)
        wait_for(lambda: watcher.frames > 0)
    finally:
        os.killpg(other.pid, signal.SIGKILL)
        other.wait(10)
    wait_for(lambda: not shown.viewer.watchers)
    step = shown.session.step
    wait_for(lambda: shown.session.step > step + 5)
    assert shown.session.error is None
    said = [e.message for e in shown.session.since(0) if isinstance(e, Warned)]
    assert [m for m in said if "broke off" in m] == said
    assert said


def test_a_closed_page_is_no_fault(make_viewer: Any, open_page: Any) -> None:
    shown = make_viewer()
    page = open_page(shown.viewer.url)
    wait_for(lambda: has_picture(page))
    page.close()
    wait_for(lambda: not shown.viewer.watchers)
    step = shown.session.step
    wait_for(lambda: shown.session.step > step + 5)
    assert not [e for e in shown.session.since(0) if isinstance(e, Warned)]


def test_a_failing_panel_and_a_failing_picture_become_warnings(make_viewer: Any, open_page: Any,
                                                               monkeypatch: pytest.MonkeyPatch) -> None:
    shown = make_viewer()
    page = open_page(shown.viewer.url)
    wait_for(lambda: has_picture(page))

    def broken(*_: Any) -> None:
        raise RuntimeError("injected into the stream")

    monkeypatch.setattr(shown.viewer.stream, "painted", broken)
    shown.viewer.panels[0].tick = broken
    page.click("text=Warnings")
    page.wait_for_selector("text=injected into the stream", timeout=20_000)
    page.wait_for_selector("text=one photo was cut short")
    step = shown.session.step
    wait_for(lambda: shown.session.step > step + 5)
    assert server_module.TICK_S < 1
