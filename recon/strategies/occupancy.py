"""Keeps track of which cells of a volume can hold something, so that rays skip the others.

Source: the mask of Sun et al., arXiv 2111.11215: 3 x 3 x 3 largest opacity per step above a threshold; it only shrinks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from recon.ops.elementwise import sigmoid
from recon.protocols import Optimizer, Problem

_CHUNK = 1 << 18  # points that are looked at together


@dataclass(frozen=True)
class ShrinkOccupancy:
    # first time, as a share of the fit
    begin: float = 0.08
    # steps between looks
    every: int = 250
    # a cell is empty where all cells around it are less opaque than this, per step
    threshold: float = 1e-3

    def build(self, field: Any, radius: float, total_steps: int) -> _ShrinkOccupancy:
        return _ShrinkOccupancy(self, total_steps)


class _ShrinkOccupancy:
    def __init__(self, settings: ShrinkOccupancy, total_steps: int) -> None:
        self.settings, self.first = settings, round(settings.begin * total_steps)

    def due(self, problem: Problem) -> bool:
        done = problem.step + 1
        return done >= self.first and done % self.settings.every == 0

    def act(self, problem: Problem, optimizer: Optimizer) -> str | None:
        if not self.due(problem):
            return None
        s = self.settings
        field = problem.field
        volume = field.volume()
        occupied, on = (volume.cells == 0).cpu(), volume.cells.device  # cells are chosen on the CPU
        size = torch.tensor(occupied.shape)
        cells = occupied.nonzero()
        generator = torch.Generator().manual_seed(problem.seed * 32_452_843 + problem.step)
        at = ((cells + torch.rand(len(cells), 3, generator=generator)) / size).contiguous()
        opacity = torch.zeros(occupied.shape)
        with torch.no_grad():
            parts = [part.to(on).contiguous() for part in at.split(_CHUNK)]
            found = [field.density(part, part.new_zeros(len(part))).cpu() for part in parts]
        if not found:
            return None
        raw = torch.cat(found) + volume.shift
        opacity[tuple(cells.T)] = 1 - (1 - sigmoid(raw)) ** volume.delta  # 1 - exp(-softplus(raw) delta)
        largest = _around(opacity)
        kept = occupied & (largest > s.threshold)
        if int(kept.sum()) == len(cells) or not bool(kept.any()):
            return None
        field.occupy(kept)
        return f"{int(kept.sum()) / kept.numel():.1%} of the cells occupied"

    def state(self) -> dict[str, Any]:
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        pass


def _around(values: Tensor) -> Tensor:
    """The largest of a cell [x, y, z] and the 26 around it: axis by axis, in a sixth of max_pool3d's time."""
    for axis, n in enumerate(values.shape):
        here, larger = values, values.clone()
        for a, b in ((0, 1), (1, 0)):
            part = larger.narrow(axis, a, n - 1)
            torch.maximum(part, here.narrow(axis, b, n - 1), out=part)
        values = larger
    return values
