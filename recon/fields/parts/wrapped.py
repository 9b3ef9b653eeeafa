"""A volume made of other volumes, whose parameters it holds: "0.density" is the density of its first part."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from recon.fields.parts.region import Region
from recon.fields.parts.volume_field import VolumeField
from recon.params import Params


class PartParams(Params):
    """The parameters of one part, kept by the whole under a prefix."""

    def __init__(self, whole: Params, prefix: str) -> None:
        self._whole, self._prefix = whole, prefix

    def __getitem__(self, name: str) -> Tensor:
        return self._whole[self._prefix + name]

    def __setitem__(self, name: str, tensor: Tensor) -> None:
        self._whole[self._prefix + name] = tensor

    def __contains__(self, name: str) -> bool:
        return self._prefix + name in self._whole

    def __iter__(self) -> Iterator[str]:
        return (n.removeprefix(self._prefix) for n in self._whole if n.startswith(self._prefix))

    @property
    def device(self) -> torch.device:
        return self._whole.device

    def items(self) -> Iterator[tuple[str, Tensor]]:
        return ((n, self[n]) for n in self)


class WrappedField(VolumeField):
    """Region, occupancy and resolution of the whole; its parts follow. Built from settings with an ``inner``."""

    path = "inner."
    row_by_row = False

    def __init__(self, settings: Any, parts: int) -> None:
        super().__init__(settings.inner)
        self.wrapping = settings
        self.parts: list[VolumeField] = [settings.inner.build() for _ in range(parts)]
        self.per_voxel = tuple(f"{i}.{name}" for i, part in enumerate(self.parts) for name in part.per_voxel)

    def part_region(self) -> Region:
        """Where the parts lie."""
        return self.region

    def part_voxels(self, part: int) -> tuple[float, float]:
        """Voxels of a part now and at the end."""
        return self.voxels, self.most_voxels

    def follow(self) -> None:
        """Parts get what the whole knows by now."""
        region = self.part_region()
        for i, part in enumerate(self.parts):
            part.params = PartParams(self.params, f"{i}.")
            part.region, part.cells, part.shift = region, self.cells, self.shift
            part.voxels, part.most_voxels = self.part_voxels(i)

    def bytes_at(self, voxels: float) -> float:
        return sum(p.bytes_at(voxels) for p in self.parts)

    def build_params(self, generator: torch.Generator) -> dict[str, Tensor]:
        self.follow()
        out: dict[str, Tensor] = {}
        for i, part in enumerate(self.parts):
            out |= {f"{i}.{name}": value for name, value in part.build_params(generator).items()}
        return out

    def initialise(self, capture: Any, seed: int) -> None:
        super().initialise(capture, seed)
        self.follow()

    def resized(self, size: tuple[int, int, int]) -> dict[str, Tensor]:
        self.follow()
        out: dict[str, Tensor] = {}
        for i, part in enumerate(self.parts):
            out |= {f"{i}.{name}": value for name, value in part.resized(part.size).items()}
        return out

    def occupy(self, occupied: Tensor) -> None:
        super().occupy(occupied)
        self.follow()

    def state(self) -> dict[str, Any]:
        return super().state() | {"parts": [_own(part.state()) for part in self.parts]}

    def load_state(self, state: dict[str, Any]) -> None:
        super().load_state(state)
        self.follow()
        for part, own in zip(self.parts, state["parts"]):
            part.load_state(part.state() | own)
        self.follow()

    @property
    def num_primitives(self) -> int:
        return sum(p.num_primitives for p in self.parts)


_SHARED = ("low", "high", "margin", "occupied", "perspective", "layers", "voxels", "most_voxels", "shift")


def _own(state: dict[str, Any]) -> dict[str, Any]:
    """What of a part's state the whole does not know."""
    return {name: value for name, value in state.items() if name not in _SHARED}


def density_and_more(part: VolumeField, u: Tensor, footprint: Tensor) -> Tensor:
    """[m, 1 + k] raw density and what the part computes along with it, if anything."""
    raw, more = part.density_and_more(u, footprint)
    return raw[:, None] if more is None else torch.cat([raw[:, None], more], dim=1)


def density(part: VolumeField, u: Tensor, footprint: Tensor) -> Tensor:
    """[m, 1] raw density."""
    return part.density(u, footprint)[:, None]


def features(part: VolumeField, u: Tensor, footprint: Tensor) -> Tensor:
    """[m, k] what colour is made from."""
    return part.features(u, footprint)
