"""Slows voxels down that few views see, at the start of a fit, and empties cells that next to none sees.

Source: Sun, Sun, Chen, "Direct voxel grid optimization", CVPR 2022, arXiv 2111.11215, section 4.2 (coarse stage): the
rate of a voxel is multiplied by its number of views over the largest such number, so that what fills itself in front of
single cameras does so slowly. Differences: a view sees what its picture covers; counted on a lattice, and interpolated.
A volume that goes to infinity keeps all its cells (there, too, it has no coarse stage): another view looks there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from recon.protocols import Optimizer, Problem
from recon.types import Camera, Volume
from recon.types.volume import world_from_unit

_NODES = 48  # of the lattice, along an axis
_VIEWS = 50  # that are counted


@dataclass(frozen=True)
class ViewCounts:
    # share of the fit that is slowed down
    until: float = 0.05
    # cells of a bounded volume that fewer views see are empty, where there are at least ten times as many views
    fewest: int = 3

    def build(self, field: Any, radius: float, total_steps: int) -> _ViewCounts:
        return _ViewCounts(self, total_steps)


class _ViewCounts:
    """Acts on parameters that the field names in ``per_voxel`` ([x, y, z, channels]) and optimizers with ``slow``."""

    def __init__(self, settings: ViewCounts, total_steps: int) -> None:
        self.settings, self.last = settings, round(settings.until * total_steps)
        self.counts: Tensor | None = None

    def due(self, problem: Problem) -> bool:
        done = problem.step + 1
        first = self.counts is None and bool(getattr(problem.field, "per_voxel", ()))
        return done <= self.last and (first or done == self.last)

    def act(self, problem: Problem, optimizer: Optimizer) -> str | None:
        field, done = problem.field, problem.step + 1
        volume = field.volume()
        slow = getattr(optimizer, "slow", None)
        names = getattr(field, "per_voxel", ())
        if done > self.last or slow is None or not names or volume.perspective is not None:
            return None
        if done == self.last:
            for name in names:
                slow(name, None)
            return None
        what = None
        if self.counts is None:
            self.counts = view_counts(volume, problem.cameras, _NODES)
            what = self._emptied(field, volume, len(problem.cameras))
        share = self.counts / self.counts.max().clamp_min(1)
        for name in names:
            tensor = field.params[name]
            if slow(name) is None or slow(name).shape[:3] != tensor.shape[:3]:
                slow(name, _resized(share, tensor.shape[:3]).unsqueeze(3).to(tensor.device))
        return what

    def _emptied(self, field: Any, volume: Volume, views: int) -> str | None:
        if views < 10 * self.settings.fewest or self.counts is None or volume.margin > 0:
            return None
        occupied = (volume.cells == 0).cpu()
        every = -(-views // _VIEWS)
        seen = _resized(self.counts, occupied.shape) * every >= self.settings.fewest - 0.5
        kept = occupied & seen
        if bool((kept == occupied).all()) or not bool(kept.any()):
            return None
        field.occupy(kept)
        return f"{int(kept.sum()) / kept.numel():.1%} of the cells seen by {self.settings.fewest} views"

    def state(self) -> dict[str, Any]:
        return {"counts": self.counts}

    def load_state(self, state: dict[str, Any]) -> None:
        self.counts = state["counts"]


def view_counts(volume: Volume, cameras: Sequence[Camera], nodes: int) -> Tensor:
    """[nodes, nodes, nodes] float32: how many of the cameras have a point of an even lattice of unit coordinates in
    their picture; of many cameras every few are counted."""
    axis = torch.linspace(0, 1, nodes)
    x = world_from_unit(volume, torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1).reshape(-1, 3))
    counts = torch.zeros(len(x))
    for camera in cameras[:: -(-len(cameras) // _VIEWS)]:
        pixel, depth = camera.project(x)
        width, height = camera.size
        counts += ((depth > 1e-6) & (pixel[:, 0] >= 0) & (pixel[:, 1] >= 0) & (pixel[:, 0] < width)
                   & (pixel[:, 1] < height)).float()
    return counts.view(nodes, nodes, nodes)


def _resized(values: Tensor, size: Sequence[int]) -> Tensor:
    return torch.nn.functional.interpolate(values[None, None], size=tuple(size), mode="trilinear",
                                           align_corners=True)[0, 0]
