"""Holes of a mesh are closed with the triangles of least area between their border's vertices.

Source: Barequet and Sharir, "Filling gaps in the boundary of a polyhedron", Computer Aided Geometric Design 1995.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch

from recon.mesh.connect import Edges, find_edges
from recon.types import Mesh

_MOST = 400  # edges of a loop that is looked at: time grows with their cube, about a second here


def fill_holes(mesh: Mesh, longest: int = 100) -> tuple[Mesh, int]:
    """Closes holes of no more area than a round one of ``longest`` edges; returns the mesh and how many they were.

    Slits have more edges than round holes of their area. The mesh must be manifold and consistently wound, and stays
    so; there are no new vertices. A textured mesh is left as it is, for there is no texture for what no photo saw.
    """
    if mesh.uvs is not None:
        return mesh, 0
    faces = mesh.faces.numpy().astype(np.int64)
    edges = find_edges(faces)
    points = mesh.vertices.double().numpy()
    loops = [loop for loop in _border_loops(faces, edges) if len(loop) <= _MOST]
    filled = []
    for loop, joined in zip(loops, _joined(loops, edges, len(points))):
        same = (points[loop][:, None] == points[loop]).all(2)  # sheets that touch there; a face between has no area
        triangles, area = least_area(points[loop], joined | same)
        side = np.linalg.norm(points[loop] - points[np.roll(loop, 1)], axis=1).mean()
        if area <= (longest * side) ** 2 / (4 * math.pi):
            filled.append(loop[triangles])
    if not filled:
        return mesh, 0
    more = torch.from_numpy(np.concatenate(filled).astype(np.int32))
    return replace(mesh, faces=torch.cat([mesh.faces, more])), len(filled)


def _border_loops(faces: np.ndarray, edges: Edges) -> list[np.ndarray]:
    """Vertices along each closed border, so that faces between them are wound as those around."""
    sides = np.flatnonzero(edges.count[edges.of_side] == 1)
    start, end = faces.reshape(-1)[sides], faces.reshape(-1)[sides - sides % 3 + (sides + 1) % 3]
    if len(np.unique(start)) != len(start):  # sheets touch; part_sheets comes first
        return []
    follow = dict(zip(end.tolist(), start.tolist()))  # round the hole the other way
    loops = []
    while follow:
        first, at = next(iter(follow.items()))
        loop = [first]
        del follow[first]
        while at != first and at in follow:
            loop.append(at)
            at = follow.pop(at)
        if at == first and len(loop) >= 3:
            loops.append(np.array(loop))
    return loops


def _joined(loops: list[np.ndarray], edges: Edges, vertices: int) -> Iterator[np.ndarray]:
    """For each loop [n, n] bool: its vertices that an edge joins already. One more would be an edge of three faces."""
    loop_of, place = np.full(vertices, -1), np.zeros(vertices, np.int64)
    for number, loop in enumerate(loops):
        loop_of[loop], place[loop] = number, np.arange(len(loop))
    a, b = edges.ends.T
    a, b = (side[(loop_of[a] >= 0) & (loop_of[a] == loop_of[b])] for side in (a, b))
    for number, loop in enumerate(loops):
        within = loop_of[a] == number
        joined = np.zeros((len(loop),) * 2, bool)
        joined[place[a[within]], place[b[within]]] = joined[place[b[within]], place[a[within]]] = True
        yield joined


def least_area(x: np.ndarray, barred: np.ndarray) -> tuple[np.ndarray, float]:
    """Triangles [n - 2, 3] between the corners x [n, 3] of a polygon, and their area: the least of all ways without a
    diagonal that is ``barred`` [n, n]; infinite where there is none."""
    n = len(x)
    cost = np.zeros((n, n))  # of the polygon from corner i on to corner j
    middle = np.zeros((n, n), np.int64)
    for gap in range(2, n):
        first = np.arange(n - gap)
        last = first + gap
        i, j = first[:, None], last[:, None]
        k = i + np.arange(1, gap)
        area = 0.5 * np.linalg.norm(np.cross(x[k] - x[i], x[j] - x[i]), axis=2)
        total = cost[i, k] + cost[k, j] + area
        best = total.argmin(1)
        cost[first, last] = np.where(barred[first, last] & (gap < n - 1), np.inf, total[first, best])
        middle[first, last] = first + 1 + best
    triangles, rest = [], [(0, n - 1)]
    while rest:
        a, c = rest.pop()
        if c - a >= 2:
            b = int(middle[a, c])
            triangles.append((a, b, c))
            rest += [(a, b), (b, c)]
    return np.array(triangles), float(cost[0, n - 1])
