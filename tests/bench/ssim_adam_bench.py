"""Time of the loss, of Adam and of the nearest-neighbour search: python tests/bench/ssim_adam_bench.py

Prints the fastest and the median of many calls, for every instruction set that is built. Beside Adam stands a plain
copy of as many bytes as it moves at least: it is bound by memory, so that ratio, not the time, is to be compared
between machines.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch

from recon.ops import native as loader

WIDTHS = (3, 3, 4, 1, 3, 45)  # means, scales, rotations, opacity, colour, spherical harmonics: 59 numbers


def milliseconds(call: Callable[[], object], repeats: int) -> tuple[float, float]:
    call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times) * 1e3, sorted(times)[repeats // 2] * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=60)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--gaussians", type=int, default=60_000)
    args = parser.parse_args()
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    n = args.gaussians
    state = [[random(n, w) for w in WIDTHS] for _ in range(3)]
    params, grads, ms, vs = *state, [m * m for m in state[2]]
    half = (torch.rand(n, generator=generator) < 0.5).to(torch.uint8)
    tenth = (torch.rand(n, generator=generator) < 0.1).to(torch.uint8)
    points, squared = random(200_000, 3), torch.empty(200_000, 3)
    source = torch.zeros(n * sum(WIDTHS) * 7 // 2)
    copy = torch.empty_like(source)

    print(f"{'':44}{'threads':>8}{'min ms':>9}{'median':>9}")
    for isa in loader.supported():
        try:
            kernels = loader.load(isa)
        except ImportError:
            continue
        for threads in args.threads:
            kernels.set_threads(threads)
            torch.set_num_threads(threads)

            def report(name: str, call: Callable[[], object], repeats: int = args.repeats, isa: str = isa,
                       threads: int = threads) -> None:
                fastest, median = milliseconds(call, repeats)
                print(f"{isa:8}{name:36}{threads:8}{fastest:9.3f}{median:9.3f}", flush=True)

            for height, width in ((270, 480), (540, 960)):
                image = torch.rand(3, height, width, generator=generator)
                target = (torch.rand(3, height, width, generator=generator) * 255).to(torch.uint8)
                mask = (torch.rand(height, width, generator=generator) < 0.7).to(torch.uint8)
                gradient = torch.empty_like(image)
                size = f"{height}x{width}"
                report(f"loss and gradient {size}", lambda: kernels.photometric(image, target, None, gradient))  # noqa: B023
                report(f"  with a mask {size}", lambda: kernels.photometric(image, target, mask, gradient))  # noqa: B023
                report(f"  value only {size}", lambda: kernels.photometric(image, target))  # noqa: B023

            def adam(mask: torch.Tensor | None = None) -> None:
                kernels.adam_many(params, grads, ms, vs, [1e-6] * 6, [None] * 6, 100, mask=mask)  # noqa: B023

            report(f"Adam {n} x {sum(WIDTHS)}", adam)
            report("  half of the rows", lambda: adam(half))
            report("  a tenth of the rows", lambda: adam(tenth))
            report("  copy of as many bytes", lambda: copy.copy_(source))
            report("3 nearest of 200000 points", lambda: kernels.nearest_others(points, squared), 5)  # noqa: B023


if __name__ == "__main__":
    main()
