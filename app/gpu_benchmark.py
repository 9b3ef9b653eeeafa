"""Times and memory of splatting on a GPU, ours and gsplat's in alternation: medians, and ratios of one run."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from recon.ops.splat import Projection, composite, project
from recon.ops.splat_gsplat import available, gsplat_picture
from recon.types import Camera


def _scene(count: int, camera: Camera, device: torch.device) -> list[Tensor]:
    """Gaussians at random in the camera's view, a few pixels large: six parameter tensors that want gradients."""
    generator = torch.Generator().manual_seed(0)
    fx, fy, cx, cy = camera.intrinsics.tolist()
    z = 2 + 6 * torch.rand(count, generator=generator)
    x = (torch.rand(count, generator=generator) * camera.width - cx) / fx * z
    y = (torch.rand(count, generator=generator) * camera.height - cy) / fy * z
    spread = torch.randn(count, 3, generator=generator)
    rows = [torch.stack([x, y, z], 1), (2.0 * z / fx).log()[:, None] + 0.5 * spread,
            torch.randn(count, 4, generator=generator), torch.randn(count, generator=generator),
            torch.randn(count, 3, generator=generator), 0.1 * torch.randn(count, 15, 3, generator=generator)]
    return [r.to(device).contiguous().requires_grad_() for r in rows]


def _ours(rows: list[Tensor], camera: Camera) -> Tensor:
    means, log_scales, quaternions, logits, sh0, sh_rest = rows
    records = project(means, log_scales, quaternions, logits, sh0, sh_rest, camera, Projection(3))
    return composite(records, camera.width, camera.height, records.new_zeros(3))[0]


def _gsplat(rows: list[Tensor], camera: Camera) -> Tensor:
    means, log_scales, quaternions, logits, sh0, sh_rest = rows
    return gsplat_picture(means, log_scales, quaternions, logits, sh0, sh_rest, camera, Projection(3))


def _timed(call: Callable[[], Any]) -> tuple[float, float]:
    """Milliseconds, and the most memory in GB."""
    torch.cuda.reset_peak_memory_stats()
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    call()
    end.record()
    torch.cuda.synchronize()
    return begin.elapsed_time(end), torch.cuda.max_memory_allocated() / 1e9


def measure(count: int, size: tuple[int, int], rounds: int) -> dict[str, Any]:
    """``figures`` by contender (forward and forward + backward in ms, memory in GB), and ``ratios`` gsplat / ours."""
    height, width = size
    pose = torch.eye(4, dtype=torch.float64)
    camera = Camera(width, height, torch.tensor([width, width, width / 2, height / 2], dtype=torch.float64), pose)
    rows = _scene(count, camera, torch.device("cuda"))
    contenders: dict[str, Callable[[list[Tensor], Camera], Tensor]] = {"ours": _ours}
    if available():
        contenders["gsplat"] = _gsplat

    def step(draw: Callable[[list[Tensor], Camera], Tensor]) -> None:
        for r in rows:
            r.grad = None
        draw(rows, camera).square().mean().backward()

    taken: dict[str, dict[str, list[float]]] = {w: {"forward ms": [], "both ms": [], "GB": []} for w in contenders}
    for round_number in range(rounds + 2):
        for who, draw in contenders.items():
            with torch.no_grad():
                forward, _ = _timed(partial(draw, rows, camera))
            both, memory = _timed(partial(step, draw))
            if round_number >= 2:  # the first two warm up
                for key, value in (("forward ms", forward), ("both ms", both), ("GB", memory)):
                    taken[who][key].append(value)
    figures = {who: {k: statistics.median(v) for k, v in t.items()} for who, t in taken.items()}
    ratios = {k: figures["gsplat"][k] / figures["ours"][k] for k in figures["ours"]} if "gsplat" in figures else {}
    return {"figures": figures, "ratios": ratios}
