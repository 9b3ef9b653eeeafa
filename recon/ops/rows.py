"""Rows of a tensor by number, where no number comes twice. CPU kernels: cuda/rows; elsewhere plain torch.

Torch copies rows one call at a time, and adds up gradients that have one part each.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from recon.ops.checks import CPU, expect_tensor
from recon.ops.native import native

_MOVED = (torch.float32, torch.float64, torch.int32)


def rows_where(mask: Tensor) -> Tensor:
    """[k] int64, ascending: the rows where ``mask`` [n] (bool, or uint8 and not 0) is true."""
    if mask.device != CPU or not mask.is_contiguous():
        return mask.nonzero().squeeze(1)
    plain = mask.view(torch.uint8)
    index = torch.empty(native.rows_count(plain), dtype=torch.int64)
    native.rows_where(plain, index)
    return index


def repeats(x: Tensor) -> bool:
    """Whether x [n, c] holds one number a row, as the gradient of a sum over columns does."""
    return x.ndim == 2 and x.shape[1] > 1 and x.stride(1) == 0


def gathered(x: Tensor, index: Tensor) -> Tensor:
    """x [n, ...] at ``index`` [k] int64 -> [k, ...]; not differentiable."""
    x = x.detach()
    if repeats(x):
        return gathered(x[:, 0].contiguous(), index)[:, None].expand(-1, x.shape[1]).contiguous()
    if x.device != CPU or x.dtype not in _MOVED:
        return x.index_select(0, index)
    if not x.is_contiguous():
        return x[index]
    out = x.new_empty(len(index), *x.shape[1:])
    native.rows_gather(x, index, out)
    return out


def scattered(rows: Tensor, index: Tensor, count: int) -> Tensor:
    """rows [k, ...] at places ``index`` [k] int64, ascending, of [count, ...], 0 elsewhere; not differentiable."""
    rows = rows.detach()
    if rows.device != CPU or rows.dtype not in _MOVED:
        return rows.new_zeros(count, *rows.shape[1:]).index_copy_(0, index, rows)
    out = rows.new_empty(count, *rows.shape[1:])
    native.rows_scatter(rows.contiguous(), index, out)
    return out


class _Taken(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, index: Tensor) -> Tensor:
        ctx.count, ctx.index = len(x), index
        return gathered(x, index)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        return scattered(g, ctx.index, ctx.count), None


def taken(x: Tensor, index: Tensor) -> Tensor:
    """x [n, ...] at ``index`` [k] int64, ascending, none twice -> [k, ...]; differentiable.

    Raises TypeError or ValueError where ``index`` is of another kind.
    """
    expect_tensor("index", index, torch.int64, ("k",), on=x.device)
    result: Tensor = _Taken.apply(x, index) if x.requires_grad and torch.is_grad_enabled() else gathered(x, index)
    return result
