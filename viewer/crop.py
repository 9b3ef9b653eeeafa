"""Crop: a turned box in the world that pictures and exports obey."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from recon.errors import InputError
from recon.ops.march import distances
from recon.protocols import Splats, Volumetric
from recon.types import Gaussians, Mesh, Volume
from recon.types.volume import unit_from_world, world_from_unit


@dataclass(frozen=True)
class Crop:
    """centre [3], rotation [3, 3] world_from_box, size [3]: lengths of the edges, all in the world."""

    centre: Tensor
    rotation: Tensor
    size: Tensor
    _kept: list[Any] = field(default_factory=list, repr=False, compare=False)  # (cells, cells in the box) of a volume

    def inside(self, x_world: Tensor) -> Tensor:
        """Points [n, 3] -> [n] bool."""
        local = (x_world.double() - self.centre) @ self.rotation
        return (local.abs() <= self.size / 2).all(-1)

    def gaussians(self, whole: Gaussians) -> Gaussians:
        return whole.select(self.inside(whole.means))

    def mesh(self, whole: Mesh) -> Mesh:
        """The triangles that lie wholly inside. Raises InputError where there are none."""
        chosen = whole.select(self.inside(whole.corners.reshape(-1, 3)).view(-1, 3).all(1))
        if len(chosen) == 0:
            raise InputError("nothing of the mesh is inside the crop box", fix="Make it larger, or switch it off.")
        return chosen

    def edit(self, field: Any) -> Any:
        """For ``Look.edit``: what is drawn in place of ``field``, see ``can_crop``."""
        if isinstance(field, Splats):
            return Frozen(self.gaussians(field.gaussians()))
        return CroppedVolume(field, self) if isinstance(field, Volumetric) else field


@dataclass(frozen=True)
class Frozen:
    """A field that is only looked at."""

    fixed: Gaussians

    def gaussians(self, t: float = 0.0) -> Gaussians:
        return self.fixed


class CroppedVolume:
    """A volume to look at that is empty outside of the box: its density there is nothing, its distances are large.

    Inside, and in all else that renderers ask, it is the field itself. A solid that the box cuts shows the colours that
    the field has within, which no photo saw.
    """

    def __init__(self, field: Any, crop: Crop) -> None:
        self._field, self._crop = field, crop
        volume, kept = field.volume(), crop._kept
        if not kept or kept[0] is not volume.cells:
            kept[:] = volume.cells, _cells_inside(volume, crop)
        self._volume = replace(volume, cells=kept[1])

    def __getattr__(self, name: str) -> Any:
        return getattr(self._field, name)

    def volume(self) -> Volume:
        return self._volume

    def density(self, u: Tensor, footprint: Tensor) -> Tensor:
        return self._field.density(u, footprint).masked_fill(self._outside(u), _NOTHING)

    def density_and_more(self, u: Tensor, footprint: Tensor) -> tuple[Tensor, Tensor | None]:
        raw, more = self._field.density_and_more(u, footprint)
        return raw.masked_fill(self._outside(u), _NOTHING), more

    def signed_distance(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """For fields whose renderer asks for distances [m] and their gradients [m, 3]."""
        value, gradient = self._field.signed_distance(u)
        return value.masked_fill(self._outside(u), _FAR), gradient

    def _outside(self, u: Tensor) -> Tensor:
        return ~self._crop.inside(world_from_unit(self._volume, u))


_NOTHING, _FAR = -1e4, 1e4  # raw density and distance of what is not there


def _cells_inside(volume: Volume, crop: Crop) -> Tensor:
    """The cells of ``volume`` without those that are surely outside of the box, so that no ray looks there."""
    if volume.perspective is not None:
        return volume.cells
    signs = torch.cartesian_prod(*[torch.tensor([-0.5, 0.5], dtype=torch.float64)] * 3)
    corners = (crop.centre + (signs * crop.size) @ crop.rotation.T).float()
    low, high = corners.amin(0), corners.amax(0)
    inner = torch.tensor(volume.low), torch.tensor(volume.high)
    middle = (inner[0] + inner[1]) / 2
    if bool(((low < inner[0]) | (high > inner[1])).any()):  # contraction draws everything towards the middle
        low, high = torch.minimum(low, middle), torch.maximum(high, middle)
    # each axis by itself, where contraction leaves it farthest
    low, high = (unit_from_world(volume, middle + torch.diag(end - middle)).diagonal() for end in (low, high))
    shape = torch.tensor(volume.cells.shape)
    first = (low * shape).floor().long().clamp_min(0)
    last = (high * shape).ceil().long().minimum(shape)
    part = tuple(slice(int(a), max(int(b), int(a))) for a, b in zip(first, last, strict=True))
    kept = torch.zeros(volume.cells.shape, dtype=torch.bool)
    kept[part] = volume.cells[part] == 0
    return distances(kept)


def can_crop(field: Any) -> bool:
    """Whether ``Crop.edit`` knows how to draw a part of ``field``."""
    return isinstance(field, (Splats, Volumetric))


def level(up: Tensor) -> Tensor:
    """[3, 3] rotation whose z axis is up."""
    z = up / up.norm()
    helper = torch.eye(3, dtype=torch.float64)[int(z.abs().argmin())]
    x = torch.linalg.cross(helper, z)
    x = x / x.norm()
    return torch.stack([x, torch.linalg.cross(z, x), z], dim=1)
