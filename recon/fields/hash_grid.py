"""A multiresolution hash grid with two small networks.

Source: Mueller, Evans, Schied, Keller, "Instant neural graphics primitives with a multiresolution hash encoding",
SIGGRAPH 2022, arXiv 2201.05989. Differences: density goes through softplus instead of exp, the direction is encoded by
sines and cosines, and the first occupancy is the visual hull where photos have alpha.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from recon.fields.parts.volume_field import VolumeField, VolumeSettings
from recon.ops.grid import hash_grid
from recon.ops.mlp import initial, mlp

_GAIN = 4.0  # on the network's outputs: full opacity must be in reach of a few hundred steps


@dataclass(frozen=True)
class HashGridSettings(VolumeSettings):
    """How large the tables are."""

    # resolutions, each finer than the last by the same factor
    levels: int = 8
    # numbers per node
    channels: int = 4
    # logarithm of the slots per resolution
    log2_slots: int = 17
    # nodes along an axis of the coarsest and the finest resolution
    coarsest: int = 16
    finest: int = 256
    # width of the layer between features and density
    density_hidden: int = 32
    # numbers handed on from density to colour
    handed_on: int = 15

    def build(self) -> HashGridField:
        return HashGridField(self)


class _FirstColumn(torch.autograd.Function):
    """x [n, c] -> the first column [n], and the others [n, c - 1], not copied; gradients are put together at once."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        plain = x.detach()
        return plain[:, 0].contiguous(), plain[:, 1:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, first: Tensor, rest: Tensor) -> Tensor:
        return torch.cat([first[:, None], rest], dim=1)


class HashGridField(VolumeField):
    """Parameters: table [levels, slots, channels], network (to density and what is handed on), decoder."""

    settings: HashGridSettings

    @property
    def feature_width(self) -> int:  # type: ignore[override]
        return self.settings.handed_on

    @property
    def nodes(self) -> list[int]:
        """Along an axis, of every level."""
        s = self.settings
        growth = (s.finest / s.coarsest) ** (1 / max(s.levels - 1, 1))
        return [max(round(s.coarsest * growth**i), 2) for i in range(s.levels)]

    @property
    def network_sizes(self) -> list[int]:
        s = self.settings
        return [s.levels * s.channels, s.density_hidden, 1 + s.handed_on]

    @property
    def slots(self) -> int:
        """Of every level: no more than would fill twice the finest grid the photos support."""
        return self._slots_for(self.most_voxels)

    def _slots_for(self, voxels: float) -> int:
        wanted = 1 << self.settings.log2_slots
        while wanted > 2 * voxels and wanted > 256:
            wanted >>= 1
        return wanted

    def bytes_at(self, voxels: float) -> float:
        return 4.0 * self.settings.levels * self.settings.channels * self._slots_for(voxels)

    def build_params(self, generator: torch.Generator) -> dict[str, Tensor]:
        s = self.settings
        table = (torch.rand(s.levels, self.slots, s.channels, generator=generator) * 2 - 1) * 1e-2
        return {"table": table, "network": initial(self.network_sizes, generator)}

    @property
    def num_primitives(self) -> int:
        return self.settings.levels * self.slots

    def _network(self, u: Tensor) -> Tensor:
        encoded = hash_grid(self.params["table"], self.nodes, u)
        return mlp(self._amplified(self.params["network"]), self.network_sizes, encoded)

    def _amplified(self, network: Tensor) -> Tensor:
        """The network with the gain in its last layer: as if its outputs were multiplied, which are many more."""
        last = (self.network_sizes[-2] + 1) * self.network_sizes[-1]
        return torch.cat([network[:-last], network[-last:] * _GAIN])

    def density(self, u: Tensor, footprint: Tensor) -> Tensor:
        return self._network(u)[:, 0].contiguous()

    def density_and_more(self, u: Tensor, footprint: Tensor) -> tuple[Tensor, Tensor | None]:
        first, rest = _FirstColumn.apply(self._network(u))
        return first, rest

    def features(self, u: Tensor, footprint: Tensor) -> Tensor:
        return self._network(u)[:, 1:].contiguous()
