"""The ceilings of this machine, by ``ceilings.cpp`` as a library, and the cache lines that lookups need."""

from __future__ import annotations

import ctypes
import subprocess
import tempfile
from functools import cache, cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

LINE = 64


@cache
def _library() -> ctypes.CDLL:
    """Built once in a process, however often it is measured."""
    source = Path(__file__).with_name("ceilings.cpp")
    with tempfile.TemporaryDirectory() as folder:
        built = f"{folder}/ceilings.so"
        subprocess.run(["g++", "-O3", "-march=native", "-fopenmp", "-shared", "-fPIC", str(source), "-o", built],
                       check=True)
        return ctypes.CDLL(built)


class Ceilings:
    """Nanoseconds on one thread, measured when asked for first: what is measured beside them suffers alike from other
    work on the machine."""

    def __init__(self) -> None:
        self._library = _library()
        self._rows: dict[tuple[int, bool], float] = {}

    def _measure(self, name: str) -> float:
        function = getattr(self._library, f"ceiling_{name}")
        function.restype = ctypes.c_double
        return float(function())

    @cached_property
    def fma(self) -> float:
        """A multiply-add."""
        return self._measure("fma")

    @cached_property
    def byte(self) -> float:
        """A byte that is read or written in a row."""
        return self._measure("stream")

    @cached_property
    def exp(self) -> float:
        """An exponential."""
        return self._measure("exp")

    @cached_property
    def log(self) -> float:
        """A logarithm."""
        return self._measure("log")

    @cached_property
    def divide(self) -> float:
        """A division."""
        return self._measure("divide")

    @cached_property
    def scan(self) -> float:
        """A number of a running sum."""
        return self._measure("scan")

    @cached_property
    def choose(self) -> float:
        """A number that is kept or left out."""
        return self._measure("choose")

    def row(self, numbers: int, *, add: bool = False) -> float:
        """A row of neighbouring numbers anywhere in the nearest cache, multiplied and added up (or added to), by the
        widest reads that fill it: 16, 8, 4, 2 or 1 numbers."""
        function = self._library.ceiling_row
        function.restype = ctypes.c_double
        total, left = 0.0, numbers
        for width in (16, 8, 4, 2, 1):
            count, left = divmod(left, width)
            if count and (width, add) not in self._rows:
                self._rows[width, add] = float(function(ctypes.c_int(width), ctypes.c_int(add)))
            total += count * self._rows.get((width, add), 0.0)
        return total

    def composite(self, *, backward: bool) -> float:
        """Compositing a Gaussian at a pixel, or its gradient, where all of it lies in the nearest cache."""
        function = self._library.ceiling_composite
        function.restype = ctypes.c_double
        return float(function(ctypes.c_int(backward)))

    def lists(self, count: int, entries: int, tiles: int) -> float:
        """Sorting ``count`` Gaussians by depth and putting them into the lists of ``tiles``; in all, not each."""
        function = self._library.ceiling_lists
        function.restype = ctypes.c_double
        return float(function(ctypes.c_int64(count), ctypes.c_int64(entries), ctypes.c_int64(tiles)))

    def lines(self, memory: Tensor, lines: Tensor, *, write: bool) -> float:
        """All of ``lines`` of ``memory`` one after another, read (and written), nothing else done; in all, not each."""
        base = memory.data_ptr() // LINE * LINE
        which = lines.to(torch.int32).contiguous()
        function = self._library.ceiling_lines
        function.restype = ctypes.c_double
        each = function(ctypes.c_void_p(base), ctypes.c_void_p(which.data_ptr()), ctypes.c_int64(len(which)),
                        ctypes.c_int(write))
        return float(each) * len(which)


def corners(u: Tensor, size: tuple[int, ...]) -> Tensor:
    """[n, 2^d, d] nodes around points u [n, d] in 0..1 of a grid of ``size`` nodes."""
    most = torch.tensor(size) - 1
    low = (u * most).long().clamp(min=0).minimum(most - 1)
    d = len(size)
    bits = torch.tensor([[k >> axis & 1 for axis in range(d)] for k in range(1 << d)])
    return low[:, None] + bits


def dense(node: Tensor, size: tuple[int, ...]) -> Tensor:
    """Numbers of nodes [n, k, d] of a grid whose last axis is the nearest in memory."""
    out = torch.zeros_like(node[..., 0])
    for axis, n in enumerate(size):
        out = out * n + node[..., axis]
    return out


def hashed(node: Tensor, slots: int) -> Tensor:
    """Slots of nodes [n, k, 3] of a hash grid (slot_of in cuda/grid/grid.h)."""
    x, y, z = node.unbind(-1)
    return (x ^ (y * 2654435761 & 0xFFFFFFFF) ^ (z * 805459861 & 0xFFFFFFFF)) & (slots - 1)


def lines_of(rows: Tensor, bytes_per_row: int, per_ray: int, offset: int = 0) -> Tensor:
    """Cache lines that rays need, each once per ray, as a ray meets them: rows [n, k] of a table that begins ``offset``
    bytes behind the start of a line; ``per_ray`` neighbours of the n are one ray."""
    first = (rows * bytes_per_row + offset) // LINE
    last = (rows * bytes_per_row + offset + bytes_per_row - 1) // LINE
    all_lines = torch.stack([torch.minimum(first + i, last) for i in range(int((last - first).max()) + 1)], dim=2)
    found = []
    for ray in all_lines.view(len(rows) // per_ray, -1).numpy():
        _, at = np.unique(ray, return_index=True)
        found.append(ray[np.sort(at)])
    return torch.from_numpy(np.concatenate(found))
