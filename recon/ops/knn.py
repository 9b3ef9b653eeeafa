"""Exact nearest neighbours among 3D points: by a k-d tree on the CPU, by all pairs on a GPU. Kernels: cuda/knn.

Splatting starts every Gaussian as wide as the distance to its three nearest others (Kerbl et al., arXiv 2308.04079).
Clusters, duplicates and far outliers cost nothing extra: the tree is balanced by count, not by space.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from recon.ops import cuda
from recon.ops.checks import expect_tensor, place_of
from recon.ops.native import native

MAX_NEIGHBOURS: int = native.max_neighbours


def _check(name: str, points: Tensor, k: int, on: torch.device) -> None:
    expect_tensor(name, points, torch.float32, ("n", 3), on=on)
    if on.type == "cpu" and not torch.isfinite(points).all():
        raise ValueError(f"{name} must be finite, got NaN or Inf in {int((~torch.isfinite(points)).any(1).sum())} rows")
    if not 1 <= k <= MAX_NEIGHBOURS:
        raise ValueError(f"k must be in [1, {MAX_NEIGHBOURS}], got {k}")


def nearest_squared(points: Tensor, k: int = 3) -> Tensor:
    """Squared distances [n, k] float32 from every point to its k nearest other points, ascending.

    points [n, 3] float32, finite. A point is no neighbour of itself, but a duplicate of it is (distance 0). Missing
    neighbours (n <= k) are infinite. On a GPU points are not checked to be finite. Not differentiable. Raises
    ValueError or TypeError naming the argument.
    """
    on = place_of(points)
    _check("points", points, k, on)
    squared, module = torch.empty(len(points), k, device=on), cuda.kernels_for(points)
    if module is None:
        native.nearest_others(points.detach(), squared)
    else:
        module.nearest_others(points.detach(), squared, cuda.stream(on))
    return squared


def nearest(query: Tensor, points: Tensor, k: int = 1) -> tuple[Tensor, Tensor]:
    """Squared distances [q, k] float32, ascending, and indices [q, k] int32 of the k points nearest to every query.

    query [q, 3], points [n, 3] float32, finite. Missing neighbours are (inf, -1); which of several points at the same
    distance is named is not defined, but always the same. Raises ValueError or TypeError naming the argument.
    """
    on = place_of(query)
    _check("query", query, k, on)
    _check("points", points, k, on)
    squared, module = torch.empty(len(query), k, device=on), cuda.kernels_for(query)
    index = torch.empty(len(query), k, dtype=torch.int32, device=on)
    if module is None:
        native.nearest(query.detach(), points.detach(), squared, index)
    else:
        module.nearest(query.detach(), points.detach(), squared, index, cuda.stream(on))
    return squared, index


def reference(points: Tensor, k: int = 3) -> Tensor:
    """``nearest_squared`` by all pairs, in double precision."""
    difference = points.double()[:, None] - points.double()[None]
    squared = difference.square().sum(-1).fill_diagonal_(torch.inf).sort(1).values[:, :k]
    return torch.nn.functional.pad(squared, (0, k - squared.shape[1]), value=torch.inf)


def examples() -> Iterator[dict[str, Any]]:
    """Keyword arguments of ``nearest_squared``: few points, duplicates, lines, clusters with a far outlier."""
    generator = torch.Generator().manual_seed(0)
    for n in (0, 1, 2, 3, 4, 7, 8, 9, 16, 17, 33, 700):
        points = torch.randn(n, 3, generator=generator)
        yield {"points": points}
        yield {"points": points, "k": 1}
        yield {"points": points, "k": 20}
        yield {"points": torch.full((n, 3), 0.3)}
        yield {"points": points * torch.tensor([1.0, 0.0, 0.0])}
        if n > 2:
            yield {"points": points[torch.randint(0, n // 2, (n,), generator=generator)], "k": 5}
            far = points * torch.exp(-8 * torch.rand(n, 1, generator=generator))
            far[0] = 1e6
            yield {"points": far}
