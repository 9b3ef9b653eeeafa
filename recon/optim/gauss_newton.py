"""Damped Gauss-Newton (Levenberg-Marquardt) on anything that offers products with its Jacobian. Never forms J.

Sources: Levenberg 1944; Marquardt 1963; Höllein, Božič, Zollhöfer, Nießner, "3DGS-LM: Faster Gaussian-Splatting
Optimization with Levenberg-Marquardt", ICCV 2025, arXiv 2409.12892, for the matrix-free form and the line search.
Differences: the step length is searched on the objective itself, not on squared errors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from recon.optim.damping import PaperDamping, TrustRegion
from recon.optim.linear import ConjugateGradients, conjugate_gradients, inner


class Linearisation(Protocol):
    """The objective near x: value + gradient^T d + d^T H d / 2, with H = J^T W J given by its products only."""

    @property
    def value(self) -> float | Tensor: ...

    @property
    def gradient(self) -> Tensor: ...

    @property
    def diagonal(self) -> Tensor: ...

    @property
    def groups(self) -> Sequence[int]:
        """Lengths of consecutive parts of x that have units of their own."""
        ...

    def product(self, v: Tensor) -> Tensor:
        """H v, [n] -> [n]."""
        ...

    def inverse(self, added: Tensor) -> Tensor | Callable[[Tensor], Tensor]:
        """Preconditioner of H + diag(``added`` [n]): the inverse of its diagonal [n], or r -> M^-1 r."""
        ...


class LeastSquares(Protocol):
    """An objective of parameters x [n] that the solver moves.

    Numbers of an x on a GPU are scalars there, so that nobody waits for them. Such an objective may have
    ``counts() -> Tensor | None``, [1] bool: whether all that was computed since ``linearise`` may be relied on.
    """

    def linearise(self, blocks: bool = False) -> Linearisation:
        """``blocks``: ``inverse`` is that of the blocks on the diagonal, where the problem knows some."""
        ...

    def value(self) -> float | Tensor:
        """The objective at x as it is now; the same terms (views, pixels) at every call."""
        ...

    def read(self) -> Tensor:
        """A copy of x."""
        ...

    def write(self, x: Tensor) -> None: ...


@dataclass(frozen=True)
class GaussNewton:
    """Settings of one damped Gauss-Newton step."""

    damping: PaperDamping | TrustRegion = field(default_factory=TrustRegion)
    solver: ConjugateGradients = field(default_factory=ConjugateGradients)
    # jacobi: the diagonal; block: one small matrix per primitive, where the problem has them
    preconditioner: Literal["jacobi", "block"] = "jacobi"
    # no parameter moves farther than this in one step
    most_change: float = 10.0
    # a step that gains less than this share of what the model predicted is taken back
    least_ratio: float = 1e-5
    # trial step lengths 1, 0.7, 0.49, ...; the best is kept (1 = only the full step)
    line_search: int = 3

    def step(self, problem: LeastSquares, memory: Memory) -> Report:
        """Moves x once, or leaves it as it was to the last bit; ``memory`` carries the damping to the next step.

        What is decided is decided where x lives: of a GPU the host asks once, when all of the step is on its way.
        Raises FloatingPointError where the objective is not finite before the step.
        """
        if math.isnan(memory.strength):
            memory.strength = self.damping.start
        d, slope, bend, before, iterations = self.direction(problem, memory.strength)
        x, on_host = problem.read(), d.device.type == "cpu"
        largest = d.abs().max().double() if d.numel() else d.new_zeros((), dtype=torch.float64)
        better = torch.isfinite(largest)
        shorter = torch.where(largest > self.most_change, self.most_change / largest, 1.0)
        d = torch.where(better, d, 0.0) * shorter
        slope, bend = slope * shorter, bend * shorter * shorter
        best, length = torch.full_like(largest, math.inf), torch.ones_like(largest)
        for trial in range(max(self.line_search, 1)):
            problem.write(x + d * 0.7**trial)
            value = problem.value()
            better = better & (value < best)
            best, length = torch.where(better, value, best), torch.where(better, 0.7**trial, length)
            if on_host and not better:  # else trials that are no longer needed are made and change nothing
                break
        predicted = -(length * slope + 0.5 * length * length * bend)
        ratio = torch.where(predicted > 0, (before - best) / predicted, math.nan)
        accepted = (best < before) & (ratio > self.least_ratio)
        counts = getattr(problem, "counts", _nobody_doubts)()
        if counts is not None:
            accepted = accepted & counts[0]
        problem.write(torch.where(accepted, x + d * length, x))
        return self._report(memory, accepted, (before, best, ratio, iterations, length))

    def _report(self, memory: Memory, accepted: Tensor, numbers: Sequence[float | Tensor]) -> Report:
        """Waits for the step: what became of it, and the damping of the next one."""
        found = torch.stack([torch.as_tensor(n, dtype=torch.float64, device=accepted.device)
                             for n in (accepted, *numbers)])
        taken, before, best, ratio, iterations, length = found.tolist()
        if not math.isfinite(before):
            raise FloatingPointError(f"the objective is {before} before the step")
        if not taken:
            memory.rejections += 1
            memory.strength = self.damping.rejected(memory.strength, memory.rejections)
            return Report(False, before, before, ratio, int(iterations), 0.0)
        memory.strength = self.damping.accepted(memory.strength, ratio)
        memory.rejections = 0
        return Report(True, before, best, ratio, int(iterations), length)

    def direction(self, problem: LeastSquares, strength: float) -> tuple[Tensor, Any, Any, Any, Any]:
        """The damped step [n], slope and curvature of the model along it, the objective now, and products made: all but
        the first numbers, or scalars where x is on a GPU.

        A problem with ``parts`` is solved part by part, and the solutions are averaged as in 3DGS-LM.
        """
        steps, diagonals = [], []
        slope: Any = 0.0  # on a GPU scalars there, as the next three
        bend: Any = 0.0
        before: Any = 0.0
        iterations: Any = 0
        parts: Sequence[LeastSquares] = getattr(problem, "parts", None) or (problem,)
        for part in parts:
            near = part.linearise(self.preconditioner == "block")
            if isinstance(near.value, float) and not math.isfinite(near.value):
                raise FloatingPointError(f"the objective is {near.value} before the step")
            diagonal, b = near.diagonal, -near.gradient
            added = self.damping.term(diagonal, near.groups, strength)
            solution = conjugate_gradients(partial(_damped_product, near, added), b, near.inverse(added), self.solver)
            d = solution.x
            # The model along d: its slope, and its curvature by H d = b - rest - added d, which costs no product.
            slope -= inner(b, d) / len(parts)
            bend += inner(d, b - solution.rest - added * d) / len(parts)
            before += near.value / len(parts)
            iterations += solution.iterations
            steps.append(d)
            diagonals.append(diagonal)
        return weighted_mean(steps, diagonals), slope, bend, before, iterations


def _nobody_doubts() -> None:
    """What an objective is that does not say whether its numbers count."""


def _damped_product(near: Linearisation, added: Tensor, v: Tensor) -> Tensor:
    return near.product(v).addcmul_(added, v)


def weighted_mean(steps: Sequence[Tensor], diagonals: Sequence[Tensor]) -> Tensor:
    """Steps [n] that were solved apart, each parameter weighted by how much each part sees of it: its diag(J^T J) [n].

    Source: Höllein et al., 3DGS-LM, arXiv 2409.12892.
    """
    if len(steps) == 1:
        return steps[0]
    total, weights = torch.zeros_like(steps[0]), torch.zeros_like(steps[0])
    for d, m in zip(steps, diagonals, strict=True):
        total.addcmul_(m, d)
        weights += m
    return total / (weights + 1e-12)


@dataclass
class Memory:
    """What goes from step to step: the strength of the damping (NaN: the settings' start) and rejections in a row."""

    strength: float = math.nan
    rejections: int = 0


@dataclass(frozen=True)
class Report:
    """accepted or taken back; the objective before and after; gain over predicted gain; products; step length."""

    accepted: bool
    before: float
    after: float
    ratio: float
    iterations: int
    length: float


def minimise(problem: LeastSquares, settings: GaussNewton | None = None, *, steps: int = 50,
             least_change: float = 1e-6) -> list[Report]:
    """Steps until the objective changes by less than ``least_change`` of itself, or eight steps in a row failed."""
    s, memory, reports = settings or GaussNewton(), Memory(), []
    for _ in range(steps):
        report = s.step(problem, memory)
        reports.append(report)
        if memory.rejections >= 8:
            break
        if report.accepted and report.before - report.after <= least_change * report.before:
            break
    return reports


class Residuals:
    """|r(x)|^2 / 2 for any differentiable r: [n] -> [m] in torch; for networks, grids and small problems."""

    def __init__(self, residuals: Callable[[Tensor], Tensor], x: Tensor, chunk: int = 256) -> None:
        self.residuals, self.x, self.chunk = residuals, x.detach().clone(), chunk

    def read(self) -> Tensor:
        return self.x.clone()

    def write(self, x: Tensor) -> None:
        self.x = x.clone()

    def value(self) -> float:
        r = self.residuals(self.x)
        return 0.5 * float((r * r).sum())

    def linearise(self, blocks: bool = False) -> LinearResiduals:
        return LinearResiduals(self.residuals, self.x, self.chunk)


class LinearResiduals:
    """Implements Linearisation by forward and reverse differentiation."""

    def __init__(self, residuals: Callable[[Tensor], Tensor], x: Tensor, chunk: int) -> None:
        self._residuals, self._x, self._chunk = residuals, x, chunk
        r, self._pull = torch.func.vjp(residuals, x)[:2]
        self.value = 0.5 * float((r * r).sum())
        self.gradient = self.vjp(r)
        self.groups = (len(x),)

    def jvp(self, v: Tensor) -> Tensor:
        """J v, [n] -> [m]."""
        return torch.func.jvp(self._residuals, (self._x,), (v,))[1]

    def vjp(self, u: Tensor) -> Tensor:
        """J^T u, [m] -> [n]."""
        return self._pull(u)[0]

    def product(self, v: Tensor) -> Tensor:
        return self.vjp(self.jvp(v))

    def inverse(self, added: Tensor) -> Tensor:
        return 1.0 / (self.diagonal + added)

    @cached_property
    def diagonal(self) -> Tensor:
        """diag(J^T J), a few columns of J at a time."""
        n = len(self._x)
        parts = []
        for begin in range(0, n, self._chunk):
            columns = torch.zeros(min(self._chunk, n - begin), n, dtype=self._x.dtype)
            columns[torch.arange(len(columns)), begin + torch.arange(len(columns))] = 1
            parts.append(torch.func.vmap(self.jvp)(columns).square().flatten(1).sum(1))
        return torch.cat(parts) if parts else self._x.clone()
