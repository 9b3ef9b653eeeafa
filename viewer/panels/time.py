"""The moment that is shown of a scene that moves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recon.viewer.server import News, Viewer
    from recon.viewer.stream import Watcher

ORDER = 35
FRAMES = 200  # of the slider
PLAYED_S = 4.0  # seconds that the whole span takes


class Panel:
    """A field that moves has ``span``: (first, last) moment for its ``gaussians(t)``."""

    def __init__(self, viewer: Viewer) -> None:
        self.viewer = viewer
        self.span: tuple[float, float] | None = getattr(viewer.session.shown.field, "span", None)
        self.playing: dict[int, Any] = {}

    def connect(self, watcher: Watcher) -> None:
        if self.span is None:
            return
        first, last = self.span
        watcher.time = first
        gui = watcher.client.gui
        slider = gui.add_slider("Time", first, last, (last - first) / FRAMES, first, order=15)
        play = gui.add_checkbox("Play", False, order=16)

        def moved(_: Any) -> None:
            watcher.time = float(slider.value)
            watcher.post()

        slider.on_update(self.viewer.guard(moved))
        self.playing[watcher.id] = slider, play

    def disconnect(self, watcher: Watcher) -> None:
        self.playing.pop(watcher.id, None)

    def tick(self, news: News) -> None:
        if self.span is None:
            return
        first, last = self.span
        for slider, play in list(self.playing.values()):
            if play.value:
                at = (float(slider.value) - first) / (last - first) + self.viewer.tick_s / PLAYED_S
                slider.value = first + (at % 1.0) * (last - first)
