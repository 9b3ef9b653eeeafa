"""Volume: where a field for ray marching has something, and how finely it is sampled."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from recon.types.perspective import Perspective
from recon.types.placement import sent


@dataclass(frozen=True)
class Volume:
    """The region of a field, its occupied cells and its step.

    low, high   corners of the inner box, in the world or in ``perspective``
    margin      width of the shell that everything outside is contracted into, in half sides of the box; 0 = nothing
                is outside
    cells       [x, y, z] uint8 over unit coordinates: 0 = occupied, else cells to the nearest occupied one
    step        between samples, scene units; with ``perspective`` in its depth
    delta       optical length of a step, which density is multiplied by
    shift       added to raw density before its softplus
    perspective coordinates in which the box lies, None = the world's
    occupied    [x, y, z] bool on the CPU, where known there: the cells, so that on a GPU nobody waits for their list
    """

    low: tuple[float, float, float]
    high: tuple[float, float, float]
    margin: float
    cells: Tensor
    step: float
    delta: float
    shift: float
    perspective: Perspective | None = None
    occupied: Tensor | None = None

    @property
    def unbounded(self) -> bool:
        """Whether it holds what is far away, too."""
        return self.margin > 0 or self.perspective is not None

    @property
    def box(self) -> Tensor:
        """[7] as kernels take it."""
        return torch.tensor([*self.low, *self.high, self.margin])


def random_points(volume: Volume, count: int, generator: torch.Generator) -> Tensor:
    """[count, 3] unit coordinates, even over the occupied cells; none where no cell is occupied."""
    cells = _occupied(volume)
    if not len(cells):
        return torch.empty(0, 3, device=cells.device)
    chosen = cells[sent(torch.randint(len(cells), (count,), generator=generator), cells.device)]
    inside = sent(torch.rand(count, 3, generator=generator), cells.device)
    return ((chosen + inside) / sent(torch.tensor(volume.cells.shape), cells.device)).contiguous()


_last_occupied: list[tuple[Tensor, Tensor]] = []  # cells that were last asked for, and which are occupied


def _occupied(volume: Volume) -> Tensor:
    """[k, 3] occupied cells, found once for the same cells (nobody changes them in place); on a GPU sent there where
    they are known on the CPU."""
    cells, known = volume.cells, volume.occupied
    if not _last_occupied or _last_occupied[0][0] is not cells:
        found = (cells == 0).nonzero() if known is None else sent(known.nonzero(), cells.device)
        _last_occupied[:] = [(cells, found)]
    return _last_occupied[0][1]


def unit_from_world(volume: Volume, x_world: Tensor) -> Tensor:
    """[n, 3] points -> unit coordinates; what lies outside is contracted into the shell, or is outside 0..1."""
    low, high = (sent(torch.tensor(c), x_world.device) for c in (volume.low, volume.high))
    if volume.perspective is not None:
        return (volume.perspective.box_from_world(x_world) - low) / (high - low)
    q = (x_world - 0.5 * (high + low)) / (0.5 * (high - low))
    far = q.abs().amax(1, keepdim=True)
    if volume.margin > 0:
        shell = (1 + volume.margin - volume.margin / far.clamp_min(1)) / far.clamp_min(1)
        q = torch.where(far > 1, q * shell, q)
    return 0.5 + 0.5 * q / (1 + volume.margin)


def world_from_unit(volume: Volume, u: Tensor) -> Tensor:
    """The inverse of ``unit_from_world`` for 0 <= u <= 1; a shell's outer rim is infinitely far and held below."""
    low, high = (sent(torch.tensor(c), u.device) for c in (volume.low, volume.high))
    if volume.perspective is not None:
        return volume.perspective.world_from_box(low + u * (high - low))
    q = (2 * u - 1) * (1 + volume.margin)
    if volume.margin > 0:
        far = q.abs().amax(1, keepdim=True)
        distance = volume.margin / (1 + volume.margin - far).clamp_min(1e-3 * volume.margin)
        q = torch.where(far > 1, q / far.clamp_min(1) * distance, q)
    return 0.5 * (high + low) + 0.5 * (high - low) * q


def world_gradient(volume: Volume, x_world: Tensor, slopes: Tensor) -> Tensor:
    """Gradients [n, 3] by unit coordinates at points [n, 3] -> gradients by world coordinates."""
    x = x_world.double()
    h = 1e-5 * (x - x.mean(0)).norm(dim=1).mean().clamp_min(1e-3) if len(x) else x.new_tensor(1.0)
    out = []
    for axis in torch.eye(3, dtype=torch.float64, device=x.device):
        change = (unit_from_world(volume, x + h * axis) - unit_from_world(volume, x - h * axis)) / (2 * h)
        out.append(change[:, 0] * slopes[:, 0] + change[:, 1] * slopes[:, 1] + change[:, 2] * slopes[:, 2])
    return torch.stack(out, dim=1).float()
