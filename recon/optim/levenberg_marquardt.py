"""Levenberg-Marquardt for fields: first-order steps until the structure has settled, then few second-order ones.

Source: Höllein, Božič, Zollhöfer, Nießner, "3DGS-LM: Faster Gaussian-Splatting Optimization with Levenberg-Marquardt",
ICCV 2025, arXiv 2409.12892.
Differences: the right-hand side is the gradient of the objective itself, SSIM coupling included, and J^T W J uses
weights that bound the loss from above in place of residual square roots; gradient and diagonal are those of all views,
while products look at a few, other ones in every step (a sub-sampled Newton method: Byrd, Chin, Neveitt, Nocedal, SIAM
J. Optim. 2011); batches that are solved apart and averaged, as there, are an option; success is measured on the
objective itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch

from recon.optim.adam import AdamSettings
from recon.optim.damping import TrustRegion
from recon.optim.gauss_newton import GaussNewton, Memory, Report
from recon.optim.linear import ConjugateGradients
from recon.optim.touched_adam import TouchedAdamSettings
from recon.params import RowChange
from recon.protocols import Problem


@dataclass(frozen=True)
class LevenbergMarquardtSettings:
    """First-order steps until the structure has settled, then ``steps`` second-order ones at the end of the fit."""

    # the optimizer of the steps before
    warm_up: AdamSettings | TouchedAdamSettings = field(default_factory=AdamSettings)
    # second-order steps, the last ones of the fit
    steps: int = 6
    # share of its schedules that the first optimizer has gone through when it hands over
    handover: float = 1.0
    # views that a step looks at (0 = all), drawn anew for each step
    views: int = 0
    # views that the curvature is taken of (0 = all that a step looks at); gradient and diagonal see them all
    curved: int = 10
    # parts of the views that are solved apart; their steps are averaged (1 = all together)
    batches: int = 1
    # views that decide whether a step is kept (0 = all that it looked at)
    tested: int = 12
    # damping, linear solver, line search
    step: GaussNewton = field(default_factory=lambda: GaussNewton(
        TrustRegion(start=10.0, least=3.0), ConjugateGradients(5), line_search=1))

    second_order = True

    def build(self, field: Any, radius: float, total_steps: int) -> LevenbergMarquardt:
        return LevenbergMarquardt(self, field, radius, total_steps)


class LevenbergMarquardt:
    """State: that of the first optimizer, and the strength of the damping."""

    def __init__(self, settings: LevenbergMarquardtSettings, field: Any, radius: float, total_steps: int) -> None:
        self.settings, self.begin = settings, max(total_steps - settings.steps, 0)
        self.first = settings.warm_up.build(field, radius, round(self.begin / max(settings.handover, 1e-3)))
        self.memory = Memory()
        self.reports: list[Report] = []  # of this process; not part of the state
        self._before: Memory | None = None  # the last step, where it was of second order

    def step(self, problem: Problem) -> float:
        if problem.step < self.begin:
            return self.first.step(problem)
        s = self.settings
        views = problem.least_squares(s.views, s.curved, s.tested, s.batches)
        self._before = replace(self.memory)
        try:
            report = s.step.step(views, self.memory)
        except FloatingPointError:
            views.refuse_what_is_not_finite()
            raise
        self.reports.append(report)
        return report.before

    def due(self, problem: Problem) -> bool:
        """Whether the next step is of second order: before it a fit on a GPU waits until it knows that all is well."""
        return problem.step + 1 >= self.begin

    def take_back(self, steps: int) -> None:
        """Of the warm-up, see ``Adam``. A step of second order is waited for, so that it is the only one."""
        if self._before is None:
            self.first.take_back(steps)
        else:
            self.memory = self._before
            self.reports.pop()

    def follow(self, change: RowChange) -> None:
        self.first.follow(change)

    def forget(self, name: str) -> None:
        self.first.forget(name)

    def state(self) -> dict[str, Any]:
        strength = torch.tensor(self.memory.strength, dtype=torch.float64)
        return {"first": self.first.state(), "strength": strength, "rejections": self.memory.rejections}

    def load_state(self, state: dict[str, Any]) -> None:
        self.first.load_state(state["first"])
        self.memory = Memory(float(state["strength"]), int(state["rejections"]))
