"""Silhouettes of a rasterized mesh as shares of pixels, differentiable in the vertices.

Source: Laine et al., "Modular Primitives for High-Performance Differentiable Rendering", SIGGRAPH Asia 2020, arXiv
2011.03277, section 3.4: where two neighbouring pixels see different surfaces, the edge of the nearer one is found
between their centres, and the pixel that it divides gets a share of the other's colour. In plain torch: only pixels on
silhouettes are touched; in a ``Room`` nobody waits for their number.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from recon.ops.chosen import choose
from recon.ops.gather import rows_added

_TOUCH = 1e-3  # of the way between two centres
_JUMP = 0.02  # of the depth: a smaller step is one surface


class Blends(NamedTuple):
    """Pixels that share the colour of a neighbour: flat indices target, source [n], and shares [n] (differentiable).

    In a room some at the end are pixel 0 with itself, with a share of 0.
    """

    target: Tensor
    source: Tensor
    share: Tensor


def silhouettes(face: Tensor, depth: Tensor, corners_px: Tensor) -> Blends:
    """Which pixels are divided by a silhouette, and by how much.

    face [height, width] int32 (-1: none), depth [height, width] (0: none); corners_px [f, 3, 2] corners of all faces on
    the screen, differentiable; those of faces that are not seen may hold anything.
    """
    height, width = face.shape
    index = torch.arange(height * width, device=face.device).view(height, width)
    if not len(corners_px):  # then nothing is seen
        nothing = index.new_empty(0)
        return Blends(nothing, nothing, corners_px.new_empty(0))
    parts = []
    for name, first, second in (("across", index[:, :-1], index[:, 1:]), ("down", index[:-1], index[1:])):
        a, b = first.reshape(-1), second.reshape(-1)
        fa, fb, za, zb = face.view(-1)[a], face.view(-1)[b], depth.view(-1)[a], depth.view(-1)[b]
        hit_a, hit_b = fa >= 0, fb >= 0
        step = (za - zb).abs() > _JUMP * torch.maximum(za, zb)
        divided = choose((fa != fb) & ((hit_a != hit_b) | (hit_a & hit_b & step)), f"pairs {name}")
        a, b, fa, fb, za, zb = (divided.of(t) for t in (a, b, fa, fb, za, zb))
        a_in_front = (fa >= 0) & ((fb < 0) | (za <= zb))
        front, behind = torch.where(a_in_front, a, b), torch.where(a_in_front, b, a)
        corners = corners_px[torch.where(a_in_front, fa, fb).long()]
        counted = divided.counted()
        if counted is not None:
            corners = torch.where(counted[:, None, None], corners, 0)
        parts.append(_divided(front, behind, corners, width, name))
    return Blends(*(torch.cat(columns) for columns in zip(*parts)))


def _divided(front: Tensor, behind: Tensor, corners: Tensor, width: int, name: str
             ) -> tuple[Tensor, Tensor, Tensor]:
    def centre(pixel: Tensor) -> Tensor:
        return torch.stack([pixel % width, pixel // width], dim=1).to(corners.dtype) + 0.5

    p, q = centre(front), centre(behind)
    a, b, c = corners.unbind(1)

    def side(u: Tensor, v: Tensor, x: Tensor) -> Tensor:
        return (v[:, 0] - u[:, 0]) * (x[:, 1] - u[:, 1]) - (v[:, 1] - u[:, 1]) * (x[:, 0] - u[:, 0])

    turn = torch.where(side(a, b, c).detach() < 0, -1.0, 1.0)
    leaves = []
    for u, v in ((a, b), (b, c), (c, a)):
        at_p, at_q = side(u, v, p) * turn, side(u, v, q) * turn
        gap = (at_p - at_q).detach()
        # an edge right through a centre counts for either side of it
        crosses = (gap > 0) & (at_p.detach() >= -_TOUCH * gap) & (at_q.detach() < _TOUCH * gap)
        t = at_p / torch.where(crosses, at_p - at_q, torch.ones_like(at_p))
        leaves.append(torch.where(crosses, t.clamp(0, 1), torch.full_like(at_p, 2.0)))
    t = torch.stack(leaves).amin(0)  # where the line between the centres leaves the face
    found = choose(t.detach() <= 1, f"silhouettes {name}")
    front, behind, t = found.of(front), found.of(behind), found.of(t)
    inner = t.detach() < 0.5
    # the edge lies within the front pixel: it shows what is behind; or within the other, which shows some of the front
    share, counted = torch.where(inner, 0.5 - t, t - 0.5), found.counted()
    if counted is not None:
        share = torch.where(counted, share, 0.0)
    return torch.where(inner, front, behind), torch.where(inner, behind, front), share


def antialias(picture: Tensor, blends: Blends) -> Tensor:
    """picture [height, width, channels] with the shares of ``silhouettes`` mixed in; differentiable in both."""
    flat = picture.reshape(-1, picture.shape[-1])
    mixed = (flat[blends.source] - flat[blends.target]) * blends.share[:, None]
    return rows_added(flat, blends.target, mixed).view_as(picture)
