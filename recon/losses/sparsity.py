"""Opacity and size regularizers that let MCMC free Gaussians which the picture does not need.

Source: Kheradmand et al., arXiv 2404.09591, eq. 11.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from recon.ops.elementwise import sigmoid


@dataclass(frozen=True)
class OpacitySparsity:
    """Mean opacity of the Gaussians."""

    weight: float = 0.01

    def of_field(self, field: Any) -> Tensor:
        return sigmoid(field.params["logits"]).mean()


@dataclass(frozen=True)
class ScaleSparsity:
    """Mean standard deviation of the Gaussians, in units of the normalised scene."""

    weight: float = 0.01

    def of_field(self, field: Any) -> Tensor:
        return field.params["log_scales"].exp().mean()
