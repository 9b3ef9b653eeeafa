"""Scenes that are not Gaussians in the page: every channel, the crop box, and meshes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from tiny_capture import camera_at, tiny_capture
from watching import PAINT, choose, control, has_picture, wait_for, watcher_of

from recon.app import pages
from recon.export import read_mesh
from recon.fields.distance_grid import DistanceGridSettings
from recon.fit.session import Session, Showable
from recon.renderers.surface import SurfaceRenderer
from recon.viewer.page import Page


@pytest.fixture
def shown(tmp_path: Any, monkeypatch: pytest.MonkeyPatch, served: list[Any]) -> Any:
    """A viewer of an ellipsoid around the origin, far enough away to be seen whole."""
    pytest.importorskip("viser", reason="viser is not installed: pip install 'recon-scene[view]'")
    from recon.viewer.server import Viewer

    monkeypatch.setattr(pages, "VIEWED_RESOLUTION", 40)
    capture = tiny_capture()
    field = DistanceGridSettings(levels=2, channels=2, log2_slots=8, margin=0.0).build()
    field.initialise(capture, 0)
    field.width = 0.02
    session = Session(Showable(field, SurfaceRenderer(), torch.zeros(3)))
    views = tuple(replace(v, camera=camera_at(0.8 * i, distance=5.0)) for i, v in enumerate(capture.views))
    moved = replace(capture, views=views)
    start = replace(camera_at(0.72, distance=6.0, size=(480, 400)), intrinsics=torch.tensor([500.0, 500.0, 240, 200]))
    page = Page("volume", PAINT, start, torch.zeros(3, dtype=torch.float64),
                torch.tensor([0.0, 0.0, 1.0]).double(), views, folder=tmp_path, **pages.meshing_of(moved))
    viewer = Viewer(session, page, "127.0.0.1", 0)
    served.append(viewer)
    session.start()
    return type("Shown", (), {"session": session, "viewer": viewer, "folder": tmp_path})


def test_every_channel_of_a_volume_is_shown(shown: Any, open_page: Any) -> None:
    page = open_page(shown.viewer.url)
    watcher = watcher_of(shown)
    wait_for(lambda: has_picture(page))
    for label, channel, want in (("depth", "depth", "depth"), ("normals", "normal", "normal"),
                                 ("opacity", "opacity", "opacity"), ("error to nearest photo", "error", "depth")):
        choose(page, "Show", label)
        wait_for(lambda channel=channel: watcher.channel == channel)
        wait_for(lambda want=want: watcher.last is not None and getattr(watcher.last.render, want) is not None)
        wait_for(lambda: has_picture(page))
    assert not shown.viewer.news.warnings


def test_a_volume_obeys_the_crop_box_and_so_does_its_mesh(shown: Any, open_page: Any, tmp_path: Any) -> None:
    page = open_page(shown.viewer.url)
    watcher = watcher_of(shown)
    choose(page, "Show", "opacity")
    wait_for(lambda: watcher.last is not None and watcher.last.full and watcher.last.render.opacity is not None)
    whole = float(watcher.last.render.opacity.mean())
    crop = next(p for p in shown.viewer.panels if hasattr(p, "crop"))
    crop.size.value = (6.0, 1.2, 6.0)
    page.get_by_text("Crop", exact=True).click()
    page.get_by_text("Crop to a box").wait_for()
    page.wait_for_timeout(1000)  # the folder opens with an animation
    control(page, "Crop to a box").click()
    wait_for(lambda: watcher.last.look.edit is not None and watcher.last.full)
    assert 0.05 * whole < float(watcher.last.render.opacity.mean()) < 0.9 * whole
    next(p for p in shown.viewer.panels if hasattr(p, "format")).format.value = "stl"
    with page.expect_download(timeout=60_000) as waiting:
        page.click("button:has-text('Export')")
    waiting.value.save_as(tmp_path / "got.stl")
    corners = read_mesh(tmp_path / "got.stl").vertices.double()
    assert len(corners) > 10
    assert bool(crop.crop.inside(corners).all())
