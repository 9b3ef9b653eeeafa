"""What cameras see of a mesh. A distance field has a surface also where no photo looked; there it is made up."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from recon.mesh.clean import part_sheets
from recon.mesh.connect import face_parts
from recon.ops.raster import rasterize
from recon.types import Camera, Mesh

_CLOSE = 2.0  # a vertex is seen up to so many mean edges behind the surface of its pixel
_RINGS = 2  # of faces around the seen ones, so that the border is not ragged


def seen_vertices(mesh: Mesh, cameras: Sequence[Camera]) -> Tensor:
    """[v] bool: vertices that lie in at least one picture and are not hidden there by other faces."""
    seen = torch.zeros(len(mesh.vertices), dtype=torch.bool)
    if not len(mesh):
        return seen
    a, b, c = mesh.corners.unbind(1)
    slack = _CLOSE * float(torch.cat([b - a, c - b, a - c]).norm(dim=1).mean())
    for camera in cameras:
        shown = rasterize(mesh.vertices.contiguous(), mesh.faces, camera).depth
        pixel, z = camera.project(mesh.vertices.double())
        column, row = pixel[:, 0].floor().long(), pixel[:, 1].floor().long()
        inside = (z > 1e-6) & (column >= 0) & (row >= 0) & (column < camera.width) & (row < camera.height)
        depth = shown[row.clamp(0, camera.height - 1), column.clamp(0, camera.width - 1)]
        seen |= inside & ((depth == 0) | (z.float() <= depth + slack))
    return seen


def drop_unseen(mesh: Mesh, cameras: Sequence[Camera], smallest: float = 0.003) -> tuple[Mesh, float]:
    """Without the parts that no camera sees, and the share of the area that went.

    Unseen patches below ``smallest`` times the whole area stay: they lie between things, and closed is better.
    """
    if not len(mesh) or not cameras:
        return mesh, 0.0
    near = seen_vertices(mesh, cameras)
    faces = mesh.faces.long()
    for _ in range(_RINGS):
        near[faces[near[faces].any(1)].reshape(-1)] = True
    unseen = (~near[faces].any(1)).nonzero().squeeze(1)
    if not len(unseen):
        return mesh, 0.0
    area = mesh.face_normals.double().norm(dim=1)
    part = torch.from_numpy(face_parts(mesh.faces[unseen].numpy()))
    size = torch.zeros(int(part.max()) + 1, dtype=torch.float64).index_add_(0, part, area[unseen])
    gone = unseen[(size > smallest * area.sum())[part]]
    if len(gone) in (0, len(mesh)):
        return mesh, 0.0
    keep = torch.ones(len(mesh), dtype=torch.bool)
    keep[gone] = False
    return part_sheets(mesh.select(keep)), float(area[gone].sum() / area.sum())
