"""Rates of the volume kernels on one thread, in nanoseconds per sample: python tests/bench/volume_bench.py

The last line is torch's matrix product, to compare the rate of the network's multiply-adds with.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from recon.ops import grid, march, mlp
from recon.ops.native import native


def best(run: Callable[[], object], repeats: int = 5) -> float:
    """Shortest time of a call in seconds."""
    run()
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        run()
        times.append(time.perf_counter() - begin)
    return min(times)


def main() -> None:
    torch.set_num_threads(1)
    native.set_threads(1)
    generator = torch.Generator().manual_seed(0)
    n = 60_000
    # Points along rays, as marching makes them: neighbours lie near each other.
    start, end = torch.rand(600, 1, 3, generator=generator), torch.rand(600, 1, 3, generator=generator)
    u = (start + (end - start) * torch.linspace(0, 1, 100)[None, :, None]).reshape(-1, 3).contiguous()

    def pair(name: str, make: Callable[[], torch.Tensor], work: float = 0.0) -> None:
        out = make()
        g = torch.ones_like(out)
        forward = best(make)
        both = best(lambda: make().backward(g))
        rate = f"  {work * n * 2e-9 / forward:6.1f} GFlop/s" if work else ""
        print(f"{name:24} forward {forward / n * 1e9:7.1f} ns   backward {(both - forward) / n * 1e9:7.1f} ns{rate}")

    density = torch.randn(126, 126, 126, 1, requires_grad=True)
    features = torch.randn(126, 126, 126, 12, requires_grad=True)
    pair("trilinear, 1 channel", lambda: grid.trilinear(density, u))
    pair("trilinear, 12 channels", lambda: grid.trilinear(features, u))
    planes, lines = torch.randn(3, 126, 126, 24, requires_grad=True), torch.randn(3, 126, 24, requires_grad=True)
    pair("vector-matrix, rank 24", lambda: grid.vector_matrix(planes, lines, u))
    table = torch.randn(8, 1 << 17, 4, requires_grad=True)
    nodes = [round(16 * 16 ** (i / 7)) for i in range(8)]
    pair("hash, 8 levels x 4", lambda: grid.hash_grid(table, nodes, u))
    for width in (64, 128):
        sizes = [39, width, width, 3]
        parameters = mlp.initial(sizes, generator).requires_grad_()
        x = torch.randn(n, 39, generator=generator, requires_grad=True)
        pair(f"network 39-{width}-{width}-3", lambda p=parameters, x=x, s=sizes: mlp.mlp(p, s, x, squash=True),
             work=float(mlp.parameter_count(sizes)))
    raw = torch.randn(n, requires_grad=True)
    offsets = torch.arange(0, n + 1, 100, dtype=torch.int32)
    t = torch.rand(n // 100, 100, generator=generator).sort(1).values.reshape(-1)
    index = torch.arange(0, n, 3, dtype=torch.int32)
    colour = torch.rand(len(index), 3, generator=generator)
    behind = torch.ones(3)
    pair("compositing",
         lambda: march.composite(raw, colour, t, offsets, index, behind, delta=0.5, shift=-3.0).rgb)
    a, b = torch.randn(6144, 128), torch.randn(128, 128)
    seconds = best(lambda: a @ b)
    print(f"torch matrix product     {2e-9 * 6144 * 128 * 128 / seconds:6.1f} GFlop/s")


if __name__ == "__main__":
    main()
