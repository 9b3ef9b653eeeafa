"""Adam on CUDA: the kernels of cuda/adam/adam.cu. Nothing here waits for the device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from recon.ops import cuda


def adam_many(module: Any, params: Sequence[Tensor], grads: Sequence[Tensor], ms: Sequence[Tensor],
              vs: Sequence[Tensor], rates: Sequence[float], row_rates: Sequence[Tensor | None], step: int,
              beta1: float, beta2: float, eps: float, mask: Tensor | None, ids: Tensor | None,
              counts: Tensor | None = None) -> Tensor:
    """One step in place; returns [1] int32 on the device, the rows skipped. Arguments as in ``recon.ops.adam``."""
    if not params:
        return torch.zeros(1, dtype=torch.int32)
    device, rows = params[0].device, len(params[0])
    skipped = torch.zeros(1, dtype=torch.int32, device=device)
    active = cuda.none(device, torch.uint8) if mask is None else mask
    if ids is not None and rows:
        active = torch.zeros(rows, dtype=torch.uint8, device=device)
        active[ids.long()] = 1
    for param, grad, m, v, rate, per_row in zip(params, grads, ms, vs, rates, row_rates):
        if param.numel() == 0:
            continue
        if counts is not None:
            active = counts.to(torch.uint8).expand(len(param)).contiguous()
        module.adam(param, grad, m, v, rate, cuda.none(device) if per_row is None else per_row, step, beta1, beta2,
                    eps, active, cuda.scratch(param, len(param)), skipped, cuda.stream(device))
    return skipped
