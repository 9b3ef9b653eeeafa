"""Local Newton steps on one view at a time: every primitive moves by the inverse of its own curvature.

Sources: Lan, Shao, Lu, Zhang, Jiang, Yang, "3DGS^2: Near Second-order Converging 3D Gaussian Splatting", 2025, arXiv
2501.13975, for Newton systems of single Gaussians; Hsiao et al., "3DGS^2-TR", 2026, arXiv 2602.00395, for a curvature
that is kept and a bound on every number's step. Differences from both: the curvature is J^T W J of the losses' weights
(see ``ViewsProblem``), a whole block per primitive and not only its diagonal, the mean over the views that show the
primitive, measured now and then; so a step costs what one of Adam costs. The share of the Newton step that is taken
shrinks through the fit, since neighbours mend the same pixels and a view is not all views.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, zeros_like

from recon.optim.adam import AdamSettings
from recon.optim.schedule import Schedule
from recon.optim.touched_adam import TouchedAdamSettings
from recon.params import RowChange
from recon.protocols import Problem


@dataclass(frozen=True)
class LocalNewtonSettings:
    """First-order steps until the structure has settled, then local Newton steps."""

    # the optimizer of the steps before
    warm_up: AdamSettings | TouchedAdamSettings = field(default_factory=AdamSettings)
    # share of all steps, the last ones, that are local Newton steps
    share: float = 0.2
    # share of its schedules that the first optimizer has gone through when it hands over
    handover: float = 1.0
    # share of a primitive's Newton step that is taken
    rate: Schedule = field(default_factory=lambda: Schedule(0.1, 0.005))
    # share of the momentum that stays in a step
    momentum: float = 0.5
    # added to the diagonal of the curvature, as a share of it and of at least this share of its mean
    damping: float = 0.3
    floor: float = 0.1
    # no logarithm of a scale moves farther in a step; other numbers by what is like it
    most: float = 0.02
    # views that the curvature is measured in (0 = all), and steps after which it is measured again
    curved: int = 16
    every: int = 400

    second_order = True
    primitives = True

    def build(self, field: Any, radius: float, total_steps: int) -> LocalNewton:
        return LocalNewton(self, field, radius, total_steps)


class LocalNewton:
    """State: that of the first optimizer; inverse curvature and momentum once it has handed over."""

    def __init__(self, settings: LocalNewtonSettings, field: Any, radius: float, total_steps: int) -> None:
        self.settings, self.field, self.total_steps = settings, field, total_steps
        self.begin = total_steps - round(min(max(settings.share, 0.0), 1.0) * total_steps)
        self.first = settings.warm_up.build(field, radius, round(self.begin / max(settings.handover, 1e-3)))
        self.curvature: dict[str, Tensor] = {}
        self.momentum: dict[str, Tensor] = {}

    def step(self, problem: Problem) -> float:
        if problem.step < self.begin:
            return self.first.step(problem)
        s, params, made = self.settings, self.field.params, problem.step - self.begin
        if not self.curvature or made % s.every == 0:
            self.curvature = problem.least_squares(s.curved).own_curvature(s.damping, s.floor)
        if not self.momentum:
            self.momentum = {n: zeros_like(t.detach()) for n, t in params.items()}
        loss = problem.gradient(deferred=True)
        trace: Any = problem.render.trace
        rate = s.rate.at(made / max(self.total_steps - self.begin, 1))
        trace.newton_(params, self.momentum, self.curvature, rate=rate, keep=s.momentum, most=s.most)
        params.clear_gradients()
        return loss

    def due(self, problem: Problem) -> bool:
        """Whether the next step measures the curvature: before it a fit on a GPU waits until it knows all is well."""
        made = problem.step + 1 - self.begin
        return made >= 0 and (made % self.settings.every == 0 or not self.curvature)

    def take_back(self, steps: int) -> None:
        """Of the warm-up, see ``Adam``; local steps that changed nothing leave nothing behind."""
        self.first.take_back(steps)

    def follow(self, change: RowChange) -> None:
        """The curvature is measured anew for other rows."""
        self.first.follow(change)
        self.momentum = {n: change.follow(m) for n, m in self.momentum.items()}
        self.curvature = {}

    def forget(self, name: str) -> None:
        self.first.forget(name)
        if name in self.momentum:
            self.momentum[name].zero_()

    def state(self) -> dict[str, Any]:
        return {"first": self.first.state(), "curvature": {n: t.cpu() for n, t in self.curvature.items()},
                "momentum": {n: t.cpu() for n, t in self.momentum.items()}}

    def load_state(self, state: dict[str, Any]) -> None:
        self.first.load_state(state["first"])
        on = self.field.params.device
        self.curvature = {n: t.clone().to(on) for n, t in state["curvature"].items()}
        self.momentum = {n: t.clone().to(on) for n, t in state["momentum"].items()}
