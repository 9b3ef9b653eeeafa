"""Meshes that move with the function they were taken from: gradients through an iso-surface.

Source: Remelli et al., "MeshSDF: Differentiable Iso-Surface Extraction", NeurIPS 2020, arXiv 2006.03997, theorem 1;
with the general factor 1 / |grad s| of Guillard et al., "DeepMesh", arXiv 2106.11795, for functions that are no
distances. Meshing itself is not differentiated: a point of a level set moves along the normal only, and how far follows
from the function there.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_FLAT = 0.1  # slopes below this share of the median count as much: there the surface is about to vanish, or to appear


def moving_vertices(vertices: Tensor, function: Callable[[Tensor], Tensor], *, level: float = 0.0,
                    project: bool = True) -> Tensor:
    """``vertices`` [v, 3] of the level set of ``function``, as they depend on its parameters.

    function  points [n, 3] -> values [n], negative inside, differentiable in its parameters and in the points
    project   moves every vertex onto the level set first, by one step of Newton's (linear interpolation on a grid is
              only near it)

    The values are those of the vertices; whatever is computed from them has gradients in the parameters of the
    function: dv = -grad s / |grad s|^2 ds. Gradients by the points' own positions stop here. Raises ValueError for a
    function that has no finite slope at the vertices.
    """
    if not len(vertices):
        return vertices
    at = vertices.detach()
    value, slope = _value_and_slope(function, at)
    if project:
        at = at - (value - level)[:, None] * slope
        _, slope = _value_and_slope(function, at)
    changed = function(at)
    return at - slope * (changed - changed.detach())[:, None]


def _value_and_slope(function: Callable[[Tensor], Tensor], at: Tensor) -> tuple[Tensor, Tensor]:
    """Values [n], and how far a unit of value moves the level set: grad s / |grad s|^2 [n, 3], clamped."""
    x = at.clone().requires_grad_(True)
    with torch.enable_grad():
        value = function(x)
        gradient, = torch.autograd.grad(value.sum(), x)
    length = gradient.norm(dim=1)
    if not bool(torch.isfinite(length).all()):
        raise ValueError("the function has no finite slope at the vertices of its level set")
    least = _FLAT * length.median()
    return value.detach(), gradient / length.clamp_min(least).clamp_min(1e-12).square()[:, None]
