"""Rates of the volume kernels on one thread against a floor: python tests/bench/volume_bench.py [--step SCENE]

Nanoseconds of processor time per sample, forward and backward. A floor is what the machine itself would take, measured
in the same run (``ceilings.py``), so that other work on the machine slows both. It is the greater of

- memory: the cache lines that each ray needs of a table, each once, in the order of the rays, from where they really
  lie (read; for gradients read and written back; asked for ahead, nothing computed with them), and inputs and outputs
  as a stream; the two share the way to memory and are added;
- arithmetic: multiply-adds, exponentials, logarithms, divisions and running sums that the formulas cannot do without,
  at the rate of a loop that does nothing else. It can go on while memory is awaited, so it is not added;
- nodes: rows of neighbouring numbers that have to be read or added to one by one, since each point has others, at the
  rate where all lie in the nearest cache. It can go on as well.

"of stream" is the ratio to an older floor that takes every line for part of a stream at 23.5 GB/s, multiply-adds at 117
GFlop/s and some 40 operations for a sample's exponentials, and is the same on every machine.

With --step, a step of `dvgo` on a scene: which torch operations it contains and what share of it they take.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import torch
from ceilings import LINE, Ceilings, corners, dense, hashed, lines_of
from torch import Tensor

from recon.ops import grid, march, mlp
from recon.ops.native import native

FMA_PER_NS = 58.5  # of the older floor: 117 GFlop/s, one thread
BYTES_PER_NS = 23.5
RAYS, PER_RAY = 600, 100


def best(run: Callable[[], object], repeats: int = 9) -> float:
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


class Floor(NamedTuple):
    """Nanoseconds per sample: of this machine now, and the older one."""

    now: float
    stream: float


class Table:
    def __init__(self, samples: int) -> None:
        self.samples = samples
        side = f"{'floor':>8}{'ratio':>7}{'of stream':>11}"
        print(f"{'ns per sample':26}{'forward':>9}{side}{'backward':>11}{side}")

    def row(self, name: str, make: Callable[[], Tensor], floor: Callable[[], Floor],
            floor_back: Callable[[], Floor] | None = None, by: tuple[Tensor, ...] = ()) -> None:
        """``make`` computes the forward pass; floors are measured after it. by: what the gradient is asked for, where
        the kernel does not add it to a parameter's itself."""

        def timed(run: Callable[[], object], under: Callable[[], Floor]) -> str:
            ns, low = best(run) / self.samples * 1e9, under()
            return f"{ns:9.1f}{low.now:8.2f}{ns / low.now:7.1f}{ns / low.stream:11.1f}"

        line = f"{name:26}{timed(make, floor)}"
        if floor_back:
            out = make()
            g = torch.ones_like(out)
            line += "  " + timed(lambda: (torch.autograd.grad(out, by, g, retain_graph=True) if by
                                          else out.backward(g, retain_graph=True)), floor_back)
        print(line, flush=True)


def lookup(table: Table, ceilings: Ceilings, name: str, make: Callable[[], Tensor], parts: list[tuple[Tensor, Tensor]],
           fma: float, out_bytes: float, old_lines: float, nodes: tuple[float, int], *,
           read_back: bool = False) -> None:
    """A row of a lookup. parts: tensors and the lines of them that are needed; nodes: how many rows of how many numbers
    a point reads; ``read_back``: the backward pass reads the values, too."""
    n, stream = table.samples, 12 + out_bytes
    rows, numbers = nodes

    def floor(ns: float, old: float, nodes_ns: float) -> Floor:
        return Floor(max(ns / n + stream * ceilings.byte, fma * ceilings.fma, nodes_ns),
                     max((old * LINE + stream) / BYTES_PER_NS, fma / FMA_PER_NS))

    def visits(*, back: bool) -> float:
        reading = rows * ceilings.row(numbers)
        return reading if not back else rows * ceilings.row(numbers, add=True) + (reading if read_back else 0.0)

    def read() -> float:
        return sum(ceilings.lines(values.detach(), lines, write=False) for values, lines in parts)

    def written() -> float:
        gradients = [(values.grad, lines) for values, lines in parts]
        return sum(ceilings.lines(g, lines, write=True) for g, lines in gradients if g is not None)

    table.row(name, make, lambda: floor(read(), old_lines, visits(back=False)),
              lambda: floor(written() + (read() if read_back else 0.0), 2 * old_lines, visits(back=True)))


