"""A headless Chromium for tests of pages; skips where there is none."""

from __future__ import annotations

import base64
import io
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

# WebGL in software; no sandbox, since tests often run as root in a container; no connections of the browser's own.
FLAGS = ("--no-sandbox", "--headless=new", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
         "--ignore-gpu-blocklist", "--disable-background-networking", "--no-first-run", "--disable-sync",
         "--disable-quic")


@contextmanager
def chromium() -> Iterator[Any]:
    """A Playwright browser."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium on this machine")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=list(FLAGS))
        try:
            yield browser
        finally:
            browser.close()


class Page:
    """An exported page, opened from its file. ``complaints`` collects console errors and requests to a network."""

    def __init__(self, browser: Any, path: Path, *, wait: bool = True, hash: str = "", script: str = "",
                 **context: Any) -> None:
        context.setdefault("viewport", {"width": 320, "height": 240})
        self.complaints: list[str] = []
        self.page = browser.new_context(**context).new_page()
        self.page.on("console", lambda m: m.type in ("error", "warning") and self.complaints.append(m.text))
        self.page.on("pageerror", lambda e: self.complaints.append(str(e)))
        self.page.on("request", lambda r: self._request(r.url))
        if script:
            self.page.add_init_script(script)
        self.page.goto(path.resolve().as_uri() + hash)
        if wait:
            self.page.evaluate("async () => { await recon; }")

    def _request(self, url: str) -> None:
        if not url.startswith(("file:", "blob:", "data:")):
            self.complaints.append(f"request to {url}")

    def __enter__(self) -> Page:
        return self

    def __exit__(self, *_: object) -> None:
        self.page.context.close()

    def ask(self, expression: str, argument: Any = None) -> Any:
        """Value of a JavaScript expression in which ``r`` is the page's viewer and ``a`` the argument."""
        return self.page.evaluate(f"async (a) => {{ const r = await recon; return {expression}; }}", argument)

    def picture(self, camera: dict[str, Any]) -> np.ndarray:
        """[height, width, 3] 0..1 of a camera in the page's own form."""
        return decoded(self.ask("r.picture(a)", camera))

    def canvas(self) -> np.ndarray:
        """What stands on the screen, buttons included."""
        return _pixels(self.page.screenshot())

    def settle(self) -> None:
        """Waits until nothing moves any more and a sharp picture is drawn."""
        self.ask("""new Promise((done) => {
            let calm = 0;
            const look = () => {
                const moving = r.motion.flight || Object.values(r.motion.pending).some((v) => v !== 0);
                calm = moving ? 0 : calm + 1;
                if (calm > 3) setTimeout(done, 300); else requestAnimationFrame(look);
            };
            look();
        })""")


def decoded(url: str) -> np.ndarray:
    """A data URL of a PNG -> [height, width, 3] 0..1."""
    return _pixels(base64.b64decode(url.split(",", 1)[1]))


def _pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(np.float64) / 255
