"""Rows that are chosen by their values: those that weigh something, that lie in front.

Where no ``Room`` is open there are as many as are chosen, for which a GPU must be waited for. In an open room the list
has a capacity: behind the last chosen row, entries are -1, stand for rows of zeros and must count for nothing. What is
chosen and in which order is the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from recon.ops import cuda, room
from recon.ops.rows import rows_where, taken


class _Rows(torch.autograd.Function):
    """Rows of x [n, ...] at ``index`` [k]; its inverse ``slot`` [n] gathers their gradients, so nothing is added up."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, index: Tensor, slot: Tensor) -> Tensor:
        ctx.save_for_backward(slot)
        return _gathered(x, index)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        (slot,) = ctx.saved_tensors
        return _gathered(g, slot), None, None


class _Spread(torch.autograd.Function):
    """The other way round: rows [k, ...] to their places in [n, ...], 0 elsewhere."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, index: Tensor, slot: Tensor) -> Tensor:
        ctx.save_for_backward(index)
        return _gathered(rows, slot)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        (index,) = ctx.saved_tensors
        return _gathered(g, index), None, None


def _gathered(x: Tensor, index: Tensor) -> Tensor:
    """Rows of x, 0 where ``index`` is negative."""
    there = (index >= 0).view(-1, *[1] * (x.ndim - 1))
    return torch.where(there, x.index_select(0, index.clamp_min(0)), 0)


@dataclass(frozen=True)
class Chosen:
    """``index`` [k] int64: the rows where ``mask`` [n] bool is true, ascending.

    In a room also ``slot`` [n] int64, where each row is in the list (-1: nowhere), and -1 at the end of ``index``.
    """

    mask: Tensor
    index: Tensor
    slot: Tensor | None = None

    def __len__(self) -> int:
        return len(self.index)

    def of(self, x: Tensor) -> Tensor:
        """Rows of x [n, ...] -> [k, ...]; differentiable."""
        return taken(x, self.index) if self.slot is None else _Rows.apply(x, self.index, self.slot)

    def added_to(self, total: Tensor, rows: Tensor) -> Tensor:
        """total [n, ...] with ``rows`` [k, ...] added where they belong; differentiable."""
        if self.slot is None:
            return total.index_add(0, self.index, rows)
        return total + _Spread.apply(rows, self.index, self.slot)

    def before(self) -> Tensor:
        """[n + 1] int32: how many chosen rows lie before each, at most k."""
        out = _before(self.mask)
        return out if self.slot is None else out.clamp_max(len(self.index))

    def counted(self) -> Tensor | None:
        """[k] bool: which entries are rows; None: all."""
        return None if self.slot is None else self.index >= 0


def choose(mask: Tensor, name: str) -> Chosen:
    """The rows where ``mask`` [n] is true; ``name`` is that of the list in a room."""
    open_room = room.current()
    if open_room is None:
        return Chosen(mask, rows_where(mask))
    before = _before(mask)
    capacity = open_room.take(name, before[-1:])
    held = mask & (before[:-1] < capacity)
    slot = torch.where(held, before[:-1], -1).long()
    rows = torch.arange(len(mask), device=mask.device)
    index = rows.new_full((capacity + 1,), -1)
    index.scatter_(0, torch.where(held, slot, capacity), torch.where(held, rows, -1))
    return Chosen(mask, index[:capacity], slot)


def places(rows: Chosen, among: Chosen, before: Tensor) -> Tensor:
    """[k] int32: where ``rows`` are in another list of the same rows (``before``: its), -1 behind their end."""
    if among.slot is None:
        return before.index_select(0, rows.index)
    return torch.where(rows.index >= 0, among.slot.index_select(0, rows.index.clamp_min(0)), -1).to(torch.int32)


def _before(mask: Tensor) -> Tensor:
    out = torch.zeros(len(mask) + 1, dtype=torch.int32, device=mask.device)
    torch.cumsum(mask, 0, dtype=torch.int32, out=out[1:])
    return out


class _Total(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        ctx.count, module = len(values), cuda.kernels_for(values)
        assert module is not None
        out = values.new_empty(1)
        module.march_total(values, cuda.scratch(values, -(-len(values) // module.march_chunk), torch.float32), out,
                           cuda.stream(values.device))
        return out[0]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return g.expand(ctx.count).contiguous()


class Counted(NamedTuple):
    """Rows [k, ...], and which of them count [k] bool; None: all."""

    rows: Tensor
    counted: Tensor | None = None


def mean_of(function: Callable[[Tensor], Tensor], *parts: Counted) -> Tensor:
    """Mean of ``function`` (rows [k, ...] -> [k]) over the rows of all parts that count; 0 where there are none.

    Of several parts each says which rows count; the order of the sum then does not depend on how many do not.
    """
    if parts[0].counted is None:
        return function(parts[0].rows).mean() if len(parts[0].rows) else torch.zeros(())
    sums, counts = [], []
    for rows, counted in parts:
        assert counted is not None
        sums.append(_Total.apply(torch.where(counted, function(rows), 0.0)))
        counts.append(counted.sum())
    total: Tensor = torch.stack(sums).sum() / torch.stack(counts).sum().clamp_min(1)
    return total