def lookups(table: Table, ceilings: Ceilings, u: Tensor) -> None:
    size, n = (126, 126, 126), table.samples

    def needed(values: Tensor, rows: Tensor, bytes_per_row: int) -> Tensor:
        return lines_of(rows, bytes_per_row, PER_RAY, values.data_ptr() % LINE)

    def counted(rows: Tensor, bytes_per_row: int) -> float:
        return len(lines_of(rows, bytes_per_row, PER_RAY)) / n

    for channels in (1, 12, 16):
        values = torch.randn(*size, channels, requires_grad=True)
        rows, width = dense(corners(u, size), size), 4 * channels
        lookup(table, ceilings, f"trilinear, {channels} channel{'s' * (channels > 1)}",
               partial(grid.trilinear, values, u), [(values, needed(values, rows, width))], 8 * channels, width,
               counted(rows, width), (4, 2 * channels))  # two nodes next to each other
    planes, factor = torch.randn(3, 126, 126, 24, requires_grad=True), torch.randn(3, 126, 24, requires_grad=True)
    across = [dense(corners(u[:, [(k + 1) % 3, (k + 2) % 3]], size[:2]), size[:2]) for k in range(3)]
    lines = torch.cat([needed(planes, rows + k * 126 * 126, 96) for k, rows in enumerate(across)])
    lookup(table, ceilings, "vector-matrix, rank 24", lambda: grid.vector_matrix(planes, factor, u), [(planes, lines)],
           3 * 24 * 8, 4 * 72, sum(counted(rows, 96) for rows in across), (9, 2 * 24), read_back=True)
    tensors(table, ceilings, u)
    count = 1 << 17
    slots = torch.randn(8, count, 4, requires_grad=True)
    sides = [round(16 * 16 ** (i / 7)) for i in range(8)]
    level_rows = [dense(corners(u, (s, s, s)), (s, s, s)) if s**3 <= count else hashed(corners(u, (s, s, s)), count)
                  for s in sides]
    lines = torch.cat([needed(slots, rows + level * count, 16) for level, rows in enumerate(level_rows)])
    # The older floor took a hash to scatter nodes over lines of their own; neighbours along x share one mostly.
    old = sum(counted(dense(corners(u, (s, s, s)), (s, s, s)), 16 if s**3 <= count else LINE) for s in sides)
    lookup(table, ceilings, "hash, 8 levels x 4", lambda: grid.hash_grid(slots, sides, u), [(slots, lines)], 8 * 32,
           128, old, (64, 4))


def tensors(table: Table, ceilings: Ceilings, u: Tensor) -> None:
    """Local tensors as in `strivec`: 8 along a side, cells as large as in the rows above, rank 16."""
    along, half, rank = 8, 0.625, 16
    nodes = round(126 * 2 * half / along) + 1
    numbers = torch.arange(along**3, dtype=torch.int32).view(along, along, along)
    vectors = torch.randn(along**3, 3, nodes, rank, requires_grad=True)
    held, rows = rows_of(u, along, half, nodes)
    width = 4 * rank
    lines = lines_of(rows, width, PER_RAY, vectors.data_ptr() % LINE)
    visited = float(held.sum()) / len(u)
    lookup(table, ceilings, "local tensors, rank 16", partial(grid.local_tensors, vectors, numbers, half, u),
           [(vectors, lines)], visited * 8 * rank, width, len(lines_of(rows, width, PER_RAY)) / len(u),
           (3 * visited, 2 * rank), read_back=True)


