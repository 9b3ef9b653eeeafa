"""Keeps track of which cells of a volume rays have to look into.

Source: the mask of Sun et al., arXiv 2111.11215: 3 x 3 x 3 largest opacity per step above a threshold; it only shrinks.
Differences: of these cells, those are left out as well in which no ray of a fitted view finds anything that weighs
something, as behind surfaces; which ones, is found anew at each look, from all that could hold something.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from recon.ops.elementwise import sigmoid
from recon.ops.march import distances, weights
from recon.ops.volume_rays import footprints, rays_of, sample_volume
from recon.protocols import Optimizer, Problem
from recon.types import Camera
from recon.types.placement import sent

_CHUNK = 1 << 18  # points that are looked at together
_RAYS = 1 << 11  # rays that are
_FAR = 100.0  # where they end


@dataclass(frozen=True)
class ShrinkOccupancy:
    # first time, as a share of the fit
    begin: float = 0.08
    # steps between looks
    every: int = 250
    # a cell is empty where all cells around it are less opaque than this, per step, and hidden where rays find in none
    # of them a sample that weighs more
    threshold: float = 1e-3
    # rays of fitted views that look for hidden cells; too few make holes in surfaces, see docs/performance.md (0: no
    # cells are hidden)
    rays: int = 0
    # where they begin, in units of the normalised scene
    near: float = 0.05

    def build(self, field: Any, radius: float, total_steps: int) -> _ShrinkOccupancy:
        return _ShrinkOccupancy(self, total_steps)


class _ShrinkOccupancy:
    def __init__(self, settings: ShrinkOccupancy, total_steps: int) -> None:
        self.settings, self.first = settings, round(settings.begin * total_steps)
        self.possible: Tensor | None = None  # [x, y, z] bool: cells that could hold something, hidden or not

    def due(self, problem: Problem) -> bool:
        done = problem.step + 1
        return done >= self.first and done % self.settings.every == 0

    def act(self, problem: Problem, optimizer: Optimizer) -> str | None:
        if not self.due(problem):
            return None
        field = problem.field
        before = (field.volume().cells == 0).cpu()  # cells are chosen on the CPU
        possible = before if self.possible is None else self.possible
        generator = torch.Generator().manual_seed(problem.seed * 32_452_843 + problem.step)
        with torch.no_grad():
            kept = self._opaque(field, possible, generator)
            if not bool(kept.any()):
                return None
            self.possible = kept
            if self.settings.rays > 0:
                shown = kept & ~self._hidden(problem, kept, generator)
                kept = shown if bool(shown.any()) else kept
        if torch.equal(kept, before):
            return None
        field.occupy(kept)
        return f"{int(kept.sum()) / kept.numel():.1%} of the cells occupied"

    def _opaque(self, field: Any, possible: Tensor, generator: torch.Generator) -> Tensor:
        """[x, y, z] bool: those of the possible cells with something in them or beside them."""
        volume, on = field.volume(), field.params.device
        cells, opacity = possible.nonzero(), torch.zeros(possible.shape)
        at = (cells + torch.rand(len(cells), 3, generator=generator)) / torch.tensor(possible.shape)
        for part, where in zip(at.split(_CHUNK), cells.split(_CHUNK)):
            u = part.to(on).contiguous()
            raw = field.density(u, u.new_zeros(len(u))).cpu() + volume.shift
            opacity[tuple(where.T)] = 1 - (1 - sigmoid(raw)) ** volume.delta  # 1 - exp(-softplus(raw) delta)
        return possible & (_around(opacity) > self.settings.threshold)

    def _hidden(self, problem: Problem, possible: Tensor, generator: torch.Generator) -> Tensor:
        """[x, y, z] bool: cells that rays of fitted views pass, with none around them that such rays see."""
        field, s = problem.field, self.settings
        on = field.params.device
        volume = replace(field.volume(), cells=distances(possible).to(on))
        size = torch.tensor(possible.shape, device=on)
        passed, seen = torch.zeros(possible.numel()), torch.zeros(possible.numel())
        origins, directions, widths = _random_rays(problem.cameras, s.rays, generator)
        for origin, direction, width in zip(origins.split(_RAYS), directions.split(_RAYS), widths.split(_RAYS)):
            offset = sent(torch.rand(len(origin), generator=generator), on)
            found = sample_volume(volume, sent(origin, on), sent(direction, on), offset, near=s.near, far=_FAR)
            ray = rays_of(found.offsets, len(found.t))
            footprint = footprints(volume, sent(width, on).index_select(0, ray), found.t, found.position)
            w = weights(field.density(found.position, footprint), found.offsets, delta=volume.delta,
                        shift=volume.shift)
            x, y, z = torch.minimum((found.position * size).long(), size - 1).unbind(1)
            cell = ((x * size[1] + y) * size[2] + z).cpu()
            passed[cell] = 1.0
            seen[cell[(w > s.threshold).cpu()]] = 1.0
        return (passed.view(possible.shape) > 0) & (_around(seen.view(possible.shape)) == 0)

    def state(self) -> dict[str, Any]:
        return {"possible": self.possible}

    def load_state(self, state: dict[str, Any]) -> None:
        self.possible = state.get("possible")


def _around(values: Tensor) -> Tensor:
    """The largest of a cell [x, y, z] and the 26 around it: axis by axis, in a sixth of max_pool3d's time."""
    for axis, n in enumerate(values.shape):
        here, larger = values, values.clone()
        for a, b in ((0, 1), (1, 0)):
            part = larger.narrow(axis, a, n - 1)
            torch.maximum(part, here.narrow(axis, b, n - 1), out=part)
        values = larger
    return values


def _random_rays(cameras: Sequence[Camera], count: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Origins and directions [n, 3] and widths of pixels [n] of about ``count`` rays, as many of every camera."""
    each = max(count // len(cameras), 1)
    origins, directions, widths = [], [], []
    for camera in cameras:
        at = torch.rand(each, 2, generator=generator, dtype=torch.float64) * torch.tensor(camera.size)
        origin, direction = camera.rays(at)
        origins.append(origin.float())
        directions.append(direction.float())
        widths.append(torch.full((each,), float((camera.intrinsics[0] * camera.intrinsics[1]) ** -0.5)))
    return torch.cat(origins), torch.cat(directions), torch.cat(widths)
