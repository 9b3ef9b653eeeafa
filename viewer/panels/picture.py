"""What each browser sees: channel, sharpness, and how fast pictures come."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from recon.viewer.stream import CHANNELS

if TYPE_CHECKING:
    from recon.viewer.server import News, Viewer
    from recon.viewer.stream import Watcher

ORDER = 40
SHARPNESS = {"low": 130_000, "medium": 520_000, "full": 4_000_000}
LABELS = {"rgb": "colour", "depth": "depth", "normal": "normals", "opacity": "opacity",
          "error": "error to nearest photo"}


class Panel:
    def __init__(self, viewer: Viewer) -> None:
        self.viewer = viewer
        self.words: dict[int, Any] = {}
        self.share: Any = None
        self.labels = {LABELS[c]: c for c in CHANNELS if c != "error" or viewer.page.views}
        if viewer.session.fit is not None:
            with viewer.server.gui.add_folder("Live", expand_by_default=False, order=45):
                self.share = viewer.server.gui.add_slider(
                    "Share", 0.05, 0.8, 0.05, min(max(viewer.session.looks.share, 0.05), 0.8),
                    hint="How much of the time watching may take from the fit")
            self.share.on_update(viewer.guard(self._share))

    def connect(self, watcher: Watcher) -> None:
        gui = watcher.client.gui
        channel = gui.add_dropdown("Show", tuple(self.labels), initial_value="colour", order=30)
        sharpness = gui.add_dropdown("Sharpness", tuple(SHARPNESS), initial_value="medium", order=31)
        self.words[watcher.id] = gui.add_markdown("", order=32)

        def changed(_: Any) -> None:
            watcher.channel, watcher.pixels = self.labels[channel.value], SHARPNESS[sharpness.value]
            watcher.post()

        channel.on_update(self.viewer.guard(changed))
        sharpness.on_update(self.viewer.guard(changed))

    def disconnect(self, watcher: Watcher) -> None:
        self.words.pop(watcher.id, None)

    def tick(self, news: News) -> None:
        for watcher in list(self.viewer.watchers.values()):
            words, last = self.words.get(watcher.id), watcher.last
            if words is None or last is None:
                continue
            step = f"step {last.step:,} · " if self.viewer.session.fit is not None else ""
            text = (f"{step}{last.camera.width}×{last.camera.height} in {1e3 * last.seconds:.0f} ms"
                    f" · moving {1e3 * watcher.latency_s:.0f} ms")
            if text != words.content:
                words.content = text

    def _share(self, _: Any) -> None:
        self.viewer.session.looks.share = float(self.share.value)
