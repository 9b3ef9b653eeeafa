"""Functions of single numbers that give the same bits on any number of threads.

``torch.sigmoid`` computes full vectors and the rest of a thread's piece in two ways that differ in the last bit, so its
result depends on where threads divide the work. Everything that decides how a fit goes on uses these instead.
"""

from __future__ import annotations

import torch
from torch import Tensor

_LOWEST = -80.0  # exp(80) is still a float; the sigmoid of less is 0 for every purpose here


def sigmoid(x: Tensor) -> Tensor:
    """1 / (1 + exp(-x)) of any shape, float32 or float64; differentiable."""
    return torch.reciprocal(1.0 + torch.exp(-x.clamp(min=_LOWEST)))


def logit(p: Tensor) -> Tensor:
    """The inverse of ``sigmoid``, for 0 < p < 1."""
    return torch.log(p / (1.0 - p))
