"""Empties cells of a volume that rays pass without seeing anything in them: haze, and what lies behind surfaces.

Source: the idea of Müller et al., "Instant neural graphics primitives", SIGGRAPH 2022, arXiv 2201.05989 (rays skip what
does not matter), judged as in Hu et al., "EfficientNeRF", CVPR 2022, arXiv 2206.00878, by the weights that samples of
fitted rays had, so that no sample is looked up for it. ``ShrinkOccupancy`` alone keeps all fog that no ray reaches.
Only in volumes that hold what is far away, too: around what was cut out there is little fog, and many rays come from
behind to a place that few views see, which long fits then lose.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import avg_pool3d, max_pool3d

from recon.protocols import Optimizer, Problem


@dataclass(frozen=True)
class EmptyUnseen:
    # share of the fit after which samples count
    begin: float = 0.1
    # every so many steps one counts
    every: int = 10
    # steps that count between looks
    looks: int = 5
    # a cell is judged after so many samples in it and the 26 cells around it: some rays come to it from behind
    samples: int = 256
    # a cell is empty where no sample in it or around it weighed more than this
    threshold: float = 1e-3

    def build(self, field: Any, radius: float, total_steps: int) -> _EmptyUnseen:
        return _EmptyUnseen(self, total_steps)


class _EmptyUnseen:
    def __init__(self, settings: EmptyUnseen, total_steps: int) -> None:
        self.settings, self.first = settings, round(settings.begin * total_steps)
        self.counts, self.largest = torch.empty(0), torch.empty(0)  # of every cell: samples, the largest weight

    def due(self, problem: Problem) -> bool:
        done = problem.step + 1
        return problem.field.volume().unbounded and done >= self.first and done % self.settings.every == 0

    def act(self, problem: Problem, optimizer: Optimizer) -> str | None:
        if not self.due(problem):
            return None
        cells = problem.field.volume().cells
        self._count(problem.render.trace, cells)
        if (problem.step + 1) // self.settings.every % self.settings.looks:
            return None
        return self._look(problem.field, (cells == 0).cpu())

    def _count(self, trace: Any, cells: Tensor) -> None:
        if len(self.counts) != cells.numel():
            self.counts, self.largest = torch.zeros(cells.numel()), torch.zeros(cells.numel())
        self.counts, self.largest = self.counts.to(cells.device), self.largest.to(cells.device)
        found = int(trace.samples)
        at, weight = trace.position[:found], trace.weight[:found]
        x, y, z = ((at[:, i] * n).long().clamp_(0, n - 1) for i, n in enumerate(cells.shape))
        cell = (x * cells.shape[1] + y) * cells.shape[2] + z
        self.counts += torch.bincount(cell, minlength=cells.numel())
        self.largest.scatter_reduce_(0, cell, weight, "amax")

    def _look(self, field: Any, occupied: Tensor) -> str | None:
        counts, largest = (t.view(1, 1, *occupied.shape).cpu() for t in (self.counts, self.largest))
        judged = 27 * avg_pool3d(counts, 3, 1, 1)[0, 0] >= self.settings.samples
        kept = occupied & ~(judged & (max_pool3d(largest, 3, 1, 1)[0, 0] <= self.settings.threshold))
        self.counts[judged.view(-1)] = 0  # what stays is judged anew, by later samples
        self.largest[judged.view(-1)] = 0
        if bool((kept == occupied).all()) or not bool(kept.any()):
            return None
        field.occupy(kept)
        return f"{int(kept.sum()) / kept.numel():.1%} of the cells occupied"

    def state(self) -> dict[str, Any]:
        return {"counts": self.counts.cpu(), "largest": self.largest.cpu()}

    def load_state(self, state: dict[str, Any]) -> None:
        self.counts, self.largest = state["counts"], state["largest"]
