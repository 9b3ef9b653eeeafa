"""Rows of a tensor by number, and sums into rows, whose order of additions is the same in every run on any device.

PyTorch adds up with atomics on a GPU where rows are selected (in the backward pass) or added by ``index_add``, and by
several threads on the processor where they are indexed; the other one of the two has a fixed order on each.
"""

from __future__ import annotations

from torch import Tensor

from recon.ops import cuda


def rows_of(x: Tensor, index: Tensor) -> Tensor:
    """x [n, ...] at ``index`` [...] int64 -> [..., ...]; differentiable."""
    if x.device.type == "cuda" and cuda.deterministic():
        return x[index]
    return x.index_select(0, index.reshape(-1)).view(*index.shape, *x.shape[1:])


def rows_added(total: Tensor, index: Tensor, rows: Tensor) -> Tensor:
    """total [n, ...] with ``rows`` [k, ...] added at ``index`` [k] int64; differentiable."""
    if total.device.type == "cuda" and cuda.deterministic():
        return total.index_put((index,), rows, accumulate=True)
    return total.index_add(0, index, rows)
