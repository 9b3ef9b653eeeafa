"""Marching cubes: the triangles of the surface between values < 0 and >= 0 on a grid. Kernels: cuda/iso.

Source: Lorensen and Cline, "Marching Cubes: A High Resolution 3D Surface Construction Algorithm", SIGGRAPH 1987.
Differences: the table follows from a rule that keeps inside corners apart on ambiguous faces from both sides, so the
mesh is closed and manifold for every sign pattern (cuda/iso/tables.h).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from recon.ops.checks import expect_tensor, place_of
from recon.ops.flexicubes import _check_grid, _numbers
from recon.ops.flexicubes_cuda import kernels_of
from recon.types.placement import sent


def marching_cubes(
    values: Tensor, *, origin: Sequence[float] = (0.0, 0.0, 0.0), spacing: Sequence[float] = (1.0, 1.0, 1.0),
    known: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Vertices [v, 3] and faces [f, 3] int32, counter-clockwise as seen from outside.

    values   [nz, ny, nx] float32 or float64, finite, negative inside; x is the last axis
    origin   x, y, z of the first grid point; ``spacing`` the distance of neighbours along x, y, z
    known    [nz, ny, nx] uint8 0 or 1: cubes with an unknown corner are left out, and the mesh is open there

    The vertices are differentiable in ``values``. On a GPU values are not checked to be finite, and the host waits for
    the numbers of vertices and faces. Raises ValueError or TypeError naming the argument.
    """
    _check_grid(values)
    if known is not None:
        expect_tensor("known", known, torch.uint8, tuple(values.shape), on=place_of(values))
    start, step = _numbers("origin", origin), _numbers("spacing", spacing)
    edges, faces = kernels_of(values).marching_cubes(values.detach(), known)
    return edge_crossings(values, edges, start, step)[0], faces


def marching_cubes_edges(values: Tensor, *, known: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The topology alone: the grid edge of each vertex, 3 * point + axis, [v] int64 ascending, and faces [f, 3]."""
    _check_grid(values)
    if known is not None:
        expect_tensor("known", known, torch.uint8, tuple(values.shape), on=place_of(values))
    edges, faces = kernels_of(values).marching_cubes(values.detach(), known)
    return edges, faces


def edge_crossings(values: Tensor, edges: Tensor, origin: Sequence[float], spacing: Sequence[float]
                   ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Where the values cross zero on grid edges: positions [v, 3], start points [v], end points [v], share [v]."""
    _, ny, nx = values.shape
    point, axis = edges // 3, edges % 3
    other = point + sent(torch.tensor([1, nx, nx * ny]), values.device)[axis]
    flat = values.reshape(-1)
    a, b = flat[point], flat[other]
    t = a / (a - b)
    index = torch.stack([point % nx, point // nx % ny, point // (nx * ny)], dim=1).to(values.dtype)
    moved = index + t[:, None] * torch.nn.functional.one_hot(axis, 3).to(values.dtype)
    start, step = (sent(torch.tensor(list(x), dtype=values.dtype), values.device) for x in (origin, spacing))
    return start + step * moved, point, other, t


def reference(values: Tensor, **options: Any) -> tuple[Tensor, Tensor]:
    """Crossing points alone, in plain torch: sorted by grid edge like the vertices of ``marching_cubes``; no faces."""
    inside = values.detach() < 0
    found = []
    flat = torch.arange(values.numel()).reshape(values.shape)
    for axis in range(3):
        d = 2 - axis
        n = values.shape[d] - 1
        changed = inside.narrow(d, 0, n) != inside.narrow(d, 1, n)
        found.append(3 * flat.narrow(d, 0, n)[changed] + axis)
    edges = torch.cat(found).sort().values
    place = (options.get("origin", (0.0,) * 3), options.get("spacing", (1.0,) * 3))
    return edge_crossings(values, edges, *place)[0], torch.empty(0, 3, dtype=torch.int32)


def examples(dtype: torch.dtype = torch.float32) -> Iterator[dict[str, Any]]:
    """Keyword arguments of ``marching_cubes``."""
    generator = torch.Generator().manual_seed(1)
    for shape in ((2, 2, 2), (3, 4, 5), (9, 8, 7), (6, 3, 17)):
        values = torch.randn(*shape, generator=generator, dtype=dtype)
        yield {"values": values}
        yield {"values": values, "origin": (-1.0, 0.5, 2.0), "spacing": (0.5, 0.25, 1.5)}
    yield {"values": torch.ones(2, 2, 2, dtype=dtype)}
