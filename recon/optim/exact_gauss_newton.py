"""Exact Gauss-Newton on mini-batches, for fields with more parameters than a batch has residuals (small networks).

Sources: Duncan 1944 and Guttman 1946 for (J^T J + s I)^-1 J^T = J^T (J J^T + s I)^-1; Korbit, Adeoye, Bemporad, Zanon,
"Exact Gauss-Newton Optimization for Training Deep Neural Networks", 2024, arXiv 2405.14402, for using it on batches.
Differences: the damping follows whether the batch's own loss has fallen; no line search and no momentum.

It wins where a smooth function is regressed by a small network (a distance field, docs/performance.md), and loses to
Adam on a picture. A factorisation is O(m^2 p + m^3) for m residuals and p parameters, so batches are small.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from recon.optim.schedule import Schedule


def batch_step(J: Tensor, r: Tensor, strength: float) -> Tensor:
    """The d [p] that minimises |r + J d|^2 + strength |d|^2, for J [m, p] and r [m], by an m x m Cholesky factor."""
    K = J @ J.T
    K.diagonal().add_(strength)
    factor, failed = torch.linalg.cholesky_ex(K)
    if int(failed):  # rounding has made it indefinite
        K.diagonal().add_(1e-4 * float(K.diagonal().mean()))
        factor = torch.linalg.cholesky(K)
    return -(J.T @ torch.cholesky_solve(r[:, None], factor)[:, 0])


@dataclass(frozen=True)
class ExactGaussNewton:
    """Settings."""

    # share of a step that is taken; it falls so that the noise of batches averages out
    rate: Schedule = field(default_factory=lambda: Schedule(1.0, 0.03))
    # added to J^T J, per residual of the batch: at the start, at least, at most
    start: float = 1e-3
    least: float = 1e-7
    most: float = 10.0

    def build(self, x: Tensor) -> BatchSolver:
        return BatchSolver(self, x)


class BatchSolver:
    """Moves parameters x [p] of a model by batches of residuals. State: x, the damping, the number of steps."""

    def __init__(self, settings: ExactGaussNewton, x: Tensor) -> None:
        self.settings, self.x = settings, x.detach().clone()
        self.strength, self.count = settings.start, 0

    def step(self, residuals: Callable[[Tensor], Tensor], share: float,
             jacobian: Callable[[Tensor], tuple[Tensor, Tensor]] | None = None) -> float:
        """One step on a batch; returns its mean squared residual before.

        residuals  x -> [m], by torch operations      share  how much of the fit is done, 0..1
        jacobian   x -> (residuals [m], J [m, p]) where that is known more cheaply than by torch.func
        Raises FloatingPointError where a residual is not finite.
        """
        s = self.settings
        if jacobian is None:
            r, pull = torch.func.vjp(residuals, self.x)[:2]
            J = torch.func.vmap(lambda u: pull(u)[0])(torch.eye(len(r), dtype=r.dtype))
        else:
            r, J = jacobian(self.x)
        before = float(r.square().mean())
        if not math.isfinite(before):
            raise FloatingPointError(f"the residuals of a batch became {before}")
        moved = self.x + s.rate.at(share) * batch_step(J, r, self.strength * len(r))
        after = float(residuals(moved).square().mean())
        self.count += 1
        if not math.isfinite(after) or after > 4 * before:  # taken back
            self.strength = min(4 * self.strength, s.most)
            return before
        self.x = moved
        self.strength = max(0.9 * self.strength, s.least) if after < before else min(2 * self.strength, s.most)
        return before
