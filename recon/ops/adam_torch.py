"""One step of Adam in plain torch, for GPUs without our kernels."""

from __future__ import annotations

import torch
from torch import Tensor

LARGEST = 1e18  # of a gradient: its square would be infinite


def adam_rows(param: Tensor, grad: Tensor, m: Tensor, v: Tensor, rate: float | Tensor, step: int, beta1: float,
          beta2: float, eps: float, take: Tensor) -> None:
    """One step in place on the numbers or rows of ``take``; the others keep their bits."""
    take = take.reshape(-1, *[1] * (param.ndim - 1)) if take.ndim < param.ndim else take
    new_m = beta1 * m + (1 - beta1) * grad
    new_v = beta2 * v + (1 - beta2) * grad * grad
    new = param - rate / (1 - beta1**step) * new_m / ((new_v / (1 - beta2**step)).sqrt() + eps)
    for old, better in ((param, new), (m, new_m), (v, new_v)):
        old.copy_(torch.where(take, better, old))
