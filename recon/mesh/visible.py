"""What cameras see of a mesh. A distance field has a surface also where no photo looked; there it is made up.

Views from far off the normal do not count (the code of Waechter, Moehrle, Goesele, "Let There Be Color!", ECCV 2014,
leaves out those beyond 75 degrees): behind a rim a fit makes up walls that lie along the cameras' rays, which photos
touch but do not show.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import normalize

from recon.mesh.clean import part_sheets
from recon.mesh.connect import face_parts
from recon.ops.knn import nearest
from recon.ops.raster import rasterize
from recon.types import Camera, Mesh

_CLOSE = 2.0  # a vertex is seen up to so many mean edges behind the surface of its pixel
_BLUR = 30  # rounds of means over faces, some five faces wide, so that the border is not ragged
_FAIR = 100  # rounds that smooth what is made up: steps of up to some ten faces go, and less than a face of a ball
_CLEAR = 0.95  # colours are known where so much of the surroundings is seen; at the border they are poor
_LEAST = 0.174  # cosine between a normal and the way to the camera: of 80 degrees
_VIEWS = 2  # one photo alone does not say how far away something is


def seen_vertices(mesh: Mesh, cameras: Sequence[Camera]) -> Tensor:
    """[v] bool: vertices that lie in at least two pictures (one, where there is only one), turned towards the camera
    and not hidden there by other faces."""
    views = torch.zeros(len(mesh.vertices), dtype=torch.int32)
    if not len(mesh):
        return views > 0
    a, b, c = mesh.corners.unbind(1)
    slack = _CLOSE * float(torch.cat([b - a, c - b, a - c]).norm(dim=1).mean())
    normals = mesh.with_normals().normals
    assert normals is not None
    for camera in cameras:
        shown = rasterize(mesh.vertices.contiguous(), mesh.faces, camera).depth
        pixel, z = camera.project(mesh.vertices.double())
        column, row = pixel[:, 0].floor().long(), pixel[:, 1].floor().long()
        inside = (z > 1e-6) & (column >= 0) & (row >= 0) & (column < camera.width) & (row < camera.height)
        depth = shown[row.clamp(0, camera.height - 1), column.clamp(0, camera.width - 1)]
        way = normalize(camera.centre.float() - mesh.vertices, dim=1)
        views += inside & ((depth == 0) | (z.float() <= depth + slack)) & ((normals * way).sum(1) > _LEAST)
    return views >= min(_VIEWS, len(cameras))


def drop_unseen(mesh: Mesh, cameras: Sequence[Camera], smallest: float = 0.003) -> tuple[Mesh, float]:
    """Without the parts that cameras do not see, and the share of the area that went.

    Unseen patches below ``smallest`` times the whole area stay: they lie between things, and closed is better.
    """
    if not len(mesh) or not cameras:
        return mesh, 0.0
    faces = mesh.faces.long()
    unseen = (_blurred(seen_vertices(mesh, cameras).float(), faces, _BLUR)[faces].mean(1) < 0.5).nonzero().squeeze(1)
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


def smooth_unseen(mesh: Mesh, cameras: Sequence[Camera]) -> tuple[Mesh, float]:
    """The mesh, shape and colours of what cameras do not see of it smoothed, and the share of the area that this is.

    What is made up should look so: there a fit leaves the steps of its grids. What cameras see stays where it is. Means
    over neighbours would shrink it, so it is pushed back by the means of how far they moved (Vollmer, Mencl, Mueller,
    "Improved Laplacian Smoothing of Noisy Surface Meshes", Eurographics 1999).
    """
    if not len(mesh) or not cameras:
        return mesh, 0.0
    faces = mesh.faces.long()
    seen = _blurred(seen_vertices(mesh, cameras).float(), faces, _BLUR)
    loose = (1 - 2 * seen).clamp_min(0)[:, None]  # none at the border, so that no crease is left there
    area = mesh.face_normals.double().norm(dim=1)
    share = float(area[(seen[faces].mean(1) < 0.5)].sum() / area.sum())

    def relaxed(rows: Tensor) -> Tensor:
        for _ in range(_FAIR):
            rows = rows + loose * (_blurred(rows, faces, 1) - rows)
        return rows

    x, colours = mesh.vertices, mesh.colours
    even = relaxed(x)
    known = (seen > _CLEAR).nonzero().squeeze(1)
    if colours is not None and len(known):  # a fit knows no colour where no photo shows one: that of the nearest place
        near = known[nearest(x.contiguous(), x[known].contiguous())[1][:, 0].long()]
        colours = relaxed(torch.where(seen[:, None] < 0.5, colours[near], colours))
    return replace(mesh, vertices=even + relaxed(x - even), normals=None, colours=colours), share


def _blurred(rows: Tensor, faces: Tensor, rounds: int) -> Tensor:
    """Values [v] or [v, c] at vertices, ``rounds`` times the mean over the faces around; zero where there are none."""
    corners = faces.reshape(-1)
    count = torch.zeros(len(rows)).index_add_(0, corners, torch.ones(len(corners))).clamp_min(1)
    count = count.view(-1, *[1] * (rows.dim() - 1))
    for _ in range(rounds):
        of_faces = rows[faces].mean(1)
        rows = torch.zeros_like(rows).index_add_(0, corners, of_faces.repeat_interleave(3, 0)) / count
    return rows
