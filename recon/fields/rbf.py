"""Colour by one layer of Gaussian kernels in feature space, in place of the small network of any volume.

Source: Bouzidi, Laga, Wannous, "Gaussian RBFNet" (later "GNF: Gaussian neural fields"), 2025, arXiv 2503.06762. Of the
paper only abstract and overviews were read: kernels of diagonal width with learned centres follow it, numbers are ours.
Features are divided by their root mean square over the first batches, so that kernels reach them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from recon.fields.parts.volume_field import VolumeSettings, direction_encoding
from recon.fields.parts.wrapped import WrappedField
from recon.ops.chosen import Counted, mean_of
from recon.ops.elementwise import sigmoid
from recon.ops.march_cuda import has_room
from recon.ops.mlp import mlp
from recon.ops.one_thread import one_thread, single_thread
from recon.ops.rbf import rbf, rbf_row_by_row
from recon.types.placement import sent

_VIEW = 8  # numbers that the direction is projected to
_SLOW = 0.99  # of the running mean square of features


@dataclass(frozen=True)
class RbfSettings:
    """How many kernels, on top of what."""

    # the volume whose colour network is replaced: its settings are those of the method it comes from
    inner: VolumeSettings = field(default_factory=VolumeSettings)
    # Gaussian kernels
    kernels: int = 128

    def build(self) -> RbfField:
        return RbfField(self)


class RbfField(WrappedField):
    """Parameters: "0.NAME" of the volume; centres and sharpness (logarithms) [kernels, features + 8], weights [kernels,
    3], bias [3], view [27, 8]. ``decoder`` is not used."""

    wrapping: RbfSettings

    def __init__(self, settings: RbfSettings) -> None:
        super().__init__(settings, 1)
        self.mean_square: float | Tensor = 0.0  # on a GPU one number there

    @property
    def row_by_row(self) -> bool:  # type: ignore[override]
        return self.parts[0].row_by_row

    @property
    def feature_width(self) -> int:  # type: ignore[override]
        return self.parts[0].feature_width

    @property
    def decoder_sizes(self) -> list[int]:
        return [1, 1]

    def build_params(self, generator: torch.Generator) -> dict[str, Tensor]:
        out = super().build_params(generator)
        k, c = self.wrapping.kernels, self.feature_width + _VIEW
        return out | {
            "centres": torch.randn(k, c, generator=generator),
            "sharpness": torch.full((k, c), -0.5 * torch.log(torch.tensor(2.0 * c)).item()),
            "weights": 0.1 * torch.randn(k, 3, generator=generator),
            "bias": torch.zeros(3),
            "view": torch.randn(27, _VIEW, generator=generator) / 27**0.5,
        }

    def density_and_more(self, u: Tensor, footprint: Tensor) -> tuple[Tensor, Tensor | None]:
        return self.parts[0].density_and_more(u, footprint)

    def density(self, u: Tensor, footprint: Tensor) -> Tensor:
        return self.parts[0].density(u, footprint)

    def features(self, u: Tensor, footprint: Tensor) -> Tensor:
        return self.parts[0].features(u, footprint)

    def radiance(self, u: Tensor, footprint: Tensor, direction_world: Tensor, ray: Tensor, more: Tensor | None
                 ) -> Tensor:
        p = self.params
        z = self.features(u, footprint) if more is None else more
        layer = p["view"], p["centres"], p["sharpness"], p["weights"], p["bias"]
        if z.device.type == "cuda":
            return self._radiance_on_device(z, footprint, direction_world, ray, *layer)
        if torch.is_grad_enabled() and len(z):
            with single_thread():
                now = float(z.detach().square().mean())
            before = float(self.mean_square)
            self.mean_square = now if before == 0 else _SLOW * before + (1 - _SLOW) * now
        scale, rays = max(float(self.mean_square), 1e-4) ** -0.5, ray.long()

        def colour(z: Tensor, view: Tensor, *layer: Tensor) -> Tensor:
            projected = direction_encoding(direction_world) @ view
            return sigmoid(rbf(torch.cat([z * scale, projected.index_select(0, rays)], dim=1), *layer))

        return one_thread(colour, z, *layer)

    def _radiance_on_device(self, z: Tensor, footprint: Tensor, direction_world: Tensor, ray: Tensor, view: Tensor,
                            *layer: Tensor) -> Tensor:
        """The same where no row's bits may follow from how many there are: rows without a width count for nothing."""
        before = sent(torch.as_tensor(self.mean_square, dtype=torch.float32), z.device)
        if torch.is_grad_enabled():
            now, some = _mean_square(z.detach(), footprint > 0)
            mean = torch.where(before == 0, now, _SLOW * before + (1 - _SLOW) * now)
            before = torch.where(some, mean, before)
        self.mean_square = before
        flat = torch.cat([view.reshape(-1), view.new_zeros(_VIEW)])
        projected = mlp(flat, [len(view), _VIEW], z.new_empty(len(z), 0), direction_encoding(direction_world), ray)
        return sigmoid(rbf_row_by_row(torch.cat([z * before.clamp_min(1e-4) ** -0.5, projected], dim=1), *layer))

    def kept(self, index: int) -> Callable[[], None]:
        """The mean as it is now: what comes back restores it."""
        mean = self.mean_square

        def restore() -> None:
            self.mean_square = mean

        return restore

    def state(self) -> dict[str, Any]:
        return super().state() | {"mean_square": float(self.mean_square)}

    def load_state(self, state: dict[str, Any]) -> None:
        super().load_state(state)
        self.mean_square = float(state["mean_square"])


def _mean_square(z: Tensor, counted: Tensor) -> tuple[Tensor, Tensor]:
    """Mean of z [n, channels] squared over the rows that count, and whether there are any; nobody waits for them."""
    if not has_room(z):  # lists are exact
        return (z.square().sum() / max(z.numel(), 1)), torch.full((), len(z) > 0, device=z.device)
    every = counted[:, None].expand_as(z).reshape(-1)
    return mean_of(torch.square, Counted(z.reshape(-1), every)), counted.any()
