"""The fit ends with the mean of its last steps: they scatter around a place that none of them hits.

Sources: Polyak and Juditsky, "Acceleration of Stochastic Approximation by Averaging", 1992; Izmailov et al., "Averaging
Weights Leads to Wider Optima and Better Generalization", UAI 2018, arXiv 1803.05407.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from recon.protocols import Optimizer, Problem


@dataclass(frozen=True)
class AverageSteps:
    # share of the fit after which steps count; no rows may come or go from there on, else it begins anew
    begin: float = 0.8
    # every so many steps one counts
    every: int = 5

    def build(self, field: Any, radius: float, total_steps: int) -> _AverageSteps:
        return _AverageSteps(self, total_steps)


class _AverageSteps:
    def __init__(self, settings: AverageSteps, total_steps: int) -> None:
        self.every, self.last = max(settings.every, 1), total_steps
        self.first = round(settings.begin * total_steps)
        self.sums: dict[str, Tensor] = {}
        self.count = 0
        self._of: dict[str, Tensor] | None = None  # the tensors that were summed: a change of rows makes new ones

    def due(self, problem: Problem) -> bool:
        """Whether the state after this step counts; that after the last one does."""
        step = problem.step + 1
        return self.first < step <= self.last and (self.last - step) % self.every == 0

    def act(self, problem: Problem, optimizer: Optimizer) -> str | None:
        if not self.due(problem):
            return None
        now = dict(problem.field.params.items())
        if self._of is None and {n: t.shape for n, t in now.items()} == {n: s.shape for n, s in self.sums.items()}:
            self._of = now  # a fit that was resumed
            self.sums = {n: s.to(now[n].device) for n, s in self.sums.items()}
        if self._of is None or any(self._of.get(n) is not t for n, t in now.items()):
            self.sums, self.count, self._of = {n: t.detach().clone() for n, t in now.items()}, 0, now
        else:
            for n, t in now.items():
                self.sums[n] += t.detach()
        self.count += 1
        if problem.step + 1 < self.last:
            return None
        for n, t in now.items():
            t.detach().copy_(self.sums[n] / self.count)
        counted, self.sums, self.count, self._of = self.count, {}, 0, None
        return f"the mean of {counted} of the last steps"

    def state(self) -> dict[str, Any]:
        return {"sums": {n: t.cpu() for n, t in self.sums.items()}, "count": self.count}

    def load_state(self, state: dict[str, Any]) -> None:
        self.sums, self.count, self._of = dict(state["sums"]), int(state["count"]), None
