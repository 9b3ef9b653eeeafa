"""Repairs: sheets that touch are parted, small parts dropped."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from recon.mesh.connect import corner_fans, face_parts, find_edges, wedge_pairs
from recon.types import Mesh


def part_sheets(mesh: Mesh) -> Mesh:
    """Gives every fan of faces around a vertex a vertex of its own, so that solids that touch along an edge are apart;
    where they are not even then, edges of three or more faces are cut open.

    The result is manifold (perhaps with a border). Faces that use a vertex twice are dropped.
    """
    faces = mesh.faces.numpy().astype(np.int64)
    faces = faces[~(faces == np.roll(faces, 1, axis=1)).any(1)]
    if not len(faces):
        return mesh.select(torch.zeros(0, dtype=torch.int64))
    edges = find_edges(faces)
    first, second = wedge_pairs(mesh.vertices.double().numpy(), faces, edges)
    while True:
        fan = corner_fans(faces, edges, (first, second))
        roots, corner = np.unique(fan, return_inverse=True)
        parted = find_edges(corner.reshape(-1, 3))
        held = np.unique(edges.of_side[parted.count[parted.of_side] > 2])  # by fans that meet elsewhere
        apart = ~np.isin(edges.of_side[first], held)
        if apart.all():
            break
        first, second = first[apart], second[apart]
    source = torch.from_numpy(faces.reshape(-1)[roots])

    def rows(t: Tensor | None) -> Tensor | None:
        return None if t is None else t[source]

    return replace(mesh, vertices=mesh.vertices[source], normals=rows(mesh.normals), colours=rows(mesh.colours),
                   uvs=rows(mesh.uvs), faces=torch.from_numpy(corner.reshape(-1, 3).astype(np.int32)))


def drop_small_parts(mesh: Mesh, smallest: float = 0.01) -> tuple[Mesh, int]:
    """Keeps the parts with at least ``smallest`` times the area of the largest; returns the mesh and how many went."""
    part = torch.from_numpy(face_parts(mesh.faces.numpy()))
    if not len(part):
        return mesh, 0
    area = torch.zeros(int(part.max()) + 1, dtype=torch.float64)
    area.index_add_(0, part, mesh.face_normals.double().norm(dim=1))
    keep = area >= smallest * area.max()
    return mesh.select(keep[part]), int((~keep).sum())


def drop_cavities(mesh: Mesh) -> tuple[Mesh, int]:
    """Without closed parts whose faces look inwards: hollows, which nobody sees; returns the mesh and how many went."""
    part = torch.from_numpy(face_parts(mesh.faces.numpy()))
    if not len(part):
        return mesh, 0
    a, b, c = mesh.corners.double().unbind(1)
    count = int(part.max()) + 1
    volume = torch.zeros(count, dtype=torch.float64).index_add_(0, part, (a * torch.linalg.cross(b, c)).sum(1))
    edges = find_edges(mesh.faces.numpy())
    border = torch.from_numpy(edges.count[edges.of_side] == 1).view(-1, 3).any(1)
    opened = torch.zeros(count, dtype=torch.bool)
    opened[part[border]] = True
    keep = (volume >= 0) | opened
    return mesh.select(keep[part]), int((~keep).sum())
