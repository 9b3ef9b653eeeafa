"""What tests of the page share: waiting, Chromium's flags, pixels of a page, and its controls."""

from __future__ import annotations

import io
import shutil
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from recon.app.pages import paint_of_pictures

FLAGS = ("--no-sandbox", "--headless=new", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
         "--ignore-gpu-blocklist", "--disable-background-networking", "--no-first-run", "--disable-sync",
         "--disable-quic")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PAINT = paint_of_pictures()


def wait_for(what: Callable[[], Any], seconds: float = 30.0) -> Any:
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.05)
    return found


def pixels(page: Any) -> np.ndarray:
    """[height, width, 3] of the part of a page left of the panels."""
    shot = page.screenshot(clip={"x": 0, "y": 150, "width": 560, "height": 450})
    return np.asarray(Image.open(io.BytesIO(shot)).convert("RGB")).astype(np.float64)


def has_picture(page: Any) -> bool:
    """Whether something is drawn that covers more than the thin lines of frustums do."""
    shown = pixels(page)
    return float((np.abs(shown - np.median(shown, axis=(0, 1))).max(-1) > 12).mean()) > 0.05


def watcher_of(shown: Any) -> Any:
    return wait_for(lambda: next(iter(shown.viewer.watchers.values()), None))


def choose(page: Any, label: str, value: str) -> None:
    """Picks a value of a dropdown."""
    control(page, label).click()
    page.get_by_role("option", name=value, exact=True).click()


def control(page: Any, label: str) -> Any:
    """The input behind a label."""
    return page.locator(f"xpath=//label[normalize-space(.)='{label}']/following::input[1]").first
