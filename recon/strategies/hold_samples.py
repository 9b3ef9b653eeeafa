"""Fewer rays while each has many samples, so that a step always has about as many.

Source: Müller et al., "Instant neural graphics primitives", SIGGRAPH 2022, arXiv 2201.05989, whose batches have a
constant number of samples. While all is fog, a ray passes hundreds of samples, and steps of as many rays as later would
take most of the fit's time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from recon.protocols import Optimizer, Problem


@dataclass(frozen=True)
class HoldSamples:
    # samples of a step; no more rays than the sampler's
    samples: int = 98_304
    # steps between looks
    every: int = 10
    # no fewer rays than this
    fewest: int = 256

    def build(self, field: Any, radius: float, total_steps: int) -> _HoldSamples:
        return _HoldSamples(self)


class _HoldSamples:
    def __init__(self, settings: HoldSamples) -> None:
        self.settings = settings

    def due(self, problem: Problem) -> bool:
        return problem.step == 0 or (problem.step + 1) % self.settings.every == 0

    def act(self, problem: Problem, optimizer: Optimizer) -> str | None:
        rays = problem.seen.rays
        if rays is not None and self.due(problem):
            each = int(problem.render.trace.samples) / len(rays)
            problem.most_rays = max(int(self.settings.samples / max(each, 1e-3)), self.settings.fewest)
        return None

    def state(self) -> dict[str, Any]:
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        pass
