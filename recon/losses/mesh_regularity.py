"""What keeps a mesh of FlexiCubes in shape while it is optimised.

Source: Shen et al., SIGGRAPH 2023, arXiv 2308.05371: L_dev, eq. 8, and the sign change term of Munkberg et al., arXiv
2111.12503, which takes away what no photo sees.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor

from recon.ops.chosen import Counted, mean_of
from recon.ops.flexicubes import sign_change_loss
from recon.types import Observation, Render


@dataclass(frozen=True)
class MeshRegularity:
    """L_dev in cubes, and the sign change term; nothing for other fields."""

    weight: float = 1.0
    deviation: float = 0.5
    signs: float = 0.02

    @property
    def channels(self) -> Collection[str]:
        return ("rgb",)

    def value(self, render: Render, seen: Observation) -> Tensor:
        trace = render.trace
        if not hasattr(trace, "deviation") or not len(trace.deviation):
            return torch.zeros(())
        deviation = mean_of(lambda rows: rows, Counted(trace.deviation, trace.counted))
        return self.deviation * deviation + self.signs * sign_change_loss(trace.values)
