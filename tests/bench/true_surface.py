"""A reference mesh that can be asked for exact signed distances, normals, points and sharp edges. Needs scipy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from scipy.spatial import cKDTree

from recon.export import read_mesh
from recon.mesh.connect import find_edges, side_pairs

SAMPLES = 300_000
NEIGHBOURS = 6


def on_triangles(corners: np.ndarray, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """``count`` points [count, 3] spread evenly over triangles [f, 3, 3], and the triangle of each."""
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    face = np.sort(rng.choice(len(corners), count, p=area / area.sum()))
    u, v = rng.random((2, count))
    flip = u + v > 1
    u, v = np.where(flip, 1 - u, u)[:, None], np.where(flip, 1 - v, v)[:, None]
    a, b, c = corners[face].transpose(1, 0, 2)
    return a + u * (b - a) + v * (c - a), face


def closest_on_triangles(p: np.ndarray, t: np.ndarray) -> np.ndarray:
    """The points of triangles t [n, 3, 3] nearest to p [n, 3]: within the triangle, else on its nearest side."""
    a, b, c = t.transpose(1, 0, 2)
    n = np.cross(b - a, c - a)
    flat = p - n * (np.einsum("ij,ij->i", p - a, n) / np.maximum(np.einsum("ij,ij->i", n, n), 1e-300))[:, None]
    inside = np.ones(len(p), bool)
    best, nearest = np.full(len(p), np.inf), np.zeros_like(p)
    for x, y in ((a, b), (b, c), (c, a)):
        inside &= np.einsum("ij,ij->i", np.cross(y - x, flat - x), n) >= 0
        along = np.einsum("ij,ij->i", p - x, y - x) / np.maximum(np.einsum("ij,ij->i", y - x, y - x), 1e-300)
        q = x + np.clip(along, 0, 1)[:, None] * (y - x)
        d = np.linalg.norm(p - q, axis=1)
        nearest[d < best], best = q[d < best], np.minimum(d, best)
    return np.where(inside[:, None], flat, nearest)


def sharp_edge_points(vertices: np.ndarray, faces: np.ndarray, count: int, rng: np.random.Generator,
                      degrees: float = 30.0) -> np.ndarray:
    """Points [count, 3] on edges whose faces differ by more than ``degrees``; [0, 3] where there are none."""
    corners = vertices[faces]
    n = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    n /= np.maximum(np.linalg.norm(n, axis=1, keepdims=True), 1e-300)
    first, second = side_pairs(find_edges(faces))
    sharp = first[(n[first // 3] * n[second // 3]).sum(1) < np.cos(np.radians(degrees))]
    if not len(sharp):
        return np.zeros((0, 3))
    a, b = vertices[faces.reshape(-1)[sharp]], vertices[faces.reshape(-1)[sharp - sharp % 3 + (sharp + 1) % 3]]
    length = np.linalg.norm(b - a, axis=1)
    pick = rng.choice(len(a), count, p=length / length.sum())
    return a[pick] + rng.random((count, 1)) * (b - a)[pick]


class TrueSurface:
    """A closed mesh in the box [-0.9, 0.9]^3 (longest side 1.8)."""

    def __init__(self, path: Path) -> None:
        mesh = read_mesh(path)
        v = mesh.vertices.numpy().astype(np.float64)
        low, high = v.min(0), v.max(0)
        self.vertices = (v - (low + high) / 2) * (1.8 / (high - low).max())
        self.faces = mesh.faces.numpy().astype(np.int64)
        if mesh.volume < 0:
            self.faces = self.faces[:, ::-1]
        self.vertices, index = np.unique(self.vertices, axis=0, return_inverse=True)  # seams of texture or normals
        self.faces = index.reshape(-1)[self.faces]
        self.faces = self.faces[(self.faces != np.roll(self.faces, 1, axis=1)).all(1)]
        self.corners = self.vertices[self.faces]
        n = np.cross(self.corners[:, 1] - self.corners[:, 0], self.corners[:, 2] - self.corners[:, 0])
        self.face_normals = n / np.maximum(np.linalg.norm(n, axis=1, keepdims=True), 1e-300)
        rng = np.random.default_rng(0)
        self.points, self.face_of_point = on_triangles(self.corners, SAMPLES, rng)
        self.tree = cKDTree(self.points)
        self.edge_points = sharp_edge_points(self.vertices, self.faces, 20_000, rng)

    def closest(self, x: np.ndarray, neighbours: int = NEIGHBOURS) -> tuple[np.ndarray, np.ndarray]:
        """For points [n, 3] the nearest ones of the surface [n, 3], and their face [n].

        On an edge the face whose plane is farther: its side is the true one.
        """
        _, near = self.tree.query(x, k=neighbours)
        face = self.face_of_point[near.reshape(len(x), -1)]
        q = closest_on_triangles(np.repeat(x, face.shape[1], axis=0), self.corners[face.reshape(-1)])
        q = q.reshape(*face.shape, 3)
        away = x[:, None] - q
        d = np.linalg.norm(away, axis=2)
        plane = np.abs((away * self.face_normals[face]).sum(2))
        tied = d <= d.min(1, keepdims=True) * (1 + 1e-6) + 1e-12
        best = np.where(tied, plane, -1).argmax(1)
        rows = np.arange(len(x))
        return q[rows, best], face[rows, best]

    def distance(self, x: torch.Tensor) -> torch.Tensor:
        """Signed distances [n] of points [n, 3], negative inside."""
        p = x.numpy().astype(np.float64)
        q, face = self.closest(p)
        side = ((p - q) * self.face_normals[face]).sum(1)
        return torch.from_numpy((np.linalg.norm(p - q, axis=1) * np.where(side < 0, -1, 1)).astype(np.float32))