def rows_of(u: Tensor, along: int, half: float, nodes: int) -> tuple[Tensor, Tensor]:
    """Which of the (up to) eight tensors around points hold them [n, 8], and the two nodes that each needs of each of
    its three vectors [n, 48]; those of the first in place of a tensor that does not hold the point."""
    place = u * along
    own = place.long().clamp(0, along - 1)
    off = place - own - 0.5
    other = own + off.sign().long()
    near = (off.abs() > 1 - half) & (other >= 0) & (other < along)  # the neighbour reaches this far, too
    held, rows = [], []
    for corner in range(8):
        second = torch.tensor([bool(corner >> i & 1) for i in range(3)])
        held.append((near | ~second).all(1))
        site = torch.where(second, other, own).clamp(0, along - 1)
        inside = (place - site - 0.5 + half) / (2 * half)
        node = (inside.clamp(0, 1) * (nodes - 1)).long().clamp(max=nodes - 2)
        base = (dense(site, (along,) * 3)[:, None] * 3 + torch.arange(3)) * nodes + node
        rows.append(torch.cat([base, base + 1], dim=1))
    found = torch.stack(held, dim=1)
    every = torch.stack(rows, dim=1)
    return found, torch.where(found[..., None], every, every[:, :1]).flatten(1)


def kernels() -> None:
    generator, ceilings = torch.Generator().manual_seed(0), Ceilings()
    torch.empty(6 << 20)  # freed at once: from here on the allocator keeps what calls give back, as it does in a fit
    u = points(generator)
    print(f"one thread now: {2 / ceilings.fma:.0f} GFlop/s, {1 / ceilings.byte:.1f} GB/s in a row; ns per number: "
          f"exp {ceilings.exp:.2f}, log {ceilings.log:.2f}, division {ceilings.divide:.2f}, "
          f"running sum {ceilings.scan:.2f}")
    table = Table(len(u))
    marching(table, ceilings, generator)
    lookups(table, ceilings, u)
    networks(table, ceilings, len(u), generator)
    a, b = torch.randn(6144, 128), torch.randn(128, 128)
    seconds = best(lambda: a @ b)
    print(f"torch's matrix product, 128 wide: {2e-9 * 6144 * 128 * 128 / seconds:.1f} GFlop/s")


def networks(table: Table, ceilings: Ceilings, n: int, generator: torch.Generator) -> None:
    """The multiply-adds of the products, three times as many backward (the hidden layers are computed again)."""

    def floor(fma: float) -> Floor:
        return Floor(fma * ceilings.fma, fma / FMA_PER_NS)

    for sizes in ([39, 64, 3], [39, 64, 64, 3], [39, 128, 128, 3]):
        parameters = mlp.initial(sizes, generator).requires_grad_()
        x = torch.randn(n, sizes[0], generator=generator, requires_grad=True)
        fma = float(sum(a * b for a, b in pairwise(sizes)))
        table.row("network " + "-".join(map(str, sizes)),
                  partial(mlp.mlp, parameters, sizes, x, squash=True), partial(floor, fma), partial(floor, 3 * fma),
                  (parameters, x))


def marching(table: Table, ceilings: Ceilings, generator: torch.Generator) -> None:
    n, c = table.samples, ceilings
    raw = torch.randn(n, generator=generator).requires_grad_()
    offsets = torch.arange(0, n + 1, PER_RAY, dtype=torch.int32)
    t = torch.rand(RAYS, PER_RAY, generator=generator).sort(1).values.reshape(-1)
    index = torch.arange(0, n, 3, dtype=torch.int32)
    colour = torch.rand(len(index), 3, generator=generator)

    def floor(bytes_of: float, operations: float, old_operations: float = 40) -> Floor:
        return Floor(max(bytes_of * c.byte, operations), max(bytes_of / BYTES_PER_NS, old_operations / FMA_PER_NS))

    # softplus is an exponential and a logarithm (its slope a division), opacity an exponential, the distance of the
    # distortion a division; transmittance, weights and weighted distances before a sample are running sums.
    opacity = 2 * c.exp + c.log
    table.row("compositing", lambda: march.composite(raw, colour, t, offsets, index, torch.ones(3), delta=0.5,
                                                     shift=-3.0).rgb,
              lambda: floor(14, opacity + c.divide + 3 * c.scan + 20 * c.fma),
              lambda: floor(22, opacity + c.divide + 2 * c.scan + 20 * c.fma, 60), (raw,))
    table.row("weights", lambda: march.weights(raw, offsets, delta=0.5, shift=-3.0),
              lambda: floor(8, opacity + c.scan + 8 * c.fma))
    sampling(ceilings, generator)


