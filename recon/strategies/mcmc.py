"""3DGS as Markov chain Monte Carlo: dead Gaussians move onto live ones, the count grows to a budget, noise explores.

Source: Kheradmand et al., "3D Gaussian Splatting as Markov Chain Monte Carlo", NeurIPS 2024, arXiv 2404.09591.
Differences: times are shares of the fit; short fits grow faster, so that the budget is reached on time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from recon.ops.elementwise import logit, sigmoid
from recon.params import Params, RowChange
from recon.protocols import Optimizer, Problem
from recon.strategies.splat_surgery import normals, rotate

_MOST_COPIES = 51


@dataclass(frozen=True)
class Mcmc:
    # most Gaussians
    budget: int = 100_000
    # steps between two rounds
    every: int = 100
    # share of the fit at which rounds begin and end
    begin: float = 500 / 30_000
    until: float = 25_000 / 30_000
    # a Gaussian below this opacity is dead and moves
    min_opacity: float = 0.005
    # the count grows by this share each round, or faster
    growth: float = 0.05
    # share of the fit by which the count has reached the budget
    grown: float = 0.5
    # strength of the position noise, times the learning rate of the means
    noise: float = 5e5

    def build(self, field: Any, radius: float, total_steps: int) -> _Mcmc:
        return _Mcmc(self, total_steps)


class _Mcmc:
    def __init__(self, settings: Mcmc, total_steps: int) -> None:
        self.settings, self.total_steps = settings, total_steps
        self.first, self.last = round(settings.begin * total_steps), round(settings.until * total_steps)

    def due(self, problem: Problem) -> bool:
        """Whether there is a round; noise alone waits for nothing, and is not made where a step drew nothing."""
        step = problem.step + 1
        return self.first < step < self.last and step % self.settings.every == 0

    def act(self, problem: Problem, optimizer: Optimizer) -> str | None:
        seed = problem.seed * 1_000_003 + problem.step + 1
        generator = torch.Generator().manual_seed(seed)
        what = None
        if self.due(problem):
            what = self._round(problem, optimizer, generator)
        self._noise(problem, optimizer, generator, seed)
        return what

    def _round(self, problem: Problem, optimizer: Optimizer, generator: torch.Generator) -> str | None:
        s, params = self.settings, problem.field.params
        opacity = sigmoid(params["logits"].detach())
        dead = (opacity <= s.min_opacity).nonzero().squeeze(1)
        alive = (opacity > s.min_opacity).nonzero().squeeze(1)
        if len(alive) == 0:
            return "no live Gaussian left"
        n = params.rows
        added = max(min(s.budget, math.ceil(n * self._growth(problem.step + 1, n))) - n, 0)
        if len(dead) + added == 0:
            return None
        drawn = torch.multinomial(opacity[alive].cpu(), len(dead) + added, replacement=True, generator=generator)
        donors = alive[drawn.to(alive.device)]
        source = torch.arange(n, device=alive.device)
        source[dead] = donors[: len(dead)]
        source = torch.cat([source, donors[len(dead):]])
        fresh = torch.zeros(len(source), dtype=torch.bool, device=source.device)
        fresh[dead] = True
        fresh[n:] = True
        fresh[donors] = True  # donors change their opacity and size, so their moments are stale
        params.apply(RowChange(source, fresh))
        optimizer.follow(RowChange(source, fresh))
        share_among_copies(params, torch.bincount(source, minlength=n)[source], s.min_opacity)
        return f"{len(dead)} moved, {added} added"

    def _growth(self, step: int, n: int) -> float:
        s = self.settings
        rounds = max((round(s.grown * self.total_steps) - step) // s.every, 0) + 1
        return max(1 + s.growth, (s.budget / max(n, 1)) ** (1 / rounds))

    def _noise(self, problem: Problem, optimizer: Optimizer, generator: torch.Generator, seed: int) -> None:
        params = problem.field.params
        rate = getattr(optimizer, "rate", None)
        if rate is None or self.settings.noise == 0:
            return
        lr = rate("means", problem.step / max(self.total_steps, 1))
        opacity = sigmoid(params["logits"].detach())
        amount = sigmoid(-100.0 * (opacity - 0.005)) * (self.settings.noise * lr)
        moved = amount > 1e-4 * self.settings.noise * lr  # the rest would not move visibly
        if amount.device.type == "cuda":
            seen_any = problem.render.trace.visible.any()
            _noise_on_gpu(params, torch.where(moved & seen_any, amount, 0.0), seed)
            return
        rows = moved.nonzero().squeeze(1)
        if len(rows) == 0:
            return
        scale, turn = params["log_scales"].detach()[rows].exp(), params["quaternions"].detach()[rows]
        noise = torch.randn(len(rows), 3, generator=generator)
        params["means"].detach()[rows] += _along_covariance(noise, scale, turn) * amount[rows, None]

    def state(self) -> dict[str, Any]:
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        pass


def _along_covariance(noise: Tensor, scale: Tensor, turn: Tensor) -> Tensor:
    """Covariance times noise [n, 3], of scale [n, 3] and turn [n, 4] w x y z."""
    back = torch.cat([turn[:, :1], -turn[:, 1:]], dim=1)
    return rotate(turn, rotate(back, noise) * scale * scale)


def _noise_on_gpu(params: Params, amount: Tensor, seed: int) -> None:
    """The same for all rows, most by 0: the number of those that move would have to be waited for."""
    means, scale, turn = (params[n].detach() for n in ("means", "log_scales", "quaternions"))
    noise = normals(tuple(means.shape), seed, means.device)
    means += _along_covariance(noise, scale.exp(), turn) * amount[:, None]


def share_among_copies(params: Params, copies: Tensor, min_opacity: float) -> None:
    """Gives ``copies[i]`` identical Gaussians together the look of one (eq. 9 of the paper)."""
    rows = (copies > 1).nonzero().squeeze(1)
    if len(rows) == 0:
        return
    n = copies[rows].clamp(max=_MOST_COPIES)
    logits, log_scales = params["logits"].detach(), params["log_scales"].detach()
    opacity = sigmoid(logits[rows].double())
    new_opacity, factor = copy_rule(opacity, n)
    logits[rows] = logit(new_opacity.clamp(min_opacity, 1 - 1e-6)).float()
    log_scales[rows] += factor.log().float()[:, None]


def copy_rule(opacity: Tensor, n: Tensor) -> tuple[Tensor, Tensor]:
    """Opacity of each of ``n`` copies of a Gaussian of opacity ``opacity`` (float64), and the factor for its scale."""
    new = 1.0 - (1.0 - opacity) ** (1.0 / n.double())
    total = torch.zeros_like(opacity)
    for i in range(1, _MOST_COPIES + 1):
        inner = torch.zeros_like(opacity)
        for k in range(i):
            inner += math.comb(i - 1, k) * (-1.0) ** k * new ** (k + 1) / math.sqrt(k + 1)
        total += torch.where(n >= i, inner, torch.zeros_like(inner))
        if i >= int(n.max()):
            break
    return new, opacity / total
