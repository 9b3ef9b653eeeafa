"""recon bench meshing: FlexiCubes against marching cubes and dual contouring on meshes whose surface is known."""

from __future__ import annotations

import ctypes
import gc
import json
import math
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import tyro

from recon.app import command_line
from recon.app.command_line import flag, option
from recon.errors import InputError


@dataclass(frozen=True)
class Arguments:
    """Mesh the exact signed distance of reference meshes on grids, and measure against the reference.

    Examples:
      recon bench meshing fandisk.obj rocker-arm.obj
      recon bench meshing meshes/ --sizes 64 --json > meshing.json

    Marching cubes; dual contouring (vertices where tangent planes meet, on the topology of dual marching cubes);
    FlexiCubes with its default weights; FlexiCubes fitted to the surface (values, grid and weights by Adam).

    Columns: share of the surface whose normal is off by more than 5 degrees; Chamfer distance; Chamfer distance of
    edges sharper than 30 degrees, and their F1 score at 5 (all lengths: longest side = 1000); triangles with an angle
    below 10 degrees; pairs of faces that cut each other; seconds of processor time; peak memory in MB beyond the grid's
    distances, which are computed before.
    """

    # meshes, or folders of them
    meshes: tyro.conf.Positional[Annotated[tuple[str, ...], option("MESH...")]]

    # points of the grid along a side
    sizes: Annotated[str, option("N,N", "32,64")] = "32,64"

    # optimisation steps of the fit
    steps: Annotated[int, option("N", "400")] = 400

    # print JSON
    json: Annotated[bool, flag()] = False


@dataclass(frozen=True)
class Row:
    """One mesher on one mesh at one size; measures as in ``recon.mesh.measure.Measures``."""

    mesh: str
    size: int
    mesher: str
    off_normals: float
    chamfer: float
    edge_chamfer: float
    edge_f1: float
    slivers: float
    cuts: int
    watertight: bool
    manifold: bool
    faces: int
    seconds: float
    megabytes: float


def run(argv: Sequence[str]) -> int:
    arguments = command_line.parse(Arguments, argv, prog="recon bench meshing")
    paths = _paths(arguments.meshes)
    sizes = _sizes(arguments.sizes)
    if not 1 <= arguments.steps <= 100_000:
        raise InputError(f"--steps {arguments.steps} is out of range", fix="Give 1 to 100000.")
    rows = []
    if not arguments.json:
        print(_heading())
    for path in paths:
        for row in measured(path, sizes, arguments.steps):
            rows.append(row)
            if not arguments.json:
                print(_line(row), flush=True)
    if arguments.json:
        print(json.dumps([asdict(r) for r in rows], indent=1))
        return 0
    if len(paths) > 1:
        for row in means(rows):
            print(_line(row))
    for size in sizes:
        seconds, faces, megabytes = step_costs(size)
        print(f"FlexiCubes forward and backward at {size}: {1e3 * seconds:.0f} ms of processor time for {faces:,} "
              f"faces, {megabytes:.0f} MB with its inputs")
    return 0


