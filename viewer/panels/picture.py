"""What each browser sees: channel, sharpness, and how fast pictures come."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from recon.viewer.greeting import SEEN
from recon.viewer.stream import CHANNELS, ERRORS

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
        ramp = gui.add_dropdown("Colours", ("usual", *self.viewer.page.paint.ramps), initial_value="usual", order=32,
                                visible=False)
        given = gui.add_checkbox("Set the range", False, order=33, visible=False)
        ends = gui.add_vector2("Range", (0.0, 1.0), step=0.001, order=34, visible=False,
                               hint="Nearest and farthest depth in units of the source, or lowest and highest error")
        self.words[watcher.id] = gui.add_html("", order=35)
        chosen = False  # whether a range was given until now

        def changed(_: Any) -> None:
            nonlocal chosen
            before, watcher.channel = watcher.channel, self.labels[channel.value]
            watcher.pixels = SHARPNESS[sharpness.value]
            scalar = watcher.channel in ("depth", "error")
            ramp.visible = given.visible = scalar
            ends.visible = scalar and given.value
            watcher.ramp = None if ramp.value == "usual" else str(ramp.value)
            unit = self.viewer.page.world_from_source.scale if watcher.channel == "depth" else 1.0
            if before != watcher.channel or not (given.value and chosen):
                suiting = tuple(round(end / unit, 4) for end in self._suiting(watcher))
                if suiting != tuple(ends.value):  # setting it calls this again
                    ends.value = suiting
            chosen = bool(given.value)
            low, high = (float(end) * unit for end in ends.value)
            watcher.range = (low, max(high, low + 1e-6)) if scalar and given.value else None
            watcher.post()

        for handle in (channel, sharpness, ramp, given, ends):
            handle.on_update(self.viewer.guard(changed))

    def _suiting(self, watcher: Watcher) -> tuple[float, float]:
        """The range that is used where none is given: what to start from when one is set."""
        shown = watcher.last
        if watcher.channel != "depth" or shown is None or shown.render.depth is None:
            return ERRORS
        hit = shown.render.depth[shown.render.depth > 0]
        if not 0 < len(hit) < 1 << 24:
            return 0.0, 1.0
        near, far = hit.float().quantile(torch.tensor([0.02, 0.98])).tolist()
        return near, far

    def disconnect(self, watcher: Watcher) -> None:
        self.words.pop(watcher.id, None)

    def tick(self, news: News) -> None:
        for watcher in list(self.viewer.watchers.values()):
            words, last = self.words.get(watcher.id), watcher.last
            if words is None or last is None:
                continue
            step = f"step {last.step:,} · " if self.viewer.session.fit is not None else ""
            if watcher.local:  # the page's lines watch whether it is quick enough
                text = _words("drawn by your browser", f'data-draws="{watcher.id}"')
            else:
                text = _words(f"{step}{last.camera.width}×{last.camera.height} in {1e3 * last.seconds:.0f} ms"
                              f" · moving {1e3 * watcher.latency_s:.0f} ms")
            if text != words.content:
                words.content = text

    def _share(self, _: Any) -> None:
        self.viewer.session.looks.share = float(self.share.value)


def _words(text: str, attributes: str = "") -> str:
    return f'<div id="{SEEN}" {attributes} style="padding:0.2em 0.75em;opacity:0.75;font-size:0.875em">{text}</div>'
