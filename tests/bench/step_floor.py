"""A training step of splatting against its floor: what the same work costs at the ceilings of this machine.

    python tests/bench/step_floor.py RUN [--size 270x480] [--gaussians 60000] [--rounds 3]

Counts are those of a run's Gaussians in its first view; ceilings (``ceilings.cpp``, which shares no code with the
kernels) and kernels are measured in turns on one thread, in processor time, and the shortest of each counts. The floor
of a phase is the greater of its arithmetic and its memory, which can go on at once:

  project             59 numbers read, 12 written; 600 multiply-adds
  lists and picture   three passes over depths and a scatter into tiles; compositing, every lane of it of use
  loss                seven maps of three channels, 11 taps both ways
  composite backward  compositing again with nine sums a Gaussian
  update              59 numbers with two moments read and written; three times the multiply-adds of ``project``
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

from ceilings import Ceilings

from recon.app import benchmark, machine, sizes
from recon.app.api import load
from recon.ops.splat import Projection

NUMBERS, RECORD, MULTIPLY_ADDS = 59, 12, 600  # of a Gaussian with harmonics of degree 3
TAPS = 7 * 3 * 2 * 11  # of a pixel


def shortest_ms(call: Callable[[], Any], repeats: int = 15) -> float:
    """Processor time: right beside other work."""
    best = float("inf")
    for _ in range(repeats):
        begin = time.process_time()
        call()
        best = min(best, time.process_time() - begin)
    return best * 1e3


def floor_ms(work: benchmark.Work, machine_: Ceilings, tiles: int) -> dict[str, float]:
    """Milliseconds of each phase of ``benchmark.step_ms`` at the ceilings."""
    lanes = work.pixels * work.lanes_per_pixel

    def greater(count: int, bytes_each: int, multiply_adds: int) -> float:
        return count * max(bytes_each * machine_.byte, multiply_adds * machine_.fma)

    phases = {
        "project": greater(work.gaussians, 4 * (NUMBERS + RECORD), MULTIPLY_ADDS),
        "bin and composite": machine_.lists(work.visible, work.tile_entries, tiles)
        + lanes * machine_.composite(backward=False),
        "loss and its gradient": greater(work.pixels, 3 * 4 * (2 + 1), TAPS),
        "composite backward": lanes * machine_.composite(backward=True),
        "project backward and Adam": greater(work.visible, 4 * NUMBERS * 3 * 2, 3 * MULTIPLY_ADDS),
    }
    return {name: ns * 1e-6 for name, ns in phases.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--size")
    parser.add_argument("--gaussians", type=int)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    machine.use_threads(1)
    scene = load(arguments.run)
    camera = scene.cameras[0]
    if arguments.size:
        camera = camera.scaled(*sizes.parse_resolution(arguments.size, "--size"))
    rows = benchmark.rows_of(scene.gaussians, arguments.gaussians)
    settings = Projection(scene.gaussians.sh_degree, scene.gaussians.antialiased, near=1e-3)
    work = benchmark.work_of(rows, camera, settings)
    tiles = -(-camera.width // 32) * -(-camera.height // 32)
    floor: dict[str, float] = {}
    step: dict[str, float] = {}
    for _ in range(arguments.rounds):
        for best, now in ((floor, floor_ms(work, Ceilings(), tiles)),
                          (step, benchmark.step_ms(rows, camera, settings, shortest_ms))):
            best |= {name: min(ms, best.get(name, ms)) for name, ms in now.items() if name != "whole step"}
    print(f"{work.gaussians:,} Gaussians, {work.visible:,} visible, {work.tile_entries:,} tile entries, "
          f"{work.lanes_per_pixel:.0f} lanes per pixel, {camera.width}x{camera.height}, {machine.isa()}")
    print(f"{'milliseconds, one thread':<28}{'floor':>8}{'step':>8}{'ratio':>8}")
    for name, ms in [*step.items(), ("whole step", sum(step.values()))]:
        least = floor.get(name, sum(floor.values()))
        print(f"{name:<28}{least:>8.2f}{ms:>8.2f}{ms / least:>8.2f}")


if __name__ == "__main__":
    main()
