"""How the time of a training step grows with pixels (x16) and Gaussians (x50).

Two sweeps. One of a run as it is, where a step costs so much per pixel (the loss), per Gaussian (projection, Adam) and
per pair of a pixel and a lane that a Gaussian visits there (compositing): small pictures cost their Gaussians, sparse
ones their pixels. And one with Gaussians that cover much of the picture, where compositing is nearly all there is, so
that the time of a pair alone should stay the same.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from recon.app.benchmark import rows_of, step_ms, work_of
from recon.ops.splat import Projection
from recon.types import Camera, Gaussians

COUNTS = (2_000, 10_000, 30_000, 100_000)  # of the run as it is
COVERING_COUNTS = (400, 2_000, 6_000, 20_000)
COVERING_LANES = 128.0  # visited lanes behind a pixel with the fewest Gaussians; as many as of a fitted scene
COVERING_OPACITY = 0.02  # so that no pixel is closed by the Gaussians in front

COSTS = ("pixels", "gaussians", "pairs")  # what a step's time is a sum of


def sweep(g: Gaussians, camera: Camera, settings: Projection) -> list[dict[str, float]]:
    """Step time of the run, from few of its Gaussians to more than it has; see ``_points``."""
    return [point for count in COUNTS for point in _points(rows_of(g, count), camera, settings)]


def covering_sweep(g: Gaussians, camera: Camera, settings: Projection) -> list[dict[str, float]]:
    """The same with Gaussians enlarged to cover hundreds of pixels each; 50 times as many lie 3.7 times deeper."""
    out = []
    for count in COVERING_COUNTS:
        lanes = COVERING_LANES * (count / COVERING_COUNTS[0]) ** (1 / 3)
        out += _points(_covering(rows_of(g, count), camera, settings, lanes), camera, settings)
    return out


def _points(rows: list[Tensor], camera: Camera, settings: Projection) -> list[dict[str, float]]:
    """Milliseconds of a step at three sizes (pixels x16), with its Gaussians, pixels and pairs."""
    out = []
    for factor in (0.5, 1.0, 2.0):
        sized = camera.scaled(max(round(camera.width * factor), 16), max(round(camera.height * factor), 16))
        work, ms = work_of(rows, sized, settings), step_ms(rows, sized, settings)["whole step"]
        out.append({"gaussians": work.gaussians, "pixels": work.pixels, "pairs": work.pixels * work.lanes_per_pixel,
                    "ms": ms})
    return out


def _covering(rows: list[Tensor], camera: Camera, settings: Projection, lanes: float) -> list[Tensor]:
    """The Gaussians nearly transparent and enlarged by one factor for all, so that ``lanes`` a pixel are visited."""
    rows = list(rows)
    log_scales = rows[1]
    rows[3] = torch.full_like(rows[3], math.log(COVERING_OPACITY / (1 - COVERING_OPACITY)))
    low, high = -3.0, 8.0  # of the factor's logarithm
    for _ in range(14):
        middle = (low + high) / 2
        rows[1] = log_scales + middle
        if work_of(rows, camera, settings).lanes_per_pixel < lanes:
            low = middle
        else:
            high = middle
    return rows


def flatness(points: list[dict[str, float]]) -> tuple[float, list[float]]:
    """Nanoseconds per pair over a whole sweep (the geometric mean), and each point's over that."""
    each = [p["ms"] * 1e6 / p["pairs"] for p in points]
    mean = math.exp(sum(map(math.log, each)) / len(each))
    return mean, [value / mean for value in each]


def cost_of(points: list[dict[str, float]]) -> tuple[dict[str, float], list[float]]:
    """Nanoseconds per pixel, Gaussian and pair that explain a sweep best, and measured over explained time of each
    point: all near 1 where a step costs in proportion to its work. Relative errors count, so small steps do too."""
    time_ns = torch.tensor([p["ms"] * 1e6 for p in points], dtype=torch.float64)
    work = torch.tensor([[p[name] for name in COSTS] for p in points], dtype=torch.float64)
    used = list(range(len(COSTS)))
    while True:  # a cost below zero explains nothing: without it
        scaled = work[:, used] / time_ns[:, None]
        cost = torch.linalg.lstsq(scaled, torch.ones(len(points), 1, dtype=torch.float64)).solution[:, 0]
        if bool((cost >= 0).all()) or len(used) == 1:
            break
        del used[int(cost.argmin())]
    explained = work[:, used] @ cost
    found = {COSTS[k]: float(c) for k, c in zip(used, cost)}
    return {name: found.get(name, 0.0) for name in COSTS}, (time_ns / explained).tolist()
