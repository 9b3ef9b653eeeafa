"""One number and its gradient from dense grids of growing resolution. Kernels: cuda/grid.

value(u) = sum over levels of trilinear(level, u) / (nodes - 1). Both value and gradient are linear in the nodes, so
that losses of gradients (normals, eikonal) need no second derivatives; coarse levels carry changes far at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from recon.ops.checks import expect_tensor, place_of
from recon.ops.grid_cuda import kernels_of

FLOATS = (torch.float32, torch.float64)


def node_count(nodes: Sequence[int]) -> int:
    """Numbers that levels with ``nodes`` along an axis hold."""
    return sum(n**3 for n in nodes)


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, u: Tensor, nodes: list[int]) -> tuple[Tensor, Tensor]:
        out, gradient = u.new_empty(len(u)), torch.empty_like(u)
        kernels_of(u).grid_sum(values.detach(), nodes, u, out, gradient)
        ctx.values, ctx.nodes = values, nodes
        ctx.save_for_backward(u)
        return out, gradient

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g_out: Tensor, g_gradient: Tensor) -> tuple[Tensor | None, ...]:
        (u,), values = ctx.saved_tensors, ctx.values
        if values.is_leaf and values.grad is None:
            values.grad = torch.zeros_like(values)
        into = values.grad if values.is_leaf else torch.zeros_like(values)
        kernels_of(u).grid_sum_backward(ctx.nodes, u, g_out.contiguous(), g_gradient.contiguous(), into)
        return None if values.is_leaf else into, None, None


def grid_sum(values: Tensor, nodes: Sequence[int], u: Tensor) -> tuple[Tensor, Tensor]:
    """Values [n] and their gradients by u [n, 3] at points u [n, 3] in 0..1 (held inside).

    values [m] flat, levels with ``nodes`` along an axis one after another, z fastest; m may be more than
    ``node_count``: levels behind are left alone. Differentiable in values: a leaf's ``grad`` is added to directly.
    float32 or float64. Raises ValueError or TypeError naming the argument.
    """
    on = place_of(values)
    expect_tensor("values", values, FLOATS, ("m",), on=on)
    expect_tensor("u", u, values.dtype, ("n", 3), on=on)
    levels = [int(n) for n in nodes]
    if not all(2 <= n <= 2048 for n in levels):
        raise ValueError(f"nodes must be 2 to 2048 of each level, got {levels}")
    if len(values) < node_count(levels):
        raise ValueError(f"values must hold {node_count(levels):,} numbers, got {len(values):,}")
    value, gradient = _Sum.apply(values, u.detach(), levels)
    return value, gradient


def reference(values: Tensor, nodes: Sequence[int], u: Tensor) -> tuple[Tensor, Tensor]:
    """``grid_sum`` in plain torch; the gradient by autograd."""
    at = u.detach().clamp(0, 1).requires_grad_()
    start, total = 0, at.new_zeros(len(at))
    for n in nodes:
        level = values[start:start + n**3].view(n, n, n)
        start += n**3
        g = at * (n - 1)
        node = g.detach().floor().clamp(0, n - 2)
        t, i = g - node, node.long()
        for k in range(8):
            x, y, z = k & 1, k >> 1 & 1, k >> 2 & 1
            w = (t[:, 0] if x else 1 - t[:, 0]) * (t[:, 1] if y else 1 - t[:, 1]) * (t[:, 2] if z else 1 - t[:, 2])
            total = total + w * level[i[:, 0] + x, i[:, 1] + y, i[:, 2] + z] / (n - 1)
    gradient = torch.autograd.grad(total.sum(), at, create_graph=True)[0] if len(at) and nodes else at * 0
    return total, gradient


def examples(dtype: torch.dtype = torch.float32) -> Iterator[dict[str, Any]]:
    """Keyword arguments of ``grid_sum``: no points, one level, several, levels left alone."""
    generator = torch.Generator().manual_seed(0)
    for nodes, points, spare in (([2], 5, 0), ([3, 5], 0, 0), ([2, 3, 5, 9], 1, 0), ([4, 7, 13], 300, 40)):
        values = torch.randn(node_count(nodes) + spare, generator=generator, dtype=dtype)
        yield {"values": values, "nodes": nodes, "u": torch.rand(points, 3, generator=generator, dtype=dtype)}
