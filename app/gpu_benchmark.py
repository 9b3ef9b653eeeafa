"""Times and memory of splatting on a GPU, ours and gsplat's in alternation: medians, and ratios of one run."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from recon.fit.loop import Fit
from recon.fit.system import System
from recon.ops.photometric import photometric
from recon.ops.room import Room
from recon.ops.splat import Projection, composite, project, project_backward_adam_
from recon.ops.splat_gsplat import available, gsplat_picture
from recon.types import Camera, Capture

RATES = (1.6e-4, 5e-3, 1e-3, 5e-2, 2.5e-3, 1.25e-4)
PARAMETER_BYTES, RECORD_BYTES = 59 * 4, 48  # a Gaussian with spherical harmonics of degree 3
Clock = Callable[[Callable[[], Any]], tuple[float, float]]  # milliseconds, and the most memory in GB


def on_gpu(call: Callable[[], Any]) -> tuple[float, float]:
    """A ``Clock``: events on the GPU's stream."""
    torch.cuda.reset_peak_memory_stats()
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    call()
    end.record()
    torch.cuda.synchronize()
    return begin.elapsed_time(end), torch.cuda.max_memory_allocated() / 1e9


def on_processor(call: Callable[[], Any]) -> tuple[float, float]:
    """A ``Clock`` for tests of the benchmark itself."""
    begin = time.perf_counter()
    call()
    return 1e3 * (time.perf_counter() - begin), 0.0


def _projected(rows: list[Tensor], camera: Camera) -> Tensor:
    means, log_scales, quaternions, logits, sh0, sh_rest = rows
    return project(means, log_scales, quaternions, logits, sh0, sh_rest, camera, Projection(3))


@dataclass
class Ours:
    """Our kernels; a step is what a fit does, with room for tile lists and Adam fused with the backward pass."""

    rows: list[Tensor]
    camera: Camera
    target: Tensor
    room: Room = field(default_factory=Room)
    count: int = 0

    def __post_init__(self) -> None:
        self.ms, self.vs = ([torch.zeros_like(r.detach()) for r in self.rows] for _ in range(2))

    def draw(self) -> Tensor:
        """Picture [3, height, width]."""
        records = _projected(self.rows, self.camera)
        return composite(records, self.camera.width, self.camera.height, records.new_zeros(3))[0]

    def step(self) -> None:
        """One step of a fit."""
        rows = [r.detach() for r in self.rows]
        records = _projected(rows, self.camera).requires_grad_()
        with self.room.opened(len(rows[0])):
            picture = composite(records, self.camera.width, self.camera.height, records.new_zeros(3))[0]
        photometric(picture, self.target).backward()
        assert records.grad is not None
        self.count += 1
        project_backward_adam_(rows, self.ms, self.vs, RATES, self.camera, Projection(3), records.detach(),
                               records.grad, step=self.count)
        self.room.lost(wait=False)


@dataclass
class Gsplat:
    """gsplat's rasterization; a step has our loss and torch's fused Adam."""

    rows: list[Tensor]
    camera: Camera
    target: Tensor

    def __post_init__(self) -> None:
        self.adam = torch.optim.Adam([{"params": [r], "lr": rate} for r, rate in zip(self.rows, RATES, strict=True)],
                                     fused=True)

    def draw(self) -> Tensor:
        """Picture [3, height, width]."""
        means, log_scales, quaternions, logits, sh0, sh_rest = self.rows
        picture = gsplat_picture(means, log_scales, quaternions, logits, sh0, sh_rest, self.camera, Projection(3))
        return picture.permute(2, 0, 1)

    def step(self) -> None:
        """One step of a fit."""
        self.adam.zero_grad(set_to_none=True)
        photometric(self.draw().contiguous(), self.target).backward()
        self.adam.step()


def scene(count: int, camera: Camera, device: torch.device) -> list[Tensor]:
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


def view(size: tuple[int, int]) -> Camera:
    """A camera of [height, width] at the origin."""
    height, width = size
    pose = torch.eye(4, dtype=torch.float64)
    return Camera(width, height, torch.tensor([width, width, width / 2, height / 2], dtype=torch.float64), pose)


