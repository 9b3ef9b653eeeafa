"""Makes a volume finer step by step.

Source: Sun et al., arXiv 2111.11215 (progressive scaling): at each doubling of the voxels values are resampled, moments
start anew, and density is lowered a little, so that empty space stays empty at the longer chains of samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from recon.protocols import Optimizer, Problem


@dataclass(frozen=True)
class Refine:
    # one refinement at each of these shares of the fit; the last reaches the full number of voxels
    at: tuple[float, ...] = (0.05, 0.1, 0.15, 0.2)
    # lowers raw density at each; needed by long fits that start nearly empty
    lower: float = 0.0

    def build(self, field: Any, radius: float, total_steps: int) -> _Refine:
        return _Refine(self, total_steps)


class _Refine:
    def __init__(self, settings: Refine, total_steps: int) -> None:
        self.settings = settings
        self.steps = [max(round(share * total_steps), 1) for share in settings.at]

    def due(self, problem: Problem) -> bool:
        return problem.step + 1 in self.steps

    def act(self, problem: Problem, optimizer: Optimizer) -> str | None:
        if not self.due(problem):
            return None
        field = problem.field
        left = len(self.steps) - self.steps.index(problem.step + 1) - 1
        gap = field.most_voxels / field.voxels
        before = field.size
        changed = field.refine(field.voxels * gap ** (1 / (left + 1)))
        if field.size == before:
            return None
        for name in changed:
            optimizer.forget(name)
        field.shift -= self.settings.lower
        return "{} x {} x {} voxels".format(*field.size)

    def state(self) -> dict[str, Any]:
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        pass
