"""Rates of the volume kernels on one thread against a floor: python tests/bench/volume_bench.py [--step SCENE]

Nanoseconds per sample, forward and backward, processor time. The floor of a kernel is what its bytes and multiply-adds
would take at the machine's ceilings (docs/performance.md; `ceilings.cpp` measures them), whichever takes longer:

- lookups: every cache line that a ray needs is fetched once (and for the gradient fetched and written back); counted
  from the very points that are looked up;
- networks: the multiply-adds of the products, three times as many backward (the hidden layers are computed again);
- marching and compositing: each sample's inputs read and outputs written once, some 40 operations for its exponentials.

With --step, a step of `dvgo` on a scene: which torch operations it contains and what share of it they take.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from recon.ops import grid, march, mlp
from recon.ops.native import native

FMA_PER_NS = 58.5  # 117 GFlop/s, one thread
BYTES_PER_NS = 23.5
LINE = 64
RAYS, PER_RAY = 600, 100


def best(run: Callable[[], object], repeats: int = 7) -> float:
    """Shortest processor time of a call in seconds."""
    run()
    times = []
    for _ in range(repeats):
        begin = time.process_time()
        run()
        times.append(time.process_time() - begin)
    return min(times)


def points(generator: torch.Generator) -> Tensor:
    """Along rays, as marching makes them: neighbours lie near each other."""
    start, end = torch.rand(RAYS, 1, 3, generator=generator), torch.rand(RAYS, 1, 3, generator=generator)
    return (start + (end - start) * torch.linspace(0, 1, PER_RAY)[None, :, None]).reshape(-1, 3).contiguous()


def corners(u: Tensor, size: tuple[int, ...]) -> Tensor:
    """[n, 2^d] numbers of the nodes around points u [n, d] of a grid of ``size`` nodes."""
    most = torch.tensor(size) - 1
    low = (u * most).long().clamp(min=0).minimum(most - 1)
    out = torch.zeros(len(u), 1, dtype=torch.long)
    for axis, n in enumerate(size):
        out = (out[:, :, None] * n + torch.stack([low[:, axis], low[:, axis] + 1], dim=1)[:, None]).flatten(1)
    return out


def lines_per_sample(nodes: Tensor, bytes_per_node: int) -> float:
    """Cache lines that a ray fetches for ``nodes`` [n, k], over its samples."""
    first = nodes * bytes_per_node // LINE
    last = (nodes * bytes_per_node + bytes_per_node - 1) // LINE
    touched = torch.cat([first + i for i in range(int((last - first).max()) + 1)], dim=1)
    touched = torch.minimum(touched, last.repeat(1, touched.shape[1] // last.shape[1]))
    rays = touched.view(RAYS, -1)
    return sum(len(r.unique()) for r in rays) / len(nodes)


class Table:
    def __init__(self, samples: int) -> None:
        self.samples = samples
        print(f"{'ns per sample':26}{'forward':>9}{'floor':>8}{'ratio':>7}{'backward':>11}{'floor':>8}{'ratio':>7}")

    def row(self, name: str, make: Callable[[], Tensor], floor: float, floor_back: float) -> None:
        """``make`` computes the forward pass; floors in ns per sample."""
        out = make()
        g = torch.ones_like(out)
        forward = best(make) / self.samples * 1e9
        if not out.requires_grad:
            print(f"{name:26}{forward:9.1f}{floor:8.2f}{forward / floor:7.1f}")
            return
        back = best(lambda: make().backward(g)) / self.samples * 1e9 - forward
        print(f"{name:26}{forward:9.1f}{floor:8.2f}{forward / floor:7.1f}"
              f"{back:11.1f}{floor_back:8.2f}{back / floor_back:7.1f}")


def lookup_floors(lines: float, fma: float, out_bytes: float) -> tuple[float, float]:
    """Forward and backward: lines fetched; fetched and written back; positions and outputs as a stream."""
    stream = 12 + out_bytes
    return (max((lines * LINE + stream) / BYTES_PER_NS, fma / FMA_PER_NS),
            max((2 * lines * LINE + stream) / BYTES_PER_NS, fma / FMA_PER_NS))


def kernels() -> None:
    generator = torch.Generator().manual_seed(0)
    u = points(generator)
    table = Table(len(u))
    nodes = corners(u, (126, 126, 126))
    for channels in (1, 12, 16):
        values = torch.randn(126, 126, 126, channels, requires_grad=True)
        floors = lookup_floors(lines_per_sample(nodes, 4 * channels), 8 * channels, 4 * channels)
        table.row(f"trilinear, {channels} channels", lambda v=values: grid.trilinear(v, u), *floors)
    planes, factor = torch.randn(3, 126, 126, 24, requires_grad=True), torch.randn(3, 126, 24, requires_grad=True)
    lines = sum(lines_per_sample(corners(u[:, [(axis + 1) % 3, (axis + 2) % 3]], (126, 126)), 96) for axis in range(3))
    table.row("vector-matrix, rank 24", lambda: grid.vector_matrix(planes, factor, u),
              *lookup_floors(lines, 3 * 24 * 8, 4 * 72))
    slots = torch.randn(8, 1 << 17, 4, requires_grad=True)
    sides = [round(16 * 16 ** (i / 7)) for i in range(8)]
    # A hash scatters what does not fit: the nodes of a fine level share no lines.
    lines = sum(lines_per_sample(corners(u, (n, n, n)), 16 if n**3 <= 1 << 17 else LINE) for n in sides)
    table.row("hash, 8 levels x 4", lambda: grid.hash_grid(slots, sides, u), *lookup_floors(lines, 8 * 32, 128))
    networks(table, len(u), generator)
    marching(table, generator)
    a, b = torch.randn(6144, 128), torch.randn(128, 128)
    seconds = best(lambda: a @ b)
    print(f"torch's matrix product, 128 wide: {2e-9 * 6144 * 128 * 128 / seconds:.1f} GFlop/s")


def networks(table: Table, n: int, generator: torch.Generator) -> None:
    for sizes in ([39, 64, 3], [39, 64, 64, 3], [39, 128, 128, 3]):
        parameters = mlp.initial(sizes, generator).requires_grad_()
        x = torch.randn(n, sizes[0], generator=generator, requires_grad=True)
        fma = float(sum(a * b for a, b in pairwise(sizes)))
        table.row("network " + "-".join(map(str, sizes)),
                  lambda p=parameters, x=x, s=sizes: mlp.mlp(p, s, x, squash=True), fma / FMA_PER_NS,
                  3 * fma / FMA_PER_NS)


def marching(table: Table, generator: torch.Generator) -> None:
    n = table.samples
    raw = torch.randn(n, generator=generator).requires_grad_()
    offsets = torch.arange(0, n + 1, PER_RAY, dtype=torch.int32)
    t = torch.rand(RAYS, PER_RAY, generator=generator).sort(1).values.reshape(-1)
    index = torch.arange(0, n, 3, dtype=torch.int32)
    colour = torch.rand(len(index), 3, generator=generator)
    table.row("compositing", lambda: march.composite(raw, colour, t, offsets, index, torch.ones(3), delta=0.5,
                                                     shift=-3.0).rgb,
              max(14 / BYTES_PER_NS, 40 / FMA_PER_NS), max(22 / BYTES_PER_NS, 60 / FMA_PER_NS))
    table.row("weights", lambda: march.weights(raw, offsets, delta=0.5, shift=-3.0),
              max(8 / BYTES_PER_NS, 40 / FMA_PER_NS), 1.0)
    origin = torch.tensor([[0.0, 0.0, -3.0]]).repeat(RAYS, 1)
    aim = torch.rand(RAYS, 3, generator=generator) * 1.6 - 0.8
    direction = torch.nn.functional.normalize(aim - origin, dim=1)
    box, cells = torch.tensor([-1.0, -1, -1, 1, 1, 1, 0]), torch.zeros(96, 96, 96, dtype=torch.uint8)
    step = 2.0 / PER_RAY

    def walk() -> Tensor:
        return march.sample(origin, direction, torch.full((RAYS,), 0.5), box, cells, near=0.05, far=100.0,
                            step=step).t

    found = Table.__new__(Table)
    found.samples = len(walk())
    found.row("samples on rays", walk, 16 / BYTES_PER_NS, 1.0)


def step(scene: Path) -> None:
    """Torch operations of a step of `dvgo` by what they take themselves, and all of them together."""
    import recon.data as data
    from recon.app import catalogue
    from recon.fit.loop import Fit

    capture = data.prepare(data.read(scene), size=(200, 200), memory=1 << 30, cache_dir=None)
    fit = Fit(capture, catalogue.load("dvgo", "fast"))
    while fit.step < 200:
        fit.advance()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        begin = time.perf_counter()  # the profiler measures what passes on the clock, too
        for _ in range(20):
            fit.advance()
        whole = time.perf_counter() - begin
    rows: list[Any] = sorted((e for e in profile.key_averages() if e.key.startswith("aten::")),
                             key=lambda e: -e.self_cpu_time_total)
    total = sum(e.self_cpu_time_total for e in rows) * 1e-6
    print(f"a step of {fit.problem.render.trace.num_samples} samples takes {whole / 20 * 1e3:.1f} ms; torch operations "
          f"{total / whole:.0%} of it:")
    for e in rows[:14]:
        print(f"  {e.key:32} {e.self_cpu_time_total / 20e3:6.2f} ms  {e.count / 20:5.1f} calls")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--step", type=Path, metavar="SCENE")
    args = parser.parse_args()
    torch.set_num_threads(1)
    native.set_threads(1)
    if args.step:
        step(args.step)
    else:
        kernels()


if __name__ == "__main__":
    main()
