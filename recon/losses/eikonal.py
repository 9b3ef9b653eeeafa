"""A distance grows by one per unit of length: gradients should have length one.

Source: Gropp et al., "Implicit Geometric Regularization for Learning Shapes", ICML 2020, arXiv 2002.10099, eq. 2.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor

from recon.types import Observation, Render


@dataclass(frozen=True)
class Eikonal:
    """Mean of (|gradient| - 1)^2 over samples along the rays and random points; nothing for fields without distance."""

    weight: float = 0.1

    @property
    def channels(self) -> Collection[str]:
        return ("rgb", "gradient")

    def value(self, render: Render, seen: Observation) -> Tensor:
        gradients = getattr(render.trace, "gradients", None)
        if gradients is None or not len(gradients):
            return torch.zeros(())
        length = (gradients.square().sum(1) + 1e-12).sqrt()
        return (length - 1).square().mean()
