"""Mesh: triangles with what lies on them, as plain tensors."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from recon.types.similarity import Similarity


@dataclass(frozen=True)
class Mesh:
    """An indexed triangle mesh.

    vertices  [v, 3] float32      positions in scene units
    faces     [f, 3] int32        vertex indices, counter-clockwise as seen from outside
    normals   [v, 3] float32      unit, or None
    colours   [v, 3] float32      0..1, sRGB encoded, or None
    uvs       [v, 2] float32      texture coordinates, origin at the lower left of the picture, or None; a vertex on a
                                  seam is doubled
    texture   [h, w, 3] uint8     sRGB, first row at the top, or None
    """

    vertices: Tensor
    faces: Tensor
    normals: Tensor | None = None
    colours: Tensor | None = None
    uvs: Tensor | None = None
    texture: Tensor | None = None

    def __post_init__(self) -> None:
        if self.vertices.ndim != 2 or self.vertices.shape[1] != 3:
            raise ValueError(f"vertices must be [v, 3], got {list(self.vertices.shape)}")
        if self.faces.ndim != 2 or self.faces.shape[1] != 3:
            raise ValueError(f"faces must be [f, 3], got {list(self.faces.shape)}")
        for name, width in (("normals", 3), ("colours", 3), ("uvs", 2)):
            rows = getattr(self, name)
            if rows is not None and tuple(rows.shape) != (len(self.vertices), width):
                raise ValueError(f"{name} must be [{len(self.vertices)}, {width}], got {list(rows.shape)}")

    def __len__(self) -> int:
        return len(self.faces)

    @property
    def corners(self) -> Tensor:
        """[f, 3, 3] positions of the corners of every face."""
        return self.vertices[self.faces.long()]

    @property
    def face_normals(self) -> Tensor:
        """[f, 3] normals as long as twice the area."""
        a, b, c = self.corners.unbind(1)
        return torch.linalg.cross(b - a, c - a)

    @property
    def area(self) -> float:
        return float(self.face_normals.double().norm(dim=1).sum()) / 2

    @property
    def volume(self) -> float:
        """Signed volume enclosed by a closed mesh; positive when faces are counter-clockwise from outside."""
        a, b, c = self.corners.double().unbind(1)
        return float((a * torch.linalg.cross(b, c)).sum()) / 6

    def with_normals(self) -> Mesh:
        """The mesh with vertex normals: means of the face normals, weighted by area."""
        total = torch.zeros_like(self.vertices)
        total.index_add_(0, self.faces.long().reshape(-1), self.face_normals.repeat_interleave(3, dim=0))
        length = total.norm(dim=1, keepdim=True)
        up = torch.tensor([0.0, 0.0, 1.0], dtype=total.dtype)
        return replace(self, normals=torch.where(length > 1e-30, total / length.clamp_min(1e-30), up))

    def transformed(self, target_from_source: Similarity) -> Mesh:
        """Moves, turns and scales the mesh; a mirror (determinant -1) also turns the faces round."""
        s = target_from_source
        normals = None if self.normals is None else (self.normals.double() @ s.rotation.T).to(self.normals.dtype)
        mirrored = float(torch.linalg.det(s.rotation)) < 0
        faces = self.faces.flip(1) if mirrored else self.faces
        return replace(self, vertices=s.points(self.vertices), normals=normals, faces=faces)

    def select(self, faces: Tensor) -> Mesh:
        """The mesh of some faces (boolean or index tensor), without the vertices that none of them uses."""
        kept = self.faces[faces]
        used, renumbered = torch.unique(kept, return_inverse=True)
        used = used.long()

        def rows(t: Tensor | None) -> Tensor | None:
            return None if t is None else t[used]

        return replace(self, vertices=self.vertices[used], faces=renumbered.to(torch.int32).reshape(-1, 3),
                       normals=rows(self.normals), colours=rows(self.colours), uvs=rows(self.uvs))
