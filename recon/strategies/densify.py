"""Adaptive density control: clones and splits Gaussians where the loss pulls on them, prunes what has faded.

Source: Kerbl et al. 2023, arXiv 2308.04079, section 5; absolute gradients: Ye et al., "AbsGS", arXiv 2404.10484.
Differences: times are shares of the fit, so that shorter fits keep their shape; a budget takes the rows with the
largest statistic first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from recon.ops.elementwise import sigmoid
from recon.params import Params, RowChange
from recon.protocols import Optimizer, Problem
from recon.strategies.splat_surgery import morton_order, sample_offsets


@dataclass(frozen=True)
class Densify:
    # steps between two rounds
    every: int = 100
    # share of the fit at which rounds begin and end
    begin: float = 500 / 30_000
    until: float = 0.5
    # mean screen gradient (in half-picture units) above which a Gaussian is cloned or split
    threshold: float = 2e-4
    # use absolute gradients (AbsGS); the renderer must have absolute_gradient, and the threshold is about 4x larger
    absolute: bool = False
    # Gaussians larger than this share of the scene's extent are split, smaller ones cloned
    split_size: float = 0.01
    # pruned below this opacity
    min_opacity: float = 0.005
    # pruned above this share of the scene's extent, after the first opacity reset
    max_size: float = 0.1
    # share of the fit between opacity resets (0 = none)
    reset_every: float = 0.1
    # most Gaussians (0 = as many as the thresholds give)
    budget: int = 0

    def build(self, field: Any, radius: float, total_steps: int) -> _Densify:
        return _Densify(self, field, radius, total_steps)


class _Densify:
    def __init__(self, settings: Densify, field: Any, radius: float, total_steps: int) -> None:
        self.settings, self.radius = settings, radius
        self.first, self.last = round(settings.begin * total_steps), round(settings.until * total_steps)
        self.reset_every = max(round(settings.reset_every * total_steps), 1) if settings.reset_every > 0 else 0
        self._begin_counting(field.params)

    def _begin_counting(self, params: Params) -> None:
        self.pull, self.seen = (torch.zeros(params.rows, device=params.device) for _ in range(2))

    def due(self, problem: Problem) -> bool:
        """Whether ``act`` does more than to add up."""
        step = problem.step + 1
        return step <= self.last and (self._round_is_due(step) or self._reset_is_due(step))

    def _round_is_due(self, step: int) -> bool:
        return step > self.first and step % self.settings.every == 0

    def _reset_is_due(self, step: int) -> bool:
        return self.reset_every > 0 and step % self.reset_every == 0 and step < self.last

    def act(self, problem: Problem, optimizer: Optimizer) -> str | None:
        step, s = problem.step + 1, self.settings
        if step > self.last:
            return None
        self._observe(problem)
        what = None
        if self._round_is_due(step):
            what = self._round(problem, optimizer, step)
        if self._reset_is_due(step):
            logits = problem.field.params["logits"].detach()
            logits.clamp_(max=float(torch.logit(torch.tensor(2 * s.min_opacity))))
            optimizer.forget("logits")
            what = "opacity reset" if what is None else f"{what}, opacity reset"
        return what

    def _observe(self, problem: Problem) -> None:
        trace = problem.render.trace
        gradient = trace.absolute_gradient if self.settings.absolute else trace.gradient
        if gradient is None:
            return
        width, height = trace.size
        pull = torch.stack([gradient[:, 0] * (width / 2), gradient[:, 1] * (height / 2)], dim=1).norm(dim=1)
        visible = trace.visible
        self.pull += torch.where(visible, pull, 0.0)
        self.seen += visible

    def _round(self, problem: Problem, optimizer: Optimizer, step: int) -> str:
        s, params = self.settings, problem.field.params
        statistic = self.pull / self.seen.clamp_min(1)
        size = params["log_scales"].detach().amax(1).exp()
        grow = statistic >= s.threshold
        if s.budget:
            grow &= _largest(statistic, max(s.budget - params.rows, 0))
        split = grow & (size > s.split_size * self.radius)
        clone = grow & ~split
        generator = torch.Generator().manual_seed(problem.seed * 1_000_003 + step)
        split_rows, clone_rows = split.nonzero().squeeze(1), clone.nonzero().squeeze(1)
        offsets = [sample_offsets(params, split_rows, generator) for _ in range(2)]
        kept = (~split).nonzero().squeeze(1)
        source = torch.cat([kept, clone_rows, split_rows, split_rows])
        fresh = torch.zeros(len(source), dtype=torch.bool, device=source.device)
        fresh[len(kept):] = True
        _apply(problem, optimizer, RowChange(source, fresh))
        halves = slice(len(kept) + len(clone_rows), len(source))
        params["means"].detach()[halves] += torch.cat(offsets)
        params["log_scales"].detach()[halves] -= torch.log(torch.tensor(1.6))

        opacity = sigmoid(params["logits"].detach())
        faded = opacity < s.min_opacity
        if self.reset_every and step > self.reset_every:
            faded |= params["log_scales"].detach().amax(1).exp() > s.max_size * self.radius
        faded |= ~torch.isfinite(params["means"].detach()).all(1)
        if not bool(faded.all()):
            left = (~faded).nonzero().squeeze(1)
            left = left[morton_order(params["means"].detach()[left])]  # neighbours share packs and cache lines
            _apply(problem, optimizer, RowChange.select(left))
        self._begin_counting(params)
        return f"{len(clone_rows)} cloned, {len(split_rows)} split, {int(faded.sum())} pruned"

    def state(self) -> dict[str, Any]:
        return {"pull": self.pull.cpu(), "seen": self.seen.cpu()}

    def load_state(self, state: dict[str, Any]) -> None:
        self.pull, self.seen = (state[k].clone().to(self.pull.device) for k in ("pull", "seen"))


def _apply(problem: Problem, optimizer: Optimizer, change: RowChange) -> None:
    problem.field.params.apply(change)
    optimizer.follow(change)


def _largest(values: Tensor, count: int) -> Tensor:
    """Boolean mask of the ``count`` largest values (ties by lower index)."""
    mask = torch.zeros(len(values), dtype=torch.bool, device=values.device)
    order = torch.sort(values, descending=True, stable=True).indices
    mask[order[:count]] = True
    return mask
