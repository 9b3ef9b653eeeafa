"""Looking up voxel grids and their factorisations. Kernels: cuda/grid; on CUDA float32.

Points are in unit coordinates, 0..1 over the region; nodes lie on its corners (align-corners). Vector-matrix and
tri-vector (CP) products: Chen et al., "TensoRF", ECCV 2022, arXiv 2203.09517. Hash grid: Mueller et al., "Instant
neural graphics primitives with a multiresolution hash encoding", SIGGRAPH 2022, arXiv 2201.05989.

Backward passes add straight into the ``grad`` of leaf parameters, which may be hundreds of megabytes of which a step
touches a few percent; a gradient tensor per call would cost more than the lookup. Points without a gradient (behind
what is opaque) are passed over. Points get no gradient themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from recon.ops.checks import expect_tensor, place_of
from recon.ops.grid_cuda import kernels_of
from recon.ops.rows import gathered
from recon.ops.sparse_rows import nonzero_rows

FLOATS = (torch.float32, torch.float64)


def _into(parameter: Tensor) -> tuple[Tensor, bool]:
    """Where a gradient is added, and whether autograd must be told of it (it is no leaf)."""
    if not parameter.is_leaf:
        return torch.zeros_like(parameter), True
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    return parameter.grad, False


class _Lookup(torch.autograd.Function):
    """``forward_kernel(u, out)`` fills the result [n, width], ``backward_kernel(u, g_out, *buffers)`` adds up."""

    @staticmethod
    def forward(ctx: Any, forward_kernel: Callable[..., None], backward_kernel: Callable[..., None], u: Tensor,
                width: int, *parameters: Tensor) -> Tensor:
        out = u.new_empty(len(u), width)
        forward_kernel(u, out)
        ctx.kernel, ctx.u, ctx.parameters = backward_kernel, u, parameters
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g_out: Tensor) -> tuple[Tensor | None, ...]:
        buffers = [_into(p) for p in ctx.parameters]
        rows = nonzero_rows(g_out)
        u, g = (ctx.u, g_out.contiguous()) if rows is None else (gathered(ctx.u, rows), gathered(g_out, rows))
        ctx.kernel(u, g, *(b for b, _ in buffers))
        return None, None, None, None, *(b if told else None for b, told in buffers)


def _points(u: Tensor, dtype: torch.dtype, on: torch.device) -> Tensor:
    expect_tensor("u", u, dtype, ("n", 3), on=on)
    return u.detach()


def trilinear(values: Tensor, u: Tensor) -> Tensor:
    """values [x, y, z, channels] at points u [n, 3] in 0..1 (held inside) -> [n, channels]; differentiable in values.

    float32 or float64. Raises ValueError or TypeError naming the argument.
    """
    on = place_of(values)
    expect_tensor("values", values, FLOATS, ("x", "y", "z", "channels"), on=on)
    at, plain = _points(u, values.dtype, on), values.detach()
    kernels = kernels_of(values)
    return _Lookup.apply(lambda u, out: kernels.grid_trilinear(plain, u, out), kernels.grid_trilinear_backward,
                         at, values.shape[3], values)


def vector_matrix(planes: Tensor, lines: Tensor, u: Tensor) -> Tensor:
    """Products plane(u_{k+1}, u_{k+2}) line(u_k) for k = 0, 1, 2 -> [n, 3 * rank]; differentiable in both factors.

    planes [3, nodes, nodes, rank], lines [3, nodes, rank], u [n, 3]; eq. (5) of TensoRF.
    """
    on = place_of(planes)
    expect_tensor("planes", planes, FLOATS, (3, "nodes", "nodes", "rank"), on=on)
    expect_tensor("lines", lines, planes.dtype, (3, planes.shape[1], planes.shape[3]), on=on)
    at, p, v = _points(u, planes.dtype, on), planes.detach(), lines.detach()
    kernels = kernels_of(planes)
    return _Lookup.apply(lambda u, out: kernels.grid_vector_matrix(p, v, u, out),
                         lambda u, g, gp, gv: kernels.grid_vector_matrix_backward(p, v, u, g, gp, gv),
                         at, 3 * lines.shape[2], planes, lines)


def tri_vector(lines: Tensor, u: Tensor) -> Tensor:
    """Products of three vectors, lines [3, nodes, rank] at u [n, 3] -> [n, rank]; differentiable in lines."""
    on = place_of(lines)
    expect_tensor("lines", lines, FLOATS, (3, "nodes", "rank"), on=on)
    at, v = _points(u, lines.dtype, on), lines.detach()
    kernels = kernels_of(lines)
    return _Lookup.apply(lambda u, out: kernels.grid_tri_vector(v, u, out),
                         lambda u, g, into: kernels.grid_tri_vector_backward(v, u, g, into),
                         at, lines.shape[2], lines)


def hash_grid(table: Tensor, nodes: Sequence[int], u: Tensor) -> Tensor:
    """Multiresolution hash grid -> [n, levels * features]; differentiable in table.

    table [levels, slots, features], slots a power of two; nodes: of each level along an axis (levels that fit are
    stored densely); u [n, 3].
    """
    on = place_of(table)
    expect_tensor("table", table, FLOATS, (len(nodes), "slots", "features"), on=on)
    at, plain, levels = _points(u, table.dtype, on), table.detach(), list(nodes)
    kernels = kernels_of(table)
    return _Lookup.apply(lambda u, out: kernels.grid_hash(plain, levels, u, out),
                         lambda u, g, into: kernels.grid_hash_backward(levels, u, g, into),
                         at, table.shape[0] * table.shape[2], table)


def local_tensors(lines: Tensor, table: Tensor, half: float, u: Tensor) -> Tensor:
    """Products of three vectors in small tensors on a lattice over 0..1 -> [n, rank]; differentiable in lines.

    lines [tensors, 3, nodes, rank]; table [x, y, z] int32, the tensor of each site or -1; tensors reach ``half`` sites
    (0.5 < half <= 1) to both sides of their centre and are blended linearly where they overlap. Sites without a tensor
    count as zero. Gao et al., "Strivec", ICCV 2023, arXiv 2307.13226.
    """
    on = place_of(lines)
    expect_tensor("lines", lines, FLOATS, ("tensors", 3, "nodes", "rank"), on=on)
    expect_tensor("table", table, torch.int32, ("x", "y", "z"), on=on)
    at, v = _points(u, lines.dtype, on), lines.detach()
    kernels = kernels_of(lines)
    return _Lookup.apply(lambda u, out: kernels.grid_local(v, table, half, u, out),
                         lambda u, g, into: kernels.grid_local_backward(v, table, half, u, g, into),
                         at, lines.shape[3], lines)


# ---------------------------------------------------------------- references in plain torch


def _interpolated(values: Tensor, u: Tensor) -> Tensor:
    """values [n_1, .., n_d, channels] at u [n, d], corner by corner."""
    dims = values.ndim - 1
    out = values.new_zeros(len(u), values.shape[-1])
    for k in range(1 << dims):
        index, weight = [], torch.ones(len(u), dtype=values.dtype, device=u.device)
        for i in range(dims):
            g = u[:, i] * (values.shape[i] - 1)
            node = g.floor().clamp(0, values.shape[i] - 2)
            last = k >> i & 1
            index.append(node.long() + last)
            weight = weight * ((g - node) if last else (1 - (g - node)))
        out = out + weight[:, None] * values[tuple(index)]
    return out


def trilinear_reference(values: Tensor, u: Tensor) -> Tensor:
    """``trilinear`` in plain torch."""
    return _interpolated(values, u)


def vector_matrix_reference(planes: Tensor, lines: Tensor, u: Tensor) -> Tensor:
    """``vector_matrix`` in plain torch."""
    x = u.unbind(1)
    modes = [_interpolated(planes[k], torch.stack([x[(k + 1) % 3], x[(k + 2) % 3]], dim=1))
             * _interpolated(lines[k], u[:, k:k + 1]) for k in range(3)]
    return torch.cat(modes, dim=1)


def tri_vector_reference(lines: Tensor, u: Tensor) -> Tensor:
    """``tri_vector`` in plain torch."""
    x, y, z = (_interpolated(lines[k], u[:, k:k + 1]) for k in range(3))
    return x * y * z


def hash_grid_reference(table: Tensor, nodes: Sequence[int], u: Tensor) -> Tensor:
    """``hash_grid`` in plain torch, for levels small enough to be laid out whole."""
    levels = []
    for level, n in enumerate(nodes):
        axis = torch.arange(n)
        x, y, z = torch.meshgrid(axis, axis, axis, indexing="ij")
        slots = table.shape[1]
        slot = (x * n + y) * n + z if n**3 <= slots else (
            x ^ (y * 2654435761 & 0xFFFFFFFF) ^ (z * 805459861 & 0xFFFFFFFF)) & (slots - 1)
        levels.append(_interpolated(table[level][slot], u))
    return torch.cat(levels, dim=1)


def local_tensors_reference(lines: Tensor, table: Tensor, half: float, u: Tensor) -> Tensor:
    """``local_tensors`` in plain torch, site by site."""
    sites, out = torch.tensor(table.shape, dtype=u.dtype), lines.new_zeros(len(u), lines.shape[3])
    p = u.clamp(0, 1) * sites
    for site in torch.ones(table.shape).nonzero():
        d = p - (site + 0.5)
        tent = ((half - d.abs()) / (2 * half - 1)).clamp(0, 1)  # 1 where no other tensor reaches
        first, last = (site == 0) & (d < 0), (site == sites - 1) & (d > 0)
        weight = torch.where(first | last, torch.ones_like(tent), tent).prod(1)
        held = (weight > 0).nonzero().squeeze(1)
        tensor = int(table[tuple(site)])
        if tensor < 0 or not len(held):
            continue
        inside = (d[held] + half) / (2 * half)
        out = out.index_add(0, held, weight[held, None] * tri_vector_reference(lines[tensor], inside))
    return out
