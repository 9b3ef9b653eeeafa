"""How far a Gauss-Newton step is trusted: what is added to the diagonal of J^T J, and how it changes with success.

Sources: Höllein, Božič, Zollhöfer, Nießner, "3DGS-LM", ICCV 2025, arXiv 2409.12892 (``PaperDamping``); the trust
region is Nielsen's rule, "Damping parameter in Marquardt's method", IMM report 1999, as solvers like Ceres use it.
Differences: the floor of the trust region's diagonal is relative to the mean of each parameter, not the constant 1,
so that it does not depend on the units; the start is bolder, for scenes that are seen whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


def _floored(diagonal: Tensor, groups: Sequence[int], share: float) -> Tensor:
    """``diagonal`` with at least ``share`` of the mean of its group; ``groups`` are consecutive lengths."""
    parts = []
    for part in torch.split(diagonal, list(groups)):
        if part.numel():  # on a GPU without a look at the mean, which would wait for it
            part = torch.maximum(part, (share * part.double().mean()).clamp_min(1e-20).to(part.dtype))
        parts.append(part)
    return torch.cat(parts)


@dataclass(frozen=True)
class PaperDamping:
    """Adds strength x diag(J^T J); the strength is halved by a success and doubled by a rejection."""

    start: float = 1e-2
    least: float = 1e-4
    most: float = 1e4
    # parameters that are hardly seen are damped as if their diagonal were this share of the mean
    floor: float = 0.1

    def term(self, diagonal: Tensor, groups: Sequence[int], strength: float) -> Tensor:
        """What is added to the diagonal [n]. ``groups``: lengths of consecutive parts with units of their own."""
        return _floored(diagonal, groups, self.floor) * strength

    def accepted(self, strength: float, ratio: float) -> float:
        return max(strength / 2, self.least)

    def rejected(self, strength: float, times: int) -> float:
        return min(strength * 2, self.most)


@dataclass(frozen=True)
class TrustRegion:
    """Adds strength x diag(J^T J), the strength being 1 / radius; it follows how well the model predicted the gain."""

    start: float = 1.0
    least: float = 1e-4
    most: float = 1e8
    floor: float = 0.1

    def term(self, diagonal: Tensor, groups: Sequence[int], strength: float) -> Tensor:
        """What is added to the diagonal [n]. ``groups``: lengths of consecutive parts with units of their own."""
        return _floored(diagonal, groups, self.floor) * strength

    def accepted(self, strength: float, ratio: float) -> float:
        """``ratio`` is the gain over the predicted gain."""
        return max(strength * max(1 / 3, 1 - (2 * min(ratio, 2.0) - 1) ** 3), self.least)

    def rejected(self, strength: float, times: int) -> float:
        """``times`` counts rejections in a row, from 1."""
        return min(strength * 2.0**times, self.most)