def sampling(ceilings: Ceilings, generator: torch.Generator) -> None:
    """Samples on rays where all is occupied, per sample, and through a thin sphere in empty space, per ray."""
    origin = torch.tensor([[0.0, 0.0, -3.0]]).repeat(RAYS, 1)
    aim = torch.rand(RAYS, 3, generator=generator) * 1.6 - 0.8
    direction = torch.nn.functional.normalize(aim - origin, dim=1)
    box, step = torch.tensor([-1.0, -1, -1, 1, 1, 1, 0]), 2.0 / PER_RAY

    def walk(cells: Tensor) -> march.Samples:
        return march.sample(origin, direction, torch.full((RAYS,), 0.5), box, cells, near=0.05, far=100.0, step=step)

    def floor(cells: Tensor, samples: int) -> float:
        """Nanoseconds in all. A look at a cell is a distance, three positions and scalings, which cell that is (inside
        0..1) and the test; a sample is three positions held inside, 16 bytes."""
        looks, lines = looked_at(origin, direction, cells, step)
        memory = ceilings.lines(cells, lines, write=False) + 16 * samples * ceilings.byte
        return max(memory, (19 * looks + 6 * samples) * ceilings.fma, looks * (ceilings.row(1) + ceilings.choose))

    full = torch.zeros(96, 96, 96, dtype=torch.uint8)
    samples = len(walk(full).t)
    ns, low = best(lambda: walk(full)) * 1e9, floor(full, samples)
    old = 16 / BYTES_PER_NS
    print(f"{'samples on rays':26}{ns / samples:9.1f}{low / samples:8.2f}{ns / low:7.1f}{ns / samples / old:11.1f}")
    # A thin sphere: most of the way is empty.
    at = torch.linspace(-1, 1, 96)
    radius = (at[:, None, None].square() + at[:, None].square() + at.square()).sqrt()
    cells = march.distances((radius - 0.7).abs() < 0.03)
    samples = len(walk(cells).t)
    ns, low = best(lambda: walk(cells)) * 1e9, floor(cells, samples)
    print(f"samples on rays through a thin sphere, {samples / RAYS:.1f} on each: {ns / RAYS:.0f} ns per ray, floor "
          f"{low / RAYS:.0f}, ratio {ns / low:.1f}")


def looked_at(origin: Tensor, direction: Tensor, cells: Tensor, step: float) -> tuple[int, Tensor]:
    """How many cells rays through the box -1..1 have to look at, where each empty one says how far the next may be, and
    the cache lines that hold them, each once for a ray."""
    size = torch.tensor(cells.shape)
    crossings = torch.stack([(-1 - origin) / direction, (1 - origin) / direction])
    t = crossings.amin(0).amax(1).clamp_min(0.05) + 0.5 * step
    end = crossings.amax(0).amin(1)
    reach = (2 / (size * direction.abs())).amin(1)  # of the way through a cell
    found, looks = [], 0
    while bool((t < end).any()):
        on = (t < end).nonzero().squeeze(1)
        unit = (origin[on] + t[on, None] * direction[on] + 1) / 2
        x, y, z = ((unit * size).long().clamp_min(0).minimum(size - 1)).unbind(1)
        away = cells[x, y, z]
        t[on] += step * ((away.float() - 1) * reach[on] / step).floor().clamp_min(1)
        found.append(on * (cells.numel() // LINE + 2)
                     + (dense(torch.stack([x, y, z], 1), tuple(cells.shape)) + cells.data_ptr() % LINE) // LINE)
        looks += len(on)
    return looks, torch.cat(found).unique() % (cells.numel() // LINE + 2)


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
