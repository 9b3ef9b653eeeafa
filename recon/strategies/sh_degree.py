"""Raises the degree of spherical harmonics step by step, so that colour settles before its dependence on direction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from recon.protocols import Optimizer, Problem


@dataclass(frozen=True)
class RaiseShDegree:
    # one more band after each of these shares of the fit
    at: tuple[float, ...] = (1 / 30, 2 / 30, 3 / 30)

    def build(self, field: Any, radius: float, total_steps: int) -> _RaiseShDegree:
        return _RaiseShDegree(self, field, total_steps)


class _RaiseShDegree:
    def __init__(self, settings: RaiseShDegree, field: Any, total_steps: int) -> None:
        self.steps = [round(share * total_steps) for share in settings.at]
        self.top = field.settings.sh_degree
        field.active_degree = min(self.top, self._degree(0))

    def _degree(self, step: int) -> int:
        return sum(step >= s for s in self.steps)

    def due(self, problem: Problem) -> bool:
        """Whether the degree rises after this step."""
        return min(self.top, self._degree(problem.step + 1)) != int(problem.field.active_degree)

    def act(self, problem: Problem, optimizer: Optimizer) -> str | None:
        if not self.due(problem):
            return None
        degree = min(self.top, self._degree(problem.step + 1))
        problem.field.active_degree = degree
        return f"spherical harmonics to degree {degree}"

    def state(self) -> dict[str, Any]:
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        pass
