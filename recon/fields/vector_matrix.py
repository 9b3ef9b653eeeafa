"""A volume factored into planes and lines (VM), or into lines alone (CP).

Source: Chen, Xu, Geiger, Yu, Su, "TensoRF: tensorial radiance fields", ECCV 2022, arXiv 2203.09517. Differences: nodes
are as many along every axis; the basis matrix is the first layer of the decoder; occupancy as in the other volumes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from recon.fields.parts.volume_field import VolumeField, VolumeSettings
from recon.ops.grid import tri_vector, vector_matrix


@dataclass(frozen=True)
class FactoredSettings(VolumeSettings):
    """How the volume is factored."""

    # planes times lines, or products of three lines
    form: Literal["vm", "cp"] = "vm"
    # components of density and of colour (per mode in the form vm)
    density_rank: int = 8
    colour_rank: int = 24

    def build(self) -> FactoredField:
        return FactoredField(self)


class FactoredField(VolumeField):
    """Parameters: density_lines and colour_lines [3, nodes, rank], in the form vm also ..._planes [3, nodes, nodes,
    rank]; decoder. ``density`` is the sum of the components' products."""

    settings: FactoredSettings

    @property
    def feature_width(self) -> int:  # type: ignore[override]
        return self.settings.colour_rank * (3 if self.settings.form == "vm" else 1)

    @property
    def nodes(self) -> int:
        return max(round(self.voxels ** (1 / 3)), 4)

    def bytes_at(self, voxels: float) -> float:
        s, n = self.settings, voxels ** (1 / 3)
        return 12.0 * (s.density_rank + s.colour_rank) * (n + n * n if s.form == "vm" else n)

    def build_params(self, generator: torch.Generator) -> dict[str, Tensor]:
        s, n = self.settings, self.nodes
        out = {}
        for name, rank in (("density", s.density_rank), ("colour", s.colour_rank)):
            out[f"{name}_lines"] = self._spread(generator, 3, n, rank)
            if s.form == "vm":
                out[f"{name}_planes"] = self._spread(generator, 3, n, n, rank)
        return out

    def _spread(self, generator: torch.Generator, *shape: int) -> Tensor:
        return (0.1 if self.settings.form == "vm" else 0.2) * torch.randn(*shape, generator=generator)

    @property
    def num_primitives(self) -> int:
        return sum(t.numel() for n, t in self.params.items() if n != "decoder")

    def _products(self, name: str, u: Tensor) -> Tensor:
        lines = self.params[f"{name}_lines"]
        if self.settings.form == "vm":
            return vector_matrix(self.params[f"{name}_planes"], lines, u)
        return tri_vector(lines, u)

    def density(self, u: Tensor, footprint: Tensor) -> Tensor:
        return self._products("density", u).sum(1)

    def features(self, u: Tensor, footprint: Tensor) -> Tensor:
        return self._products("colour", u)

    def resized(self, size: tuple[int, int, int]) -> dict[str, Tensor]:
        n, out = self.nodes, {}
        for name, tensor in self.params.items():
            values = tensor.detach()
            if name.endswith("_lines"):
                out[name] = torch.nn.functional.interpolate(values.permute(0, 2, 1), size=n, mode="linear",
                                                            align_corners=True).permute(0, 2, 1)
            elif name.endswith("_planes"):
                out[name] = torch.nn.functional.interpolate(values.permute(0, 3, 1, 2), size=(n, n), mode="bilinear",
                                                            align_corners=True).permute(0, 2, 3, 1)
        return out
