"""Silhouettes of a rasterized mesh as shares of pixels, differentiable in the vertices.

Source: Laine et al., "Modular Primitives for High-Performance Differentiable Rendering", SIGGRAPH Asia 2020, arXiv
2011.03277, section 3.4: where two neighbouring pixels see different surfaces, the edge of the nearer one is found
between their centres, and the pixel that it divides gets a share of the other's colour. In plain torch: only pixels on
silhouettes are touched, and a host that works on a GPU waits for their number.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

_TOUCH = 1e-3  # of the way between two centres
_JUMP = 0.02  # of the depth: a smaller step is one surface


class Blends(NamedTuple):
    """Pixels that share the colour of a neighbour: flat indices target, source [n], and shares [n] (differentiable)."""

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
    parts = []
    for first, second in ((index[:, :-1], index[:, 1:]), (index[:-1], index[1:])):
        a, b = first.reshape(-1), second.reshape(-1)
        fa, fb, za, zb = face.view(-1)[a], face.view(-1)[b], depth.view(-1)[a], depth.view(-1)[b]
        hit_a, hit_b = fa >= 0, fb >= 0
        step = (za - zb).abs() > _JUMP * torch.maximum(za, zb)
        divided = ((fa != fb) & ((hit_a != hit_b) | (hit_a & hit_b & step))).nonzero().squeeze(1)
        a, b, fa, fb, za, zb = (t[divided] for t in (a, b, fa, fb, za, zb))
        a_in_front = (fa >= 0) & ((fb < 0) | (za <= zb))
        front, behind = torch.where(a_in_front, a, b), torch.where(a_in_front, b, a)
        owner = torch.where(a_in_front, fa, fb).long()
        parts.append(_divided(front, behind, corners_px[owner], width))
    return Blends(*(torch.cat(columns) for columns in zip(*parts)))


def _divided(front: Tensor, behind: Tensor, corners: Tensor, width: int) -> tuple[Tensor, Tensor, Tensor]:
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
    found = (t.detach() <= 1).nonzero().squeeze(1)
    front, behind, t = front[found], behind[found], t[found]
    inner = t.detach() < 0.5
    # the edge lies within the front pixel: it shows what is behind; or within the other, which shows some of the front
    return torch.where(inner, front, behind), torch.where(inner, behind, front), torch.where(inner, 0.5 - t, t - 0.5)


def antialias(picture: Tensor, blends: Blends) -> Tensor:
    """picture [height, width, channels] with the shares of ``silhouettes`` mixed in; differentiable in both."""
    flat = picture.reshape(-1, picture.shape[-1])
    mixed = (flat[blends.source] - flat[blends.target]) * blends.share[:, None]
    return flat.index_add(0, blends.target, mixed).view_as(picture)
