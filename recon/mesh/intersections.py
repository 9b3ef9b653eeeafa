"""Faces of a mesh that cut each other. Pairs are found on a grid of boxes, then every edge is tested on every face.

Test of an edge and a triangle by signed volumes, as in Möller and Trumbore, "Fast, Minimum Storage Ray/Triangle
Intersection", 1997, in double precision. Faces that share a vertex are not compared, and contact without a cut (a
vertex that lies exactly on another face) does not count.
"""

from __future__ import annotations

import numpy as np
import torch

from recon.types import Mesh

MAX_PAIRS = 1 << 21  # tested at once


def self_intersections(mesh: Mesh) -> int:
    """Number of pairs of faces that cut each other."""
    return len(cutting_faces(mesh))


def cutting_faces(mesh: Mesh) -> np.ndarray:
    """[k, 2] int64: pairs of faces that cut each other."""
    corners = mesh.corners.numpy().astype(np.float64)
    faces = mesh.faces.numpy()
    if len(faces) < 2:
        return np.zeros((0, 2), np.int64)
    low, high = corners.min(1), corners.max(1)
    size = max(float(np.median((high - low).max(1))) * 1.5, 1e-12, float((high - low).max()) / 64)
    first = np.floor((low - low.min(0)) / size).astype(np.int64)
    cells = np.floor((high - low.min(0)) / size).astype(np.int64) - first + 1
    count = cells.prod(1)
    face = np.repeat(np.arange(len(faces)), count)
    k = np.arange(len(face)) - np.repeat(np.cumsum(count) - count, count)
    n = cells[face]
    at = first[face] + np.stack([k % n[:, 0], k // n[:, 0] % n[:, 1], k // (n[:, 0] * n[:, 1])], axis=1)
    shape = at.max(0) + 1
    cell = (at[:, 2] * shape[1] + at[:, 1]) * shape[0] + at[:, 0]
    order = np.argsort(cell, kind="stable")
    cell, face = cell[order], face[order]
    found: list[np.ndarray] = []
    for shift in range(1, len(face)):  # neighbours at growing distance in the sorted list, as long as cells agree
        same = np.flatnonzero(cell[shift:] == cell[:-shift])
        if not len(same):
            break
        a, b = face[same], face[same + shift]
        near = (low[a] <= high[b]).all(1) & (low[b] <= high[a]).all(1)
        near &= ~(faces[a][:, :, None] == faces[b][:, None, :]).any((1, 2))
        a, b = a[near], b[near]
        for start in range(0, len(a), MAX_PAIRS):
            part = slice(start, start + MAX_PAIRS)
            cut = _cut(corners[a[part]], corners[b[part]])
            pairs = np.stack([np.minimum(a[part], b[part])[cut], np.maximum(a[part], b[part])[cut]], axis=1)
            found.append(pairs)
    return np.unique(np.concatenate(found), axis=0) if found else np.zeros((0, 2), np.int64)


def uncrossed(mesh: Mesh, rounds: int = 10) -> Mesh:
    """The mesh with vertices of faces that cut each other moved half way to the mean of their neighbours, again and
    again until none do; others stay. For a few cuts, such as a fit leaves at sharp edges."""
    ends = torch.cat([mesh.faces, mesh.faces.flip(1)]).long()
    a, b = ends.reshape(-1), ends.roll(-1, dims=1).reshape(-1)
    for _ in range(rounds):
        faces = torch.from_numpy(cutting_faces(mesh)).reshape(-1)
        if not len(faces):
            break
        moved = torch.zeros(len(mesh.vertices), dtype=torch.bool)
        moved[mesh.faces[faces].long().reshape(-1)] = True
        of = moved[a]
        total = torch.zeros_like(mesh.vertices).index_add_(0, a[of], mesh.vertices[b[of]])
        count = torch.zeros(len(mesh.vertices)).index_add_(0, a[of], torch.ones(int(of.sum())))
        mean = total / count.clamp_min(1)[:, None]
        mesh = Mesh(torch.where(moved[:, None], (mesh.vertices + mean) / 2, mesh.vertices), mesh.faces)
    return mesh


def _cut(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Whether triangles a [n, 3, 3] and b cut each other."""
    hit = np.zeros(len(a), bool)
    for edges, triangle in ((a, b), (b, a)):
        for k in range(3):
            hit |= _pierces(edges[:, k], edges[:, (k + 1) % 3], triangle)
    return hit


def _pierces(p: np.ndarray, q: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Whether segments p-q pass through the inside of triangles t."""

    def volume(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> np.ndarray:
        return np.einsum("ij,ij->i", np.cross(b - a, c - a), d - a)

    above, below = volume(t[:, 0], t[:, 1], t[:, 2], p), volume(t[:, 0], t[:, 1], t[:, 2], q)
    sides = [volume(p, q, t[:, i], t[:, (i + 1) % 3]) for i in range(3)]
    around = ((sides[0] > 0) & (sides[1] > 0) & (sides[2] > 0)) | ((sides[0] < 0) & (sides[1] < 0) & (sides[2] < 0))
    return (above * below < 0) & around
