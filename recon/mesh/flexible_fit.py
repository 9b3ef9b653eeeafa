"""FlexiCubes fitted to a known surface: values, grid and weights are optimised until the mesh lies on it.

Source: Shen et al., SIGGRAPH 2023, arXiv 2308.05371, section 4 and L_dev, eq. (8). Objective: points of the mesh lie on
the surface with its normals, points of the surface lie on the mesh. Sharp edges and well shaped triangles follow.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from recon.mesh.grid import Grid
from recon.mesh.intersections import uncrossed
from recon.mesh.measure import points_on, unit_normals
from recon.ops.flexicubes import WEIGHTS, FlexibleMesh, flexicubes, sign_change_loss
from recon.ops.triangles import Triangles
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
    deformation = torch.zeros(*grid.shape, 3, requires_grad=True)
    weights = torch.zeros(math.prod(grid.cubes), WEIGHTS, requires_grad=True)
    adam = torch.optim.Adam([s, deformation, weights], lr=settings.rate)
    generator = torch.Generator().manual_seed(settings.seed)
    true_corners = true.vertices[true.faces.long()]
    normals = unit_normals(true_corners.double()).float()

    def extracted(split: Literal["centre", "diagonal"]) -> FlexibleMesh:
        return flexicubes(s, origin=grid.origin, spacing=grid.steps, deformation=deformation, weights=weights,
                          split=split)

    for step in range(settings.steps):
        for group in adam.param_groups:
            group["lr"] = settings.rate * 0.1 ** (step / settings.steps)
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
        adam.zero_grad()
        loss.backward()
        adam.step()
    with torch.no_grad():
        mesh = extracted("diagonal")
    return uncrossed(Mesh(mesh.vertices.detach(), mesh.faces))


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
