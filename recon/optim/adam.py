"""Adam over the rows that a step has seen.

Source: Kingma and Ba, "Adam", ICLR 2015, arXiv 1412.6980. Rows that were not rendered in a step keep their values and
moments (the sparse variant of Taming-3DGS, arXiv 2406.15643); bias correction uses the global step count.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from recon.ops.adam import adam_many_
from recon.optim.schedule import Schedule
from recon.params import RowChange
from recon.protocols import Problem


@dataclass(frozen=True)
class AdamSettings:
    """Learning rates by parameter name; parameters without one do not move."""

    rates: Mapping[str, Schedule] = field(default_factory=dict)
    # parameters whose rate is multiplied by the scene's extent
    in_scene_units: tuple[str, ...] = ("means",)
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-15
    # update only rows that were visible in the step
    sparse: bool = True

    def build(self, field: Any, radius: float, total_steps: int) -> Adam:
        return Adam(self, field, radius, total_steps)


class Adam:
    """State: first and second moment of every parameter, keyed by its name."""

    def __init__(self, settings: AdamSettings, field: Any, radius: float, total_steps: int) -> None:
        self.settings, self.field, self.radius, self.total_steps = settings, field, radius, total_steps
        self.count = 0
        self.moments: dict[str, tuple[Tensor, Tensor]] = {}

    def _moments(self, name: str, tensor: Tensor) -> tuple[Tensor, Tensor]:
        if name not in self.moments or self.moments[name][0].shape != tensor.shape:
            self.moments[name] = (torch.zeros_like(tensor), torch.zeros_like(tensor))
        return self.moments[name]

    def rate(self, name: str, share: float) -> float:
        rate = self.settings.rates[name].at(share)
        return rate * self.radius if name in self.settings.in_scene_units else rate

    def step(self, problem: Problem) -> float:
        s, params = self.settings, self.field.params
        loss = problem.gradient(deferred=s.sparse, idle=not s.sparse)
        counts = problem.counts() if not s.sparse and params.device.type == "cuda" else None
        self.count += 1
        share = problem.step / max(self.total_steps, 1)
        names = [n for n in params if n in s.rates and params[n].numel()]
        rates = {n: self.rate(n, share) for n in names}
        trace = problem.render.trace
        if getattr(trace, "deferred", False):
            moments = {n: self._moments(n, t.detach()) for n, t in params.items()}
            trace.update_(params, moments, rates, step=self.count, beta1=s.beta1, beta2=s.beta2, eps=s.eps)
        else:
            visible = getattr(trace, "visible", None) if s.sparse else None
            moved = [n for n in names if params[n].grad is not None]
            moments = {n: self._moments(n, params[n].detach()) for n in moved}
            adam_many_(
                [params[n].detach() for n in moved], [params[n].grad for n in moved],
                [moments[n][0] for n in moved], [moments[n][1] for n in moved], lr=[rates[n] for n in moved],
                step=self.count, beta1=s.beta1, beta2=s.beta2, eps=s.eps,
                rows=None if visible is None else visible.view(torch.uint8), counts=counts,
            )
        params.clear_gradients()
        return loss

    def follow(self, change: RowChange) -> None:
        self.moments = {n: (change.follow(m), change.follow(v)) for n, (m, v) in self.moments.items()}

    def forget(self, name: str) -> None:
        for moment in self.moments.get(name, ()):
            moment.zero_()

    def take_back(self, steps: int) -> None:
        """So many steps changed nothing and will be made again."""
        self.count -= steps

    def state(self) -> dict[str, Any]:
        return {"count": self.count, "moments": {n: [t.cpu() for t in pair] for n, pair in self.moments.items()}}

    def load_state(self, state: dict[str, Any]) -> None:
        self.count = int(state["count"])
        device = self.field.params.device
        self.moments = {n: (pair[0].clone().to(device), pair[1].clone().to(device))
                        for n, pair in state["moments"].items()}