def step_costs(size: int, repeats: int = 5) -> tuple[float, int, float]:
    """Seconds (processor, median) of one differentiable extraction of a torus and its backward pass, on a grid of
    ``size`` points along a side with all weights; faces; and MB, inputs and gradients included."""
    import torch

    from recon.ops.flexicubes import WEIGHTS, flexicubes, grid_points

    spacing = 2.2 / (size - 1)
    place: dict[str, Any] = {"origin": (-1.1,) * 3, "spacing": (spacing,) * 3}
    with Peak() as peak:
        x, y, z = grid_points((size,) * 3, **place).unbind(-1)
        ring = (x * x + y * y).sqrt() - 0.6
        values = ((ring * ring + z * z).sqrt() - 0.25).contiguous().requires_grad_()
        del x, y, z, ring
        deformation = torch.zeros(size, size, size, 3, requires_grad=True)
        weights = torch.zeros((size - 1) ** 3, WEIGHTS, requires_grad=True)
        seconds, faces = [], 0
        for _ in range(repeats):
            start = time.process_time()
            found = flexicubes(values, **place, deformation=deformation, weights=weights)
            (found.vertices.square().sum() + found.deviation.sum()).backward()
            seconds.append(time.process_time() - start)
            faces = len(found.faces)
            values.grad = deformation.grad = weights.grad = None
    return sorted(seconds)[repeats // 2], faces, peak.bytes / 1e6


def _paths(given: Sequence[str]) -> list[Path]:
    if not given:
        raise InputError("no mesh given", fix="Name some: recon bench meshing fandisk.obj")
    paths: list[Path] = []
    for text in given:
        path = Path(text).expanduser()
        if not path.exists():
            raise InputError("does not exist", file=path)
        paths += sorted(p for p in path.iterdir() if p.suffix.lower() in (".obj", ".ply", ".stl")) \
            if path.is_dir() else [path]
    if not paths:
        raise InputError("holds no .obj, .ply or .stl", file=given[0])
    return paths


def _sizes(text: str) -> list[int]:
    sizes = [int(t) for t in text.split(",") if t.strip().isdigit()]
    if not sizes or len(sizes) != text.count(",") + 1 or not all(8 <= s <= 512 for s in sizes):
        raise InputError(f'--sizes "{text}" is not a list of sizes', fix="Give numbers from 8 to 512: 32,64,128")
    return sizes


def measured(path: Path, sizes: Sequence[int], steps: int) -> Iterator[Row]:
    """A row per size and mesher. Raises InputError for a file that holds no surface."""
    import torch

    from recon.export import read_mesh
    from recon.mesh import flexicubes, marching_cubes
    from recon.mesh.flexible_fit import FlexibleFit, fit_surface
    from recon.mesh.grid import Grid
    from recon.mesh.measure import Truth
    from recon.ops.flexicubes import flexicubes as extract
    from recon.types import Mesh

    mesh = read_mesh(path)
    if not len(mesh) or not mesh.area > 0:
        raise InputError("holds no surface", file=path)
    true = Truth(mesh)
    for size in sizes:
        grid = Grid.around(torch.full((3,), -0.95), torch.full((3,), 0.95), size - 3)
        values = grid.sample_distances(true.triangles.distance)

        def plain(grid: Any = grid, values: Any = values) -> Mesh:
            found = extract(values, origin=grid.origin, spacing=grid.steps, split="diagonal")
            return Mesh(found.vertices, found.faces)

        distance = true.triangles.distance
        meshers: dict[str, Callable[[], Mesh]] = {
            "marching cubes": partial(marching_cubes.mesh_distance, distance, grid, values),
            "dual contouring": partial(flexicubes.mesh_distance, distance, grid, values=values),
            "FlexiCubes, not fitted": plain,
            "FlexiCubes, fitted": partial(fit_surface, true.triangles, grid, values, FlexibleFit(steps=steps)),
        }
        for name, make in meshers.items():
            with Peak() as peak:
                start = time.process_time()
                found = make()
                seconds = time.process_time() - start
            m = asdict(true.measure(found))
            yield Row(path.stem, size, name, **m, seconds=seconds, megabytes=peak.bytes / 1e6)


def means(rows: Sequence[Row]) -> Iterator[Row]:
    """Per size and mesher; edges over the meshes that have some."""
    for size, name in dict.fromkeys((r.size, r.mesher) for r in rows):
        some = [r for r in rows if (r.size, r.mesher) == (size, name)]

        def mean(column: str, some: list[Row] = some) -> float:
            numbers = [v for r in some if not math.isnan(v := float(getattr(r, column)))]
            return sum(numbers) / len(numbers) if numbers else math.nan

        other = ("mesh", "size", "mesher", "watertight", "manifold", "cuts", "faces")
        numbers: dict[str, Any] = {f.name: mean(f.name) for f in fields(Row) if f.name not in other}
        yield Row("mean", size, name, **numbers, cuts=round(mean("cuts")), faces=round(mean("faces")),
                  watertight=all(r.watertight for r in some), manifold=all(r.manifold for r in some))


def _heading() -> str:
    return (f"{'mesh':<16}{'size':>4}  {'mesher':<24}{'normals':>8}{'chamfer':>9}{'edge ch.':>9}{'edge F1':>8}"
            f"{'slivers':>8}{'cuts':>6}{'closed':>8}{'faces':>10}{'seconds':>9}{'MB':>7}")


def _line(r: Row) -> str:
    closed = "yes" if r.watertight else "no" if r.manifold else "NOT 2D"
    return (f"{r.mesh[:15]:<16}{r.size:>4}  {r.mesher:<24}{r.off_normals:>8.1%}{r.chamfer:>9.3f}{r.edge_chamfer:>9.2f}"
            f"{r.edge_f1:>8.2f}{r.slivers:>8.1%}{r.cuts:>6}{closed:>8}{r.faces:>10,}{r.seconds:>9.2f}"
            f"{r.megabytes:>7.0f}")


class Peak:
    """``bytes``: how much the memory of this process grew at most within the block, looked at every 5 ms."""

    def __enter__(self) -> Peak:
        _give_back()
        self._start = self._highest = _resident()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._done.wait(0.005):
            self._highest = max(self._highest, _resident())

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        self.bytes = max(self._highest, _resident()) - self._start


def _give_back() -> None:
    """What was freed goes back to the system, where it can be told to: else it hides the need of what comes next."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    if trim is not None:
        trim(0)


def _resident() -> int:
    """Memory of this process in bytes."""
    import psutil

    return psutil.Process().memory_info().rss
