"""Volume: where a field for ray marching has something, and how finely it is sampled."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Volume:
    """The region of a field, its occupied cells and its step.

    low, high   corners of the inner box in the world
    margin      width of the shell that everything outside is contracted into, in half sides of the box; 0 = nothing
                is outside
    cells       [x, y, z] uint8 over unit coordinates: 0 = occupied, else cells to the nearest occupied one
    step        between samples, scene units
    delta       optical length of a step, which density is multiplied by
    shift       added to raw density before its softplus
    """

    low: tuple[float, float, float]
    high: tuple[float, float, float]
    margin: float
    cells: Tensor
    step: float
    delta: float
    shift: float

    @property
    def box(self) -> Tensor:
        """[7] as kernels take it."""
        return torch.tensor([*self.low, *self.high, self.margin])


def random_points(volume: Volume, count: int, generator: torch.Generator) -> Tensor:
    """[count, 3] unit coordinates, even over the occupied cells; none where no cell is occupied."""
    cells = (volume.cells == 0).nonzero()
    if not len(cells):
        return torch.empty(0, 3)
    chosen = cells[torch.randint(len(cells), (count,), generator=generator)]
    return ((chosen + torch.rand(count, 3, generator=generator)) / torch.tensor(volume.cells.shape)).contiguous()
