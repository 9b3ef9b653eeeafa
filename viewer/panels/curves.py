"""Held-out PSNR and training loss over the steps; dots mark where the schedule changes something."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from recon.viewer.server import News, Viewer

ORDER = 20
MOST_POINTS = 300


class Panel:
    def __init__(self, viewer: Viewer) -> None:
        self.fit = viewer.session.fit is not None
        if not self.fit:
            return
        gui = viewer.server.gui
        self.schedule = viewer.page.schedule
        self.psnr = gui.add_uplot(_empty(), series=_series("PSNR", "#4aa3ff"), axes=_axes(), scales=_scales(),
                                  title="PSNR, dB", height=110, legend={"show": False}, visible=False, order=10)
        with gui.add_folder("Loss", expand_by_default=False, order=40):
            self.loss = gui.add_uplot(_empty(), series=_series("loss", "#ff9f4a"), axes=_axes(), scales=_scales(),
                                      title="Training loss, smoothed", height=150, legend={"show": False})
            if self.schedule:
                gui.add_markdown("\n".join(f"- step {step:,}: {what}" for step, what in self.schedule))
        self.shown = (0, 0)

    def tick(self, news: News) -> None:
        counts = (len(news.psnrs), len(news.losses))
        if not self.fit or counts == self.shown:
            return
        if counts[0] != self.shown[0]:
            _show(self.psnr, _marked(_thinned(news.psnrs), self.schedule))
            self.psnr.visible = counts[0] > 1  # a curve of one point is only a frame
        if counts[1] != self.shown[1]:
            _show(self.loss, _marked(_thinned(news.losses), self.schedule))
        self.shown = counts


def _empty() -> tuple[np.ndarray, ...]:
    return np.zeros(1), np.zeros(1), np.full(1, np.nan)


def _show(plot: Any, curve: tuple[np.ndarray, ...]) -> None:
    """The range is given, because marks that are missing (NaN) would make uPlot's own one NaN, and the plot empty."""
    plot.data = curve
    low, high = float(curve[1].min()), float(curve[1].max())
    span = max(high - low, 1e-3 * abs(high), 1e-9)
    step = 10.0 ** math.floor(math.log10(span)) / 2  # round ends, so that they change seldom: then all is drawn anew
    ends = (math.floor(low / step - 0.1) * step, math.ceil(high / step + 0.1) * step)
    scales = _scales() | {"y": {"range": ends}}
    if plot.scales != scales:
        plot.scales = scales


def _thinned(points: list[tuple[int, float]]) -> tuple[np.ndarray, ...]:
    table = np.array(points[:: -(-len(points) // MOST_POINTS)] or [(0, 0.0)], np.float64)
    if len(points):
        table = np.concatenate([table, np.array(points[-1:], np.float64)])
    return table[:, 0], table[:, 1]


def _marked(curve: tuple[np.ndarray, ...], schedule: tuple[tuple[int, str], ...]) -> tuple[np.ndarray, ...]:
    """(steps, values, marks): points are added on the curve at the steps of the schedule that it has passed."""
    steps, values = curve
    at = np.array([step for step, _ in schedule if steps[0] <= step <= steps[-1]], np.float64)
    all_steps = np.unique(np.concatenate([steps, at]))
    all_values = np.interp(all_steps, steps, values)
    return all_steps, all_values, np.where(np.isin(all_steps, at), all_values, np.nan)


def _series(name: str, colour: str) -> tuple:
    mark = {"label": "schedule", "stroke": "#ffffff", "width": 0, "points": {"show": True, "size": 7, "fill": colour}}
    return {"label": "step"}, {"label": name, "stroke": colour, "width": 2}, mark


def _axes() -> tuple:
    line = {"stroke": "#9aa0a6", "grid": {"stroke": "#9aa0a633"}}
    return line, line


def _scales() -> dict:
    return {"x": {"time": False}}
