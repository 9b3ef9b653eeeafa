"""Line plots as SVG: panels side by side, one colour per name, a legend below. No plotting package is needed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

_COLOURS = ("#1b6ca8", "#d1495b", "#2e8b57", "#e09f3e", "#6a4c93", "#00a6a6", "#7f5539", "#555555", "#c06ec4",
            "#8ab17d")
_WIDTH, _HEIGHT, _LEFT, _TOP, _BOTTOM, _GAP = 400, 250, 56, 30, 46, 18


@dataclass(frozen=True)
class Panel:
    """One set of axes: ``lines`` maps a name to its points (x, y)."""

    title: str
    x_label: str
    y_label: str
    lines: dict[str, Sequence[tuple[float, float]]]


def svg(panels: Sequence[Panel], columns: int = 2) -> str:
    """The panels row by row as one SVG picture."""
    names = list(dict.fromkeys(n for p in panels for n in p.lines))
    colour = {n: _COLOURS[i % len(_COLOURS)] for i, n in enumerate(names)}
    rows = -(-len(panels) // columns)
    per_row = max(columns * _WIDTH // 200, 1)
    width, legend = columns * _WIDTH, 20 * -(-len(names) // per_row) + 14
    height = rows * (_HEIGHT + _GAP) + legend
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
           f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="11" fill="#222">',
           f'<rect width="{width}" height="{height}" fill="white"/>']
    for i, panel in enumerate(panels):
        x, y = (i % columns) * _WIDTH, (i // columns) * (_HEIGHT + _GAP)
        out.append(f'<g transform="translate({x} {y})">{_panel(panel, colour)}</g>')
    for i, name in enumerate(names):
        x, y = 20 + (i % per_row) * 200, rows * (_HEIGHT + _GAP) + 12 + 20 * (i // per_row)
        out.append(f'<rect x="{x}" y="{y - 5}" width="18" height="3" fill="{colour[name]}"/>'
                   f'<text x="{x + 24}" y="{y}">{escape(name)}</text>')
    return "\n".join([*out, "</svg>"])


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About ``count`` round numbers between ``low`` and ``high``."""
    span = max(high - low, 1e-12)
    step = 10 ** math.floor(math.log10(span / count))
    step *= next((f for f in (1, 2, 5, 10) if span / (step * f) <= count), 10)
    return [k * step for k in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def _panel(panel: Panel, colour: dict[str, str]) -> str:
    points = [p for line in panel.lines.values() for p in line]
    x0, x1 = _range([p[0] for p in points])
    y0, y1 = _range([p[1] for p in points], 0.05)
    wide, high = _WIDTH - _LEFT - 14, _HEIGHT - _TOP - _BOTTOM

    def at(x: float, y: float) -> tuple[float, float]:
        return _LEFT + (x - x0) / (x1 - x0) * wide, _TOP + (y1 - y) / (y1 - y0) * high

    middle = f'x="{_LEFT + wide / 2:.0f}" text-anchor="middle"'
    out = [f'<text {middle} y="18" font-weight="bold">{escape(panel.title)}</text>',
           f'<text {middle} y="{_HEIGHT - 8}">{escape(panel.x_label)}</text>',
           f'<text transform="translate(13 {_TOP + high / 2:.0f}) rotate(-90)" text-anchor="middle">'
           f"{escape(panel.y_label)}</text>"]
    for v in ticks(x0, x1):
        x, y = at(v, y0)
        out.append(f'<path d="M{x:.1f} {_TOP}V{y:.1f}" stroke="#e6e6e6"/>'
                   f'<text x="{x:.1f}" y="{y + 15:.1f}" text-anchor="middle">{v:g}</text>')
    for v in ticks(y0, y1):
        x, y = at(x0, v)
        out.append(f'<path d="M{x:.1f} {y:.1f}H{_LEFT + wide}" stroke="#e6e6e6"/>'
                   f'<text x="{x - 5:.1f}" y="{y + 4:.1f}" text-anchor="end">{v:.6g}</text>')
    for name, line in panel.lines.items():
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (at(*p) for p in line))
        out.append(f'<polyline points="{path}" fill="none" stroke="{colour[name]}" stroke-width="1.8"/>')
        out += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2" fill="{colour[name]}"/>' for x, y in (at(*p) for p in line)]
    return "".join(out)


def _range(values: Sequence[float], margin: float = 0.0) -> tuple[float, float]:
    finite = [v for v in values if math.isfinite(v)] or [0.0, 1.0]
    low, high = min(finite), max(finite)
    extra = margin * (high - low)
    return (low - extra, high + extra) if high > low else (low - 0.5, high + 0.5)
