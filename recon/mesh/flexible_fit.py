"""FlexiCubes fitted to a known surface: values, grid and weights are optimised until the mesh lies on it.

Source: Shen et al., SIGGRAPH 2023, arXiv 2308.05371, section 4 and L_dev, eq. (8). Objective: points of the mesh lie on
the surface with its normals, points of the surface lie on the mesh. Sharp edges and well shaped triangles follow.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from recon.mesh.grid import Grid
from recon.mesh.intersections import uncrossed
from recon.mesh.measure import points_on, unit_normals
from recon.ops.adam import adam_many_
from recon.ops.flexicubes import WEIGHTS, FlexibleMesh, corner_points, flexicubes, sign_change_loss
from recon.ops.triangles import Triangles
from recon.ops.zeros import zeros
from recon.types import Mesh

_CLEAR = 0.1  # distances of normals well below that, about the angle in radians, count by their squares


@dataclass(frozen=True)
class FlexibleFit:
    """How to fit.

    steps        of Adam, whose rate falls from ``rate`` to a tenth
    points       on either surface, drawn anew in each step; 0 = one per two crossed cubes, at least 12,000
    tilt         weight of the distance between normals, by Cauchy's function: it hardly grows beyond small angles, so
                 that most become right where some, of detail that is finer than the grid, cannot
    deviation    weight of L_dev, in cells
    sign         weight of the sign change loss
    """

    steps: int = 400
    rate: float = 0.03
    points: int = 0
    tilt: float = 1.0
    deviation: float = 0.1
    sign: float = 0.01
    seed: int = 2


def fit_surface(true: Triangles, grid: Grid, values: Tensor, settings: FlexibleFit = FlexibleFit()) -> Mesh:
    """The mesh of FlexiCubes on ``grid`` fitted to ``true``, from signed distances ``values`` [nz, ny, nx].

    Manifold always; closed where the inside does not reach the border of the grid. No faces cut each other, unless
    smoothing around those that do was not enough.
    """
    h = grid.spacing
    s = (values / h).clamp(-3, 3).requires_grad_()  # in cells
    deformation = zeros((*grid.shape, 3)).requires_grad_()
    weights = zeros((math.prod(grid.cubes), WEIGHTS)).requires_grad_()
    points, cubes = Reached([s, deformation], s.numel()), Reached([weights], len(weights))
    generator = torch.Generator().manual_seed(settings.seed)
    true_corners = true.vertices[true.faces.long()]
    normals = unit_normals(true_corners.double()).float()

    def extracted(split: Literal["centre", "diagonal"]) -> FlexibleMesh:
        return flexicubes(s, origin=grid.origin, spacing=grid.steps, deformation=deformation, weights=weights,
                          split=split)

    for step in range(settings.steps):
        mesh = extracted("centre")
        count = settings.points or max(12_000, len(mesh.topology.cube) // 2)
        corners = mesh.vertices[mesh.faces.long()]
        x, face = points_on(corners, count, generator)
        q, true_face = true.closest(x.detach())
        there = ((x - q) / h).square().sum(1).mean()
        apart = (unit_normals(corners[face]) - normals[true_face.long()]).square().sum(1)
        tilt = _CLEAR * torch.log1p(apart / (_CLEAR * _CLEAR)).mean()
        y, y_face = points_on(true_corners, count, generator)
        back = (_towards(y, mesh.vertices, mesh.faces) * normals[y_face]).sum(1).div(h).square().mean()
        loss = (there + back + settings.tilt * tilt + settings.deviation * mesh.deviation.mean() / h
                + settings.sign * sign_change_loss(s))
        loss.backward()
        cubes.add(mesh.topology.cube)
        points.add(corner_points(mesh.topology.cube, grid.shape))
        for reached in (points, cubes):
            reached.step(settings.rate * 0.1 ** (step / settings.steps))
    with torch.no_grad():
        mesh = extracted("diagonal")
    return uncrossed(Mesh(mesh.vertices.detach(), mesh.faces))


class Reached:
    """Adam over the rows that the surface has reached so far. Others have had no gradient, and would not move."""

    def __init__(self, params: list[Tensor], rows: int) -> None:
        self.params = params
        self.moments = [(zeros(p.shape), zeros(p.shape)) for p in params]
        self.mask = torch.zeros(rows, dtype=torch.uint8)
        self.count = 0

    def add(self, rows: Tensor) -> None:
        self.mask[rows.reshape(-1).long()] = 1

    def step(self, rate: float) -> None:
        """With the gradients of the parameters, which are gone then."""
        self.count += 1

        def rows(tensors: Iterable[Tensor]) -> list[Tensor]:
            return [t.view(len(self.mask), -1) for t in tensors]

        grads = [p.grad for p in self.params if p.grad is not None]
        adam_many_(rows(p.detach() for p in self.params), rows(grads), rows(m for m, _ in self.moments),
                   rows(v for _, v in self.moments), lr=[rate] * len(grads), step=self.count, eps=1e-8, rows=self.mask)
        for p in self.params:
            p.grad = None


def _towards(y: Tensor, vertices: Tensor, faces: Tensor) -> Tensor:
    """From points y [n, 3] to the nearest points of a mesh [n, 3], which follow its vertices."""
    q, face = Triangles(vertices.detach(), faces).closest(y)
    a, b, c = vertices[faces[face.long()].long()].unbind(1)
    with torch.no_grad():  # barycentric coordinates of q; a face without area gives the mean
        u, v, w = b - a, c - a, q - a
        uu, uv, vv, uw, vw = ((p * r).sum(1) for p, r in ((u, u), (u, v), (v, v), (u, w), (v, w)))
        area = uu * vv - uv * uv
        flat = area <= 1e-12 * (uu + vv).square()
        area = torch.where(flat, torch.ones_like(area), area)
        s = torch.where(flat, torch.full_like(area, 1 / 3), (vv * uw - uv * vw) / area).clamp(0, 1)
        t = torch.where(flat, torch.full_like(area, 1 / 3), (uu * vw - uv * uw) / area).clamp(0, 1)
    return a + s[:, None] * (b - a) + t[:, None] * (c - a) - y
