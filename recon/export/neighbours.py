"""A quick guess of the gap between points, for files that hold no sizes."""

from __future__ import annotations

import numpy as np


def neighbour_distance(points: np.ndarray) -> np.ndarray:
    """Points [n, 3] -> [n] float64 mean distance to about the three nearest others; 1 where there is only one point.

    Approximate: candidates are the eight neighbours along each of two Morton curves (the second one shifted by a third
    of the extent, so that points split by one curve meet on the other); the result is never too small.
    """
    x = points.astype(np.float64)
    n = len(x)
    if n < 2:
        return np.ones(n)
    low, extent = x.min(0), max(float(np.ptp(x, axis=0).max()), 1e-12)
    nearest = np.full((n, 3), np.inf)
    for shift in (0.0, 1 / 3):
        cells = ((x - low) / extent * 0.7 + shift * 0.8) * ((1 << 20) - 1)
        order = np.argsort(_morton(cells.astype(np.uint64)), kind="stable")
        for step in range(1, min(5, n)):
            a, b = order[:-step], order[step:]
            gap = np.linalg.norm(x[a] - x[b], axis=1)
            _keep_smallest(nearest, a, gap)
            _keep_smallest(nearest, b, gap)
    found = np.isfinite(nearest)
    return np.where(found, nearest, 0.0).sum(1) / np.maximum(found.sum(1), 1)


def _keep_smallest(nearest: np.ndarray, rows: np.ndarray, gap: np.ndarray) -> None:
    """Puts ``gap`` among the three smallest of its row; a gap seen on both curves counts once."""
    current = nearest[rows]
    gap = np.where((current == gap[:, None]).any(1), np.inf, gap)
    nearest[rows] = np.sort(np.concatenate([current, gap[:, None]], axis=1), axis=1)[:, :3]


def _morton(cells: np.ndarray) -> np.ndarray:
    """Cells [n, 3] of at most 21 bits -> [n] codes with the bits of x, y and z interleaved."""
    code = np.zeros(len(cells), np.uint64)
    for axis in range(3):
        v = cells[:, axis] & np.uint64(0x1FFFFF)
        for shift, mask in (
            (32, 0x1F00000000FFFF), (16, 0x1F0000FF0000FF), (8, 0x100F00F00F00F00F), (4, 0x10C30C30C30C30C3),
            (2, 0x1249249249249249),
        ):  # fmt: skip
            v = (v | (v << np.uint64(shift))) & np.uint64(mask)
        code |= v << np.uint64(axis)
    return code
