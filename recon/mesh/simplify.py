"""Fewer faces where few are enough: quadric error decimation by the optional package fast-simplification (MIT).

Source: Garland and Heckbert, "Surface Simplification Using Quadric Error Metrics", SIGGRAPH 1997.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from recon.errors import InputError
from recon.mesh.clean import part_sheets
from recon.ops.knn import nearest
from recon.types import Mesh

NEEDED = "Install it with: pip install 'recon-scene[mesh]'"


def simplify(mesh: Mesh, faces: int) -> Mesh:
    """The mesh with about ``faces`` faces, or as it is where it has no more; manifold, perhaps with a border.

    Colours are those of the nearest vertices that were there before; texture coordinates go. Raises InputError where
    the package is missing or nothing would be left.
    """
    if len(mesh) <= faces:
        return mesh
    try:
        import fast_simplification
    except ImportError:
        raise InputError("fewer faces need the package fast-simplification", fix=NEEDED) from None
    lowest = mesh.vertices.amin(0)
    size = float((mesh.vertices.amax(0) - lowest).max()) or 1.0
    unit = ((mesh.vertices - lowest) / size).numpy().astype(np.float32)
    points, kept = fast_simplification.simplify(unit, mesh.faces.numpy().astype(np.int32), 1 - faces / len(mesh))[:2]
    if not len(kept):
        raise InputError(f"nothing is left of the mesh with {faces} faces", fix="Ask for more faces.")
    vertices = torch.from_numpy(np.ascontiguousarray(points, np.float32)) * size + lowest
    near = nearest(vertices, mesh.vertices.contiguous())[1][:, 0].long()

    def rows(t: Tensor | None) -> Tensor | None:
        return None if t is None else t[near]

    smaller = Mesh(vertices, torch.from_numpy(np.ascontiguousarray(kept, np.int32)), colours=rows(mesh.colours))
    smaller = part_sheets(smaller)
    return replace(smaller, uvs=None, texture=None)
