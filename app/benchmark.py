"""Measures one training step phase by phase, and a frame, on the Gaussians of a run.

Times are medians of repeated calls in one process. Machines differ and drift: compare ratios of one run, not times.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from recon.ops.native import native
from recon.ops.photometric import photometric_gradient
from recon.ops.splat import Projection, composite, project, project_backward_adam_
from recon.types import Camera, Gaussians

REPEATS = 15


@dataclass(frozen=True)
class Work:
    """What a picture asks of the kernels: counts that do not depend on the machine."""

    gaussians: int
    visible: int
    tile_entries: int
    pixels: int
    lanes_per_pixel: float


def _project(rows: list[Tensor], camera: Camera, settings: Projection) -> Tensor:
    means, log_scales, quaternions, logits, sh0, sh_rest = rows
    return project(means, log_scales, quaternions, logits, sh0, sh_rest, camera, settings)


def median_ms(call: Callable[[], Any], repeats: int = REPEATS) -> float:
    times = []
    call()
    for _ in range(repeats):
        begin = time.perf_counter()
        call()
        times.append((time.perf_counter() - begin) * 1e3)
    return statistics.median(times)


def rows_of(g: Gaussians, count: int | None = None) -> list[Tensor]:
    """The six parameter tensors of ``project``; with ``count``, rows are repeated with a small shift or left out."""
    rows = [g.means, g.log_scales, g.quaternions, g.logits, g.sh[:, 0], g.sh[:, 1:]]
    if count is not None and count != len(g):
        generator = torch.Generator().manual_seed(0)
        pick = torch.randint(len(g), (count,), generator=generator).sort().values
        rows = [r[pick] for r in rows]
        shrink = (count / len(g)) ** (1 / 3)
        rows[0] = rows[0] + torch.randn(count, 3, generator=generator) * rows[1].exp() * (count > len(g))
        rows[1] = rows[1] - torch.log(torch.tensor(max(shrink, 1.0)))
    return [r.contiguous() for r in rows]


def work_of(rows: list[Tensor], camera: Camera, settings: Projection) -> Work:
    records = _project(rows, camera, settings)
    lists = native.SplatLists()
    picture, transmittance = torch.empty(3, camera.height, camera.width), torch.empty(camera.height, camera.width)
    native.splat_composite(lists, records, camera.width, camera.height, torch.zeros(3), picture, transmittance)
    pixels = camera.width * camera.height
    return Work(len(rows[0]), lists.visible, lists.instances, pixels, lists.block_visits * native.lanes / pixels)


def bytes_per_gaussian(rows: list[Tensor], camera: Camera, settings: Projection) -> dict[str, float]:
    """Memory that grows with the Gaussians during a fit, by part; lists are those of this camera, both ways."""
    n = max(len(rows[0]), 1)
    parameters = sum(r.numel() * r.element_size() for r in rows) / n
    records = _project(rows, camera, settings)
    lists = native.SplatLists()
    picture, transmittance = torch.empty(3, camera.height, camera.width), torch.empty(camera.height, camera.width)
    native.splat_composite(lists, records, camera.width, camera.height, torch.zeros(3), picture, transmittance)
    native.splat_composite_backward(lists, records, picture, transmittance, torch.zeros_like(picture), torch.empty(0),
                                    False, torch.empty_like(records))
    screen = 2 * records.shape[1] * records.element_size()
    return {"parameters": parameters, "moments": 2 * parameters, "records and their gradient": screen,
            "tile lists": lists.bytes / n}


def step_ms(rows: list[Tensor], camera: Camera, settings: Projection,
            timed: Callable[[Callable[[], Any]], float] = median_ms) -> dict[str, float]:
    """Milliseconds of each phase of one training step, and their sum; ``timed`` gives those of a call."""
    rows = [r.clone() for r in rows]
    moments = [torch.zeros_like(r) for r in rows], [torch.zeros_like(r) for r in rows]
    background = torch.zeros(3)
    generator = torch.Generator().manual_seed(0)
    target = torch.randint(0, 256, (3, camera.height, camera.width), dtype=torch.uint8, generator=generator)
    records = _project(rows, camera, settings)
    with torch.no_grad():
        picture, _ = composite(records, camera.width, camera.height, background)
    _, g_picture = photometric_gradient(picture, target)
    leaf = records.clone().requires_grad_(True)

    def both() -> None:
        leaf.grad = None
        composite(leaf, camera.width, camera.height, background)[0].backward(g_picture)

    both()
    assert leaf.grad is not None
    g_records = leaf.grad.clone()
    phases = {
        "project": timed(lambda: _project(rows, camera, settings)),
        "bin and composite": timed(lambda: composite(records, camera.width, camera.height, background)),
        "loss and its gradient": timed(lambda: photometric_gradient(picture, target)),
    }
    phases["composite backward"] = max(timed(both) - phases["bin and composite"], 0.0)
    phases["project backward and Adam"] = timed(lambda: project_backward_adam_(
        rows, moments[0], moments[1], [0.0] * 6, camera, settings, records, g_records, step=10))
    return {**phases, "whole step": sum(phases.values())}


def frame_ms(rows: list[Tensor], camera: Camera, settings: Projection) -> float:
    """Milliseconds of one rendered frame."""
    background = torch.zeros(3)
    with torch.no_grad():
        return median_ms(lambda: composite(_project(rows, camera, settings), camera.width, camera.height, background))