def least_traffic(rows: int, entries: int, pixels: int, tiles: int) -> dict[str, float]:
    """Bytes that our kernels must at least read and write: every array once per pass, what caches hold not counted."""
    passes = -(-max(tiles.bit_length(), 1) // 8)  # of the sort by tile, 8 bits each; that by depth has 4
    forward = (rows * (PARAMETER_BYTES + 2 * RECORD_BYTES + 4 * 16) + entries * (12 + 16 * passes + 12)
               + entries * (4 + RECORD_BYTES) + pixels * 16)
    backward = entries * (4 + 3 * RECORD_BYTES) + pixels * 32 + rows * RECORD_BYTES
    adam = rows * (6 * PARAMETER_BYTES + 2 * RECORD_BYTES)
    return {"forward ms": float(forward), "step ms": float(forward + backward + adam)}


def measure(count: int, size: tuple[int, int], rounds: int, device: torch.device | None = None,
            clock: Clock = on_gpu) -> dict[str, Any]:
    """``figures`` by contender (forward, forward + backward, step in ms; memory of a step in GB), ``ratios`` gsplat /
    ours, ``bandwidth`` of a copy in GB/s, ``shares`` of it that our least traffic takes, ``entries`` of tile lists."""
    device = device or torch.device("cuda")
    camera = view(size)
    target = torch.rand(3, *size, generator=torch.Generator().manual_seed(1)).to(device)
    contenders: dict[str, Ours | Gsplat] = {"ours": Ours(scene(count, camera, device), camera, target)}
    if available():
        contenders["gsplat"] = Gsplat(scene(count, camera, device), camera, target)

    def both(who: Ours | Gsplat) -> None:
        for r in who.rows:
            r.grad = None
        who.draw().square().mean().backward()

    taken: dict[str, dict[str, list[float]]] = {
        w: {"forward ms": [], "both ms": [], "step ms": [], "GB": []} for w in contenders}
    copies, most = [], torch.empty(1 << (28 if device.type == "cuda" else 16), device=device)
    other = torch.empty_like(most)
    for round_number in range(rounds + 2):
        for name, who in contenders.items():
            with torch.no_grad():
                forward, _ = clock(who.draw)
            pair, _ = clock(partial(both, who))
            step, memory = clock(who.step)
            if round_number >= 2:  # the first two warm up
                for key, value in (("forward ms", forward), ("both ms", pair), ("step ms", step), ("GB", memory)):
                    taken[name][key].append(value)
        copies.append(clock(lambda: other.copy_(most))[0])
    figures = {who: {k: statistics.median(v) for k, v in t.items()} for who, t in taken.items()}
    ratios = {k: figures["gsplat"][k] / figures["ours"][k] for k in figures["ours"]} if "gsplat" in figures else {}
    bandwidth = 2 * 4 * len(most) / statistics.median(copies) / 1e6
    ours = contenders["ours"]
    assert isinstance(ours, Ours)
    entries, tiles = ours.room.needed("tiles"), -(-camera.width // 16) * -(-camera.height // 16)
    shares = {k: b / figures["ours"][k] / 1e6 / bandwidth
              for k, b in least_traffic(count, entries, camera.width * camera.height, tiles).items()}
    return {"figures": figures, "ratios": ratios, "bandwidth": bandwidth, "shares": shares, "entries": entries}


def whole_fits(capture: Capture, system: System, clock: Clock = on_gpu, device: torch.device | None = None
               ) -> dict[str, dict[str, float]]:
    """The same fit with our kernels and with gsplat's: seconds, PSNR of held-out views, memory in GB."""
    out = {}
    for name in ["recon", *(["gsplat"] if available() else [])]:
        with _backend(name):
            fit = Fit(capture, system, device=device or torch.device("cuda"))
            milliseconds, memory = clock(partial(_all_steps, fit))
            result = fit.evaluate(final=True)
        out["ours" if name == "recon" else name] = {"seconds": milliseconds / 1e3, "PSNR": result.psnr, "GB": memory}
    return out


def _all_steps(fit: Fit) -> None:
    while fit.step < fit.system.steps:
        fit.advance()
    fit.settle()


@contextmanager
def _backend(name: str) -> Iterator[None]:
    before = os.environ.get("RECON_CUDA_BACKEND")
    os.environ["RECON_CUDA_BACKEND"] = name
    try:
        yield
    finally:
        os.environ.pop("RECON_CUDA_BACKEND")
        if before is not None:
            os.environ["RECON_CUDA_BACKEND"] = before
