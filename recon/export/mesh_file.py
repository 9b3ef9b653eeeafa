"""What all mesh formats share: axes, colours, checks before writing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from recon.errors import InputError
from recon.types import Mesh

MAX_ROWS = 1 << 31


def checked(mesh: Mesh, path: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Vertices [v, 3] float32 and faces [f, 3] int64; raises InputError for what no program could read."""
    vertices = np.ascontiguousarray(mesh.vertices.detach().numpy(), np.float32)
    faces = mesh.faces.numpy().astype(np.int64)
    if not len(faces):
        raise InputError("there is nothing to write: the mesh has no faces", file=path,
                         fix="Make the box larger, or the resolution higher.")
    if not np.isfinite(vertices).all():
        raise InputError("the mesh has vertices that are not finite", file=path, fix="Mesh the scene again.")
    if faces.min() < 0 or faces.max() >= len(vertices):
        raise InputError("the mesh has faces that name no vertex", file=path, fix="Mesh the scene again.")
    return vertices, faces


def mesh_from(vertices: np.ndarray, faces: np.ndarray, path: str | Path, *, normals: np.ndarray | None = None,
              colours: np.ndarray | None = None, uvs: np.ndarray | None = None, texture: np.ndarray | None = None
              ) -> Mesh:
    """A mesh of arrays read from a file; raises InputError where they do not fit together."""
    fix = "The file is damaged; export it again."
    if len(vertices) and not np.isfinite(vertices).all():
        raise InputError("has vertices that are not finite", file=path, fix=fix)
    if len(faces) and (faces.min() < 0 or faces.max() >= len(vertices)):
        raise InputError("has faces that name no vertex", file=path, fix=fix)
    if not len(faces):
        raise InputError("holds no triangles", file=path, fix="Check that it is a mesh and not a point cloud.")

    def tensor(rows: np.ndarray | None) -> torch.Tensor | None:
        return None if rows is None else torch.from_numpy(np.ascontiguousarray(rows, np.float32))

    positions = tensor(vertices)
    assert positions is not None
    return Mesh(positions, torch.from_numpy(np.ascontiguousarray(faces, np.int32)), tensor(normals), tensor(colours),
                tensor(uvs), None if texture is None else torch.from_numpy(np.array(texture, np.uint8)))


def linear_from_srgb(c: np.ndarray) -> np.ndarray:
    """Colours 0..1, sRGB encoded, to linear light."""
    return np.where(c <= 0.04045, c / 12.92, ((np.maximum(c, 0) + 0.055) / 1.055) ** 2.4)


def srgb_from_linear(c: np.ndarray) -> np.ndarray:
    """The inverse of ``linear_from_srgb``."""
    return np.where(c <= 0.0031308, c * 12.92, 1.055 * np.maximum(c, 0) ** (1 / 2.4) - 0.055)
