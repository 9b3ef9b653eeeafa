"""How a surface that is drawn as a volume gets sharp, and where rays look for it.

Sources: the growing s of NeuS (arXiv 2106.10689) by a schedule, as in Voxurf (arXiv 2208.12697); cells near the zero
set are those that rays sample, found anew again and again, so that a surface can move.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch

from recon.ops.elementwise import sigmoid
from recon.protocols import Optimizer, Problem

_CHUNK = 1 << 18  # points that are looked at together
_DIM = 5e-3  # opacity of a step that is not worth a look


class _Stateless:
    def state(self) -> dict[str, Any]:
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        pass


@dataclass(frozen=True)
class Sharpen:
    """Draws the surface ever thinner; widths in voxels of the finest grid, shares of the fit."""

    start: float = 10.0
    end: float = 0.5
    until: float = 0.9
    # walls seen from the side count fully from here on
    turned: float = 0.2

    def build(self, field: Any, radius: float, total_steps: int) -> _Sharpen:
        return _Sharpen(self, field, total_steps)


class _Sharpen(_Stateless):
    def __init__(self, settings: Sharpen, field: Any, total_steps: int) -> None:
        self.settings, self.total_steps = settings, total_steps
        self._set(field, 0)

    def _set(self, field: Any, done: int) -> None:
        s = self.settings
        share = done / max(self.total_steps, 1)
        field.width = field.voxel * s.start * (s.end / s.start) ** min(share / max(s.until, 1e-9), 1.0)
        field.turn = min(share / max(s.turned, 1e-9), 1.0)

    def due(self, problem: Problem) -> bool:
        return False

    def act(self, problem: Problem, optimizer: Optimizer) -> str | None:
        self._set(problem.field, problem.step + 1)
        return None

    def take_back(self, problem: Problem) -> None:
        self._set(problem.field, problem.step)


@dataclass(frozen=True)
class NearSurface:
    """Occupied are cells that the surface, as wide as it is drawn, can reach; and dense ones of the shell."""

    # steps between looks
    every: int = 50
    # from here on, as a share of the fit
    begin: float = 0.02

    def build(self, field: Any, radius: float, total_steps: int) -> _NearSurface:
        return _NearSurface(self, total_steps)


class _NearSurface(_Stateless):
    def __init__(self, settings: NearSurface, total_steps: int) -> None:
        self.settings, self.first = settings, round(settings.begin * total_steps)

    def due(self, problem: Problem) -> bool:
        done = problem.step + 1
        return done >= self.first and done % self.settings.every == 0

    def act(self, problem: Problem, optimizer: Optimizer) -> str | None:
        if not self.due(problem):
            return None
        field = problem.field
        volume = field.volume()
        cells = field.allowed.nonzero()
        size = torch.tensor(field.allowed.shape)
        at = ((cells + 0.5) / size).float().contiguous()
        with torch.no_grad():
            parts = [part.contiguous().to(volume.cells.device) for part in at.split(_CHUNK)]  # chosen on the CPU
            found = torch.cat([field.signed_distance(part)[0].cpu() for part in parts])
        sides = torch.tensor(volume.high) - torch.tensor(volume.low)
        diagonal = float((sides * (1 + volume.margin) / size).norm())
        # an optical depth below _DIM per step is reached so far from the surface
        reach = field.width * max(math.log(volume.step / field.width / _DIM), 2.0) + volume.step
        near = found.abs() < reach + diagonal / 2
        if volume.margin > 0:
            opacity = sigmoid(field.outer_density(found) + volume.shift) * volume.delta
            near = torch.where(field.inner(at), near, opacity > 0.1 * _DIM)
        occupied = torch.zeros_like(field.allowed)
        occupied[tuple(cells[near].T)] = True
        grown = torch.nn.functional.max_pool3d(occupied[None, None].float(), 3, 1, 1)[0, 0] > 0
        kept = grown & field.allowed
        if not bool(kept.any()) or torch.equal(kept, (volume.cells == 0).cpu()):
            return None
        field.occupy(kept)
        return None
