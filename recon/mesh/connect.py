"""How the faces of a mesh hang together: edges, connected parts, fans around vertices. All of it in numpy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Edges:
    """The undirected edges of faces [f, 3].

    ends [e, 2]        the smaller vertex first
    of_side [3 f]      the edge of each side; side 3 f + k runs from corner k to corner k + 1 of face f
    count [e]          sides on each edge: 1 on a border, 2 within a surface, more where it is not manifold
    forward [e]        sides that run from ends[0] to ends[1]
    """

    ends: np.ndarray
    of_side: np.ndarray
    count: np.ndarray
    forward: np.ndarray


def find_edges(faces: np.ndarray) -> Edges:
    """Edges of faces [f, 3]."""
    faces = faces.astype(np.int64)
    sides = np.stack([faces, np.roll(faces, -1, axis=1)], axis=2).reshape(-1, 2)
    low, high = sides.min(1), sides.max(1)
    stride = int(faces.max()) + 1 if len(faces) else 1
    keys, of_side, count = np.unique(low * stride + high, return_inverse=True, return_counts=True)
    of_side = of_side.reshape(-1)
    forward = np.bincount(of_side, weights=sides[:, 0] == low, minlength=len(keys)).astype(np.int64)
    return Edges(np.stack([keys // stride, keys % stride], axis=1), of_side, count, forward)


def label(nodes: int, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Connected parts of a graph with links a[i]-b[i]: for every node the smallest node of its part, [nodes]."""
    root = np.arange(nodes)
    while len(a):
        low, high = np.minimum(root[a], root[b]), np.maximum(root[a], root[b])
        apart = low != high
        if not apart.any():
            break
        a, b, low, high = a[apart], b[apart], low[apart], high[apart]
        np.minimum.at(root, high, low)
        while True:
            further = root[root]
            if np.array_equal(further, root):
                break
            root = further
    return root


def side_pairs(edges: Edges) -> tuple[np.ndarray, np.ndarray]:
    """Sides that meet at edges of exactly two faces: two arrays, one entry per such edge."""
    order = np.argsort(edges.of_side, kind="stable")
    start = np.cumsum(edges.count) - edges.count
    inner = start[edges.count == 2]
    return order[inner], order[inner + 1]


def face_parts(faces: np.ndarray) -> np.ndarray:
    """For each face the number of its part, 0 for the one with most faces; parts hang together by vertices."""
    if not len(faces):
        return np.zeros(0, np.int64)
    n = int(faces.max()) + 1
    root = label(n, np.concatenate([faces[:, 0], faces[:, 0]]), np.concatenate([faces[:, 1], faces[:, 2]]))
    _, part, count = np.unique(root[faces[:, 0]], return_inverse=True, return_counts=True)
    rank = np.empty(len(count), np.int64)
    rank[np.argsort(-count, kind="stable")] = np.arange(len(count))
    return rank[part.reshape(-1)]


def wedge_pairs(points: np.ndarray, faces: np.ndarray, edges: Edges) -> tuple[np.ndarray, np.ndarray]:
    """Sides that meet at edges of more than two faces and bound the same solid there: as ``side_pairs``.

    points [v, 3]. Turning around an edge, a solid begins at a face that runs backward along it and ends at one that
    runs forward; faces that do not follow each other so belong to no pair.
    """
    order = np.argsort(edges.of_side, kind="stable")
    start = np.cumsum(edges.count) - edges.count
    flat = faces.reshape(-1)
    first, second = [], []
    for edge in np.flatnonzero(edges.count > 2):
        sides = order[start[edge]:start[edge] + edges.count[edge]]
        a, b = points[edges.ends[edge]]
        axis = (b - a) / max(np.linalg.norm(b - a), 1e-30)
        out = points[flat[sides - sides % 3 + (sides + 2) % 3]] - a
        across = out[0] - (out[0] @ axis) * axis
        turn = np.arctan2(out @ np.cross(axis, across), out @ across)
        sides = sides[np.argsort(turn, kind="stable")]
        forward = flat[sides] == edges.ends[edge, 0]
        solid = ~forward & np.roll(forward, -1)
        first.append(sides[solid])
        second.append(np.roll(sides, -1)[solid])
    none = np.zeros(0, np.int64)
    return np.concatenate([none, *first]), np.concatenate([none, *second])


def corner_fans(faces: np.ndarray, edges: Edges, more: tuple[np.ndarray, np.ndarray] | None = None) -> np.ndarray:
    """For each corner [3 f] the fan it belongs to: corners of one vertex that hang together across inner edges, and
    across the pairs of sides ``more``."""
    first, second = side_pairs(edges)
    if more is not None:
        first, second = np.concatenate([first, more[0]]), np.concatenate([second, more[1]])
    flat = faces.reshape(-1)

    def ends(side: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return side, side - side % 3 + (side + 1) % 3

    (a0, a1), (b0, b1) = ends(first), ends(second)
    same = flat[a0] == flat[b0]  # sides that run the same way: faces wound against each other
    return label(len(flat), np.concatenate([a0, a1]),
                 np.concatenate([np.where(same, b0, b1), np.where(same, b1, b0)]))
