"""A distance grows by one per unit of length: gradients should have length one.

Source: Gropp et al., "Implicit Geometric Regularization for Learning Shapes", ICML 2020, arXiv 2002.10099, eq. 2.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor

from recon.ops.chosen import mean_of
from recon.types import Observation, Render


@dataclass(frozen=True)
class Eikonal:
    """Mean of (|gradient| - 1)^2 over samples along the rays and random points; nothing for fields without distance."""

    weight: float = 0.1

    @property
    def channels(self) -> Collection[str]:
        return ("rgb", "gradient")

    def value(self, render: Render, seen: Observation) -> Tensor:
        parts = getattr(render.trace, "gradients", None)
        return torch.zeros(()) if parts is None else mean_of(_unlike_one, *parts)


def _unlike_one(gradient: Tensor) -> Tensor:
    length = (gradient.square().sum(1) + 1e-12).sqrt()
    return (length - 1).square()
