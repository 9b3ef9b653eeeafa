"""Neighbouring faces of a mesh should look the same way.

Source: the normal consistency term of SuGaR's refinement (Guedon and Lepetit, CVPR 2024, arXiv 2311.12775).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from recon.ops.gather import rows_of
from recon.ops.one_thread import one_thread


@dataclass(frozen=True)
class NormalConsistency:
    """Mean of 1 - cosine between the normals of faces that share an edge, of fields with a ``surface_mesh``."""

    weight: float = 0.1

    def of_field(self, field: Any) -> Tensor:
        """Scalar, differentiable in the vertices; 0 for other fields."""
        surface = getattr(field, "surface_mesh", None)
        if surface is None:
            return torch.zeros(())
        mesh = surface()
        faces, pairs = _known(mesh.faces)
        if not len(pairs):
            return torch.zeros((), device=mesh.vertices.device)
        return one_thread(lambda v: _bend(v, faces, pairs), mesh.vertices)


_pairs = WeakTensorKeyDictionary()  # of faces that are there for longer than a step


def _known(faces: Tensor) -> tuple[Tensor, Tensor]:
    """The faces as int64, and ``face_pairs`` of them, for whose number a GPU is waited for once."""
    found: tuple[Tensor, Tensor] | None = _pairs.get(faces)
    if found is None:
        found = faces.long(), face_pairs(faces.long())
        _pairs[faces] = found
    return found


def face_pairs(faces: Tensor) -> Tensor:
    """[m, 2] the faces on both sides of every edge that two of faces [f, 3] share."""
    a, b, c = faces.unbind(1)  # indices as lists would be sent to a GPU
    sides = torch.cat([torch.stack(side, dim=1) for side in ((a, b), (b, c), (c, a))]).sort(1).values
    key = sides[:, 0] * (int(faces.max()) + 1 if len(faces) else 1) + sides[:, 1]
    order = torch.argsort(key, stable=True)
    owner, key = order % max(len(faces), 1), key[order]
    same = key[1:] == key[:-1]
    alone = torch.ones_like(same)
    alone[1:] &= ~same[:-1]  # an edge of three faces counts once
    return torch.stack([owner[:-1], owner[1:]], dim=1)[same & alone]


def _bend(vertices: Tensor, faces: Tensor, pairs: Tensor) -> Tensor:
    a, b, c = rows_of(vertices, faces).unbind(1)
    normal = torch.nn.functional.normalize(torch.linalg.cross(b - a, c - a), dim=1, eps=1e-20)
    one, other = (rows_of(normal, pairs[:, i]) for i in (0, 1))
    return (1 - (one * other).sum(1)).mean()
