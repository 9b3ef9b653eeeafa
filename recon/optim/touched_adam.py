"""Adam that leaves alone what a step did not touch, for large grids.

Source: Kingma and Ba, "Adam", ICLR 2015, arXiv 1412.6980, as masked in DVGO (arXiv 2111.11215): numbers with zero
gradient keep value and moments. Gradient buffers are kept from step to step and cleared by the update itself.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from recon.ops.adam import adam_touched_
from recon.optim.schedule import Schedule
from recon.params import RowChange
from recon.protocols import Problem


@dataclass(frozen=True)
class TouchedAdamSettings:
    """Learning rates by parameter name, of "group.name" by the name; parameters without one do not move."""

    rates: Mapping[str, Schedule] = field(default_factory=dict)
    beta1: float = 0.9
    beta2: float = 0.99
    eps: float = 1e-8

    def build(self, field: Any, radius: float, total_steps: int) -> TouchedAdam:
        return TouchedAdam(self, field, total_steps)


class TouchedAdam:
    """State: moments and step count of every parameter; a parameter that was replaced starts anew."""

    def __init__(self, settings: TouchedAdamSettings, field: Any, total_steps: int) -> None:
        self.settings, self.field, self.total_steps = settings, field, total_steps
        self.moments: dict[str, tuple[Tensor, Tensor]] = {}
        self.counts: dict[str, int] = {}
        self.shares: dict[str, Tensor] = {}
        self._stepped: deque[list[str]] = deque(maxlen=2)  # names that the last steps moved

    def slow(self, name: str, *share: Tensor | None) -> Tensor | None:
        """What the steps of a parameter are multiplied by (of a shape that broadcasts to it, None = 1).

        A second argument sets it; it is forgotten with the moments.
        """
        if share:
            self.shares.pop(name, None)
            if share[0] is not None:
                self.shares[name] = share[0]
        return self.shares.get(name)

    def step(self, problem: Problem) -> float:
        s, params = self.settings, self.field.params
        loss = problem.gradient(idle=True)
        share = problem.step / max(self.total_steps, 1)
        stepped: list[str] = []
        self._stepped.append(stepped)
        for name, tensor in params.items():
            if tensor.grad is None:
                continue
            rate = s.rates.get(name.rpartition(".")[2])
            if rate is None:
                tensor.grad.zero_()
                continue
            if name not in self.moments or self.moments[name][0].shape != tensor.shape:
                self.moments[name] = torch.zeros_like(tensor.detach()), torch.zeros_like(tensor.detach())
                self.counts[name] = 0
            self.counts[name] += 1
            stepped.append(name)
            slowed = self.shares.get(name)
            before = None if slowed is None else tensor.detach().clone()
            adam_touched_(tensor, tensor.grad, *self.moments[name], lr=rate.at(share), step=self.counts[name],
                          beta1=s.beta1, beta2=s.beta2, eps=s.eps)
            if before is not None and slowed is not None:
                with torch.no_grad():
                    tensor.sub_((1 - slowed) * (tensor - before))
        return loss

    def take_back(self, steps: int) -> None:
        """So many steps, at most two, changed nothing and will be made again."""
        for _ in range(steps):
            for name in self._stepped.pop():
                self.counts[name] -= 1

    def follow(self, change: RowChange) -> None:
        raise NotImplementedError("volumes have no rows to add or remove")

    def forget(self, name: str) -> None:
        self.moments.pop(name, None)
        self.counts.pop(name, None)
        self.shares.pop(name, None)

    def state(self) -> dict[str, Any]:
        moments = {n: [t.cpu() for t in pair] for n, pair in self.moments.items()}
        return {"moments": moments, "counts": dict(self.counts),
                "shares": {n: t.cpu() for n, t in self.shares.items()}}

    def load_state(self, state: dict[str, Any]) -> None:
        device = self.field.params.device
        self.moments = {n: (pair[0].clone().to(device), pair[1].clone().to(device))
                        for n, pair in state["moments"].items()}
        self.counts = {n: int(c) for n, c in state["counts"].items()}
        self.shares = {n: t.clone().to(device) for n, t in state.get("shares", {}).items()}
