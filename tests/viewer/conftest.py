"""A viewer of a tiny fit, and a real browser to look at it; both skip with a reason where something is missing."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_capture import camera_at, tiny_capture
from watching import CHROMIUM, FLAGS, PAINT

from recon.app import video
from recon.app.pages import meshing_of
from recon.configs import gaussians
from recon.fit.loop import Fit
from recon.fit.session import Session
from recon.viewer.page import Page


@dataclass
class Shown:
    """A running viewer with its session."""

    session: Session
    viewer: Any
    folder: Path


@pytest.fixture
def served() -> Iterator[list[Any]]:
    """Running viewers, closed with their sessions when the test has ended.

    Pages end before them (``open_page`` depends on this): one whose server is gone keeps asking for it and fails.
    """
    viewers: list[Any] = []
    yield viewers
    for viewer in viewers:
        viewer.close()
        viewer.session.close()


@pytest.fixture
def make_viewer(tmp_path: Path, served: list[Any]) -> Callable[..., Shown]:
    """Starts viewers of a fit of the tiny capture that never ends by itself; ``steps`` and ``host`` may be given."""
    pytest.importorskip("viser", reason="viser is not installed: pip install 'recon-scene[view]'")
    from recon.viewer.server import Viewer

    def make(steps: int = 1_000_000, host: str = "127.0.0.1", start: bool = True, mesh: Any = None,
             capture_meshing: bool = False) -> Shown:
        capture = tiny_capture()
        fit = Fit(capture, dataclasses.replace(gaussians.PRESETS["fast"], steps=steps), evaluate_every_s=2.0)
        session = Session.of_fit(fit)
        stand = dataclasses.replace(camera_at(0.72, size=(480, 400)), intrinsics=torch.tensor([330.0, 330.0, 240, 200]))
        page = Page("tiny", PAINT, stand, torch.zeros(3, dtype=torch.float64),
                    torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64), capture.views, folder=tmp_path,
                    command="recon fit tiny --seed 0", notes=("one photo was cut short",),
                    write_video=video.write_mp4, mesh=mesh, schedule=((100, "full resolution"),),
                    **(meshing_of(capture) if capture_meshing else {}))
        shown = Shown(session, Viewer(session, page, host, 0), tmp_path)
        served.append(shown.viewer)
        if start:
            session.start()
        return shown

    return make


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium without a window."""
    sync = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
    if CHROMIUM is None:
        pytest.skip("no chromium: apt-get install chromium")
    with sync.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield started
        started.close()


@pytest.fixture
def open_page(browser: Any, served: list[Any]) -> Iterator[Callable[[str], Any]]:
    """Opens addresses in browsers of their own; ends with an error if a page threw one."""
    contexts, errors = [], []

    def open_one(url: str) -> Any:
        context = browser.new_context(viewport={"width": 900, "height": 600}, accept_downloads=True)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(url)
        page.wait_for_selector("text=Export", timeout=60_000)
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert not errors, errors
