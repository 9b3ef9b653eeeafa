"""A small fully connected network, forward and backward in one kernel each. Kernels: cuda/mlp.

Hidden layers are rectified. All weights are one flat parameter, layer after layer: weights [in, out], then biases
[out].
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from recon.ops.checks import expect_tensor, place_of
from recon.ops.mlp_cuda import kernels_of
from recon.ops.rows import gathered, scattered
from recon.ops.sparse_rows import nonzero_rows

FLOATS = (torch.float32, torch.float64)


def parameter_count(sizes: Sequence[int]) -> int:
    """Numbers in the flat parameter of a network with layers of ``sizes`` [inputs, hidden ..., outputs]."""
    return sum((a + 1) * b for a, b in itertools.pairwise(sizes))


def initial(sizes: Sequence[int], generator: torch.Generator) -> Tensor:
    """Uniform weights that keep the variance through rectified layers (He et al. 2015), zero biases."""
    parts = []
    for a, b in itertools.pairwise(sizes):
        parts += [(torch.rand(a * b, generator=generator) * 2 - 1) * math.sqrt(6 / a), torch.zeros(b)]
    return torch.cat(parts)


class _Mlp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, parameters: Tensor, x: Tensor, shared: Tensor, row: Tensor, sizes: list[int],
                squash: bool) -> Tensor:
        out = x.new_empty(len(x), sizes[-1])
        kernels_of(x).mlp_forward(sizes, parameters.detach(), x.detach(), shared, row, squash, out)
        ctx.save_for_backward(parameters, x, shared, row)
        ctx.network = sizes, squash
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g_out: Tensor) -> tuple[Tensor | None, ...]:
        parameters, x, shared, row = ctx.saved_tensors
        sizes, squash = ctx.network
        g_parameters, rows = torch.zeros_like(parameters), nonzero_rows(g_out)
        if rows is not None:  # the others (behind what is opaque) need not be computed again
            x, row, g_out = gathered(x, rows), gathered(row, rows) if len(row) else row, gathered(g_out, rows)
        g_x = torch.empty_like(x)
        kernels_of(x).mlp_backward(sizes, parameters.detach(), x.detach(), shared, row, squash, g_out.contiguous(),
                                   g_x, g_parameters)
        if rows is not None:
            g_x = scattered(g_x, rows, len(ctx.saved_tensors[1]))
        return g_parameters, g_x, None, None, None, None


def mlp(parameters: Tensor, sizes: Sequence[int], x: Tensor, shared: Tensor | None = None, row: Tensor | None = None, *,
        squash: bool = False) -> Tensor:
    """Outputs [n, sizes[-1]] for inputs x [n, a]; differentiable in parameters and x.

    parameters [parameter_count(sizes)]. Where sizes[0] > a, the other inputs of row i are shared[row[i]] (shared
    [rays, sizes[0] - a], row [n] int32), so that what is equal along a ray is stored once; it gets no gradient.
    ``squash`` puts a sigmoid behind the outputs. float32 or float64. Raises ValueError or TypeError.
    """
    on = place_of(parameters)
    expect_tensor("parameters", parameters, FLOATS, (parameter_count(sizes),), on=on)
    expect_tensor("x", x, parameters.dtype, ("n", "inputs"), on=on)
    if shared is None or row is None:
        shared, row = x.new_empty(0, 0), torch.empty(0, dtype=torch.int32, device=on)
        expect_tensor("x", x, parameters.dtype, ("n", sizes[0]), on=on)
    else:
        expect_tensor("shared", shared, parameters.dtype, ("rays", sizes[0] - x.shape[1]), on=on)
        expect_tensor("row", row, torch.int32, (len(x),), on=on)
    return _Mlp.apply(parameters, x, shared.detach(), row, list(sizes), squash)


def reference(parameters: Tensor, sizes: Sequence[int], x: Tensor, shared: Tensor | None = None,
              row: Tensor | None = None, *, squash: bool = False) -> Tensor:
    """``mlp`` in plain torch."""
    if shared is not None and row is not None:
        x = torch.cat([x, shared[row.long()]], dim=1)
    at = 0
    for i, (a, b) in enumerate(itertools.pairwise(sizes)):
        x = x @ parameters[at:at + a * b].view(a, b) + parameters[at + a * b:at + (a + 1) * b]
        at += (a + 1) * b
        if i + 2 < len(sizes):
            x = torch.relu(x)
    return torch.sigmoid(x) if squash else x
