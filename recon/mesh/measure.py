"""How well a mesh follows a true surface: distances, normals, sharp edges, and how well shaped its triangles are.

Measures of Shen et al., "Flexible Isosurface Extraction for Gradient-Based Mesh Optimization", SIGGRAPH 2023, arXiv
2308.05371, section 5. All distances are to surfaces and edges themselves and not to points on them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from recon.mesh.check import check
from recon.mesh.connect import find_edges, side_pairs
from recon.ops.triangles import Triangles
from recon.types import Mesh

SURFACE_POINTS, EDGE_POINTS = 60_000, 20_000
OFF_DEGREES, SHARP_DEGREES, SLIVER_DEGREES = 5.0, 30.0, 10.0


@dataclass(frozen=True)
class Measures:
    """Of one mesh against the truth; lengths in thousandths of the longest side of the true surface's box.

    off_normals   share of the surface whose normal is off by more than 5 degrees
    chamfer       mean distance of surface points to the other surface, mean of both ways
    edge_chamfer  the same for points on edges sharper than 30 degrees; NaN without such edges
    edge_f1       F1 score of edge points within 5 of the other's edges; NaN without true edges
    slivers       share of triangles with an angle below 10 degrees
    cuts          pairs of faces that cut each other, None where not looked for
    """

    off_normals: float
    chamfer: float
    edge_chamfer: float
    edge_f1: float
    slivers: float
    cuts: int | None
    watertight: bool
    manifold: bool
    faces: int


def points_on(corners: Tensor, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """``count`` points [count, 3] spread evenly over triangles [f, 3, 3], and the triangle of each [count] int64.

    Differentiable in the corners. Raises ValueError where the triangles have no area.
    """
    with torch.no_grad():
        a, b, c = corners.double().unbind(1)
        area = torch.linalg.cross(b - a, c - a).norm(dim=1).cumsum(0)
    if not len(area) or not float(area[-1]) > 0:
        raise ValueError("the triangles have no area")
    r = torch.rand(count, 3, generator=generator, dtype=torch.float64)
    face = torch.searchsorted(area, r[:, 0] * area[-1], right=True).clamp(max=len(area) - 1)
    u, v = r[:, 1], r[:, 2]
    flip = u + v > 1
    u, v = torch.where(flip, 1 - u, u).to(corners.dtype), torch.where(flip, 1 - v, v).to(corners.dtype)
    a, b, c = corners[face].unbind(1)
    return a + u[:, None] * (b - a) + v[:, None] * (c - a), face


def unit_normals(corners: Tensor) -> Tensor:
    """[f, 3] of triangles [f, 3, 3]; 0 where they have no area."""
    a, b, c = corners.unbind(1)
    return torch.nn.functional.normalize(torch.linalg.cross(b - a, c - a), dim=1, eps=1e-20)


def sharp_edges(mesh: Mesh, degrees: float = SHARP_DEGREES) -> Tensor:
    """Ends [e, 2, 3] of edges whose two faces differ by more than ``degrees``."""
    faces = mesh.faces.numpy().astype(np.int64)
    n = unit_normals(mesh.corners.double()).numpy()
    first, second = side_pairs(find_edges(faces))
    sharp = first[(n[first // 3] * n[second // 3]).sum(1) < math.cos(math.radians(degrees))]
    ends = np.stack([faces.reshape(-1)[sharp], faces.reshape(-1)[sharp - sharp % 3 + (sharp + 1) % 3]], axis=1)
    return mesh.vertices[torch.from_numpy(ends)]


class Truth:
    """A reference mesh, moved so that its box is centred on 0 and its longest side is 1.8."""

    def __init__(self, mesh: Mesh) -> None:
        low, high = mesh.vertices.amin(0), mesh.vertices.amax(0)
        self.unit = 1000 / 1.8
        vertices = (mesh.vertices - (low + high) / 2) * (1.8 / float((high - low).max()))
        vertices, index = torch.unique(vertices, dim=0, return_inverse=True)  # seams of texture or normals
        faces = index[mesh.faces.long()].to(torch.int32)
        faces = faces[(faces != faces.roll(1, dims=1)).all(1)]
        whole = Mesh(vertices.contiguous(), faces.contiguous())
        self.mesh = whole if whole.volume >= 0 else Mesh(whole.vertices, whole.faces.flip(1).contiguous())
        self.triangles = Triangles(self.mesh.vertices, self.mesh.faces)
        self.normals = unit_normals(self.mesh.corners.double()).float()
        self.edges = sharp_edges(self.mesh)
        self.closed = check(self.mesh).watertight

    def measure(self, mesh: Mesh, *, intersections: bool = True) -> Measures:
        """``mesh`` in the frame of the moved truth; ``intersections`` also looks for faces that cut each other."""
        generator = torch.Generator().manual_seed(1)
        mine = Triangles(mesh.vertices, mesh.faces)
        x, face = points_on(mesh.corners, SURFACE_POINTS, generator)
        q, true_face = self.triangles.closest(x)
        cosine = (unit_normals(mesh.corners.double())[face] * self.normals[true_face.long()].double()).sum(1)
        y, _ = points_on(self.mesh.corners, SURFACE_POINTS, generator)
        both = (x - q).norm(dim=1).mean() + (y - mine.closest(y)[0]).norm(dim=1).mean()
        edge_chamfer, edge_f1 = self._edges(sharp_edges(mesh), generator)
        report = check(mesh, intersections=intersections)
        return Measures(
            off_normals=float((cosine < math.cos(math.radians(OFF_DEGREES))).double().mean()),
            chamfer=float(both) / 2 * self.unit, edge_chamfer=edge_chamfer, edge_f1=edge_f1,
            slivers=float((smallest_angles(mesh.corners) < math.radians(SLIVER_DEGREES)).double().mean()),
            cuts=report.self_intersections, watertight=report.watertight, manifold=report.manifold, faces=len(mesh))

    def _edges(self, edges: Tensor, generator: torch.Generator) -> tuple[float, float]:
        if not len(self.edges):
            return math.nan, math.nan
        if not len(edges):
            return math.nan, 0.0
        precision, recall = (_edge_distances(a, b, generator) * self.unit
                             for a, b in ((edges, self.edges), (self.edges, edges)))
        p, r = float((precision < 5).double().mean()), float((recall < 5).double().mean())
        return float(precision.mean() + recall.mean()) / 2, 2 * p * r / max(p + r, 1e-9)


def _edge_distances(edges: Tensor, others: Tensor, generator: torch.Generator) -> Tensor:
    """Distances of points spread over edges [e, 2, 3] to other edges."""
    length = (edges[:, 1] - edges[:, 0]).double().norm(dim=1).cumsum(0)
    r = torch.rand(EDGE_POINTS, 2, generator=generator, dtype=torch.float64)
    pick = torch.searchsorted(length, r[:, 0] * length[-1], right=True).clamp(max=len(edges) - 1)
    a, b = edges[pick].unbind(1)
    x = a + r[:, 1:].float() * (b - a)
    index = torch.arange(2 * len(others), dtype=torch.int32).reshape(-1, 2)
    segments = Triangles(others.reshape(-1, 3).contiguous(), torch.cat([index, index[:, 1:]], dim=1).contiguous())
    return (x - segments.closest(x.contiguous())[0]).norm(dim=1)


def smallest_angles(corners: Tensor) -> Tensor:
    """[f] the smallest angle of every triangle [f, 3, 3], radians; 0 where a side has no length."""
    sides = (corners - corners.roll(-1, dims=1)).double().norm(dim=2)
    a, b, c = sides.unbind(1)
    cosines = [(q * q + r * r - p * p) / (2 * q * r).clamp_min(1e-300) for p, q, r in ((a, b, c), (b, c, a), (c, a, b))]
    angle = torch.stack(cosines).amax(0).clamp(-1, 1).arccos()
    return torch.where(sides.amin(1) > 0, angle, torch.zeros_like(angle))


def f_score(mesh: Mesh, true: Mesh, distance: float, points: int = 100_000) -> tuple[float, float, float]:
    """F score, precision and recall: shares of points of one surface within ``distance`` of the other.

    Knapitsch et al., "Tanks and Temples", SIGGRAPH 2017; both meshes in one frame.
    """
    generator = torch.Generator().manual_seed(0)
    shares = []
    for a, b in ((mesh, true), (true, mesh)):
        x, _ = points_on(a.corners, points, generator)
        gap = (x - Triangles(b.vertices, b.faces).closest(x)[0]).norm(dim=1)
        shares.append(float((gap < distance).double().mean()))
    p, r = shares
    return 2 * p * r / max(p + r, 1e-12), p, r
