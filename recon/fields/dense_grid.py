"""A dense voxel grid of density and colour features.

Source: Sun, Sun, Chen, "Direct voxel grid optimization", CVPR 2022, arXiv 2111.11215. Differences: no separate coarse
stage, the fit begins with few voxels; the first occupancy is the visual hull where photos have alpha, else everything,
and shrinks while fitting.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from recon.fields.parts.volume_field import VolumeField, VolumeSettings, resampled
from recon.ops.grid import trilinear


@dataclass(frozen=True)
class DenseGridSettings(VolumeSettings):
    """How fine the grid is, and how colour is made."""

    # numbers per voxel that colour is made from
    channels: int = 12

    def build(self) -> DenseGridField:
        return DenseGridField(self)


class DenseGridField(VolumeField):
    """Parameters: density [x, y, z, 1] raw, features [x, y, z, channels], decoder (flat, see ``recon.ops.mlp``)."""

    settings: DenseGridSettings
    per_voxel = ("density", "features")

    @property
    def feature_width(self) -> int:  # type: ignore[override]
        return self.settings.channels

    def bytes_at(self, voxels: float) -> float:
        return 4.0 * (self.settings.channels + 1) * voxels

    def build_params(self, generator: torch.Generator) -> dict[str, Tensor]:
        return {"density": torch.zeros(*self.size, 1), "features": torch.zeros(*self.size, self.settings.channels)}

    def density(self, u: Tensor, footprint: Tensor) -> Tensor:
        return trilinear(self.params["density"], u).squeeze(1)

    def features(self, u: Tensor, footprint: Tensor) -> Tensor:
        return trilinear(self.params["features"], u)

    def resized(self, size: tuple[int, int, int]) -> dict[str, Tensor]:
        return {n: resampled(self.params[n], size) for n in ("density", "features")}
