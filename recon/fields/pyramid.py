"""A pyramid of volumes, each half as fine as the next; a sample looks where voxels are as large as its pixel.

Source: Turki, Zollhoefer, Richardt, Ramanan, "PyNeRF: Pyramidal neural radiance fields", NeurIPS 2023, arXiv
2312.00252, interpolating before one shared colour network. Differences: levels are whole fields of any kind; raw
density and features are blended.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from recon.fields.parts import wrapped
from recon.fields.parts.volume_field import VolumeSettings
from recon.fields.parts.wrapped import WrappedField
from recon.ops import room
from recon.ops.chosen import choose
from recon.types.placement import sent

_TABLE = 32  # cells along a side of what is known about trained levels
_SPARSE = 7  # every so many samples are noted


@dataclass(frozen=True)
class PyramidSettings:
    """How many levels, and what they are."""

    # the finest level: its settings are those of the method it comes from
    inner: VolumeSettings = field(default_factory=VolumeSettings)
    # resolutions, each half as fine as the next
    levels: int = 4

    def build(self) -> PyramidField:
        return PyramidField(self)


class PyramidField(WrappedField):
    """Parameters: "k.NAME" of level k (0 is the coarsest), decoder."""

    wrapping: PyramidSettings

    def __init__(self, settings: PyramidSettings) -> None:
        super().__init__(settings, settings.levels)
        self.trained = _untrained()

    @property
    def row_by_row(self) -> bool:  # type: ignore[override]
        return all(part.row_by_row for part in self.parts)

    @property
    def feature_width(self) -> int:  # type: ignore[override]
        return self.parts[0].feature_width

    def bytes_at(self, voxels: float) -> float:
        return sum(p.bytes_at(max(voxels / 8.0**k, 64.0)) for k, p in enumerate(reversed(self.parts)))

    def part_voxels(self, part: int) -> tuple[float, float]:
        most = max(self.most_voxels / 8.0 ** (len(self.parts) - 1 - part), 64.0)
        return min(self.voxels, most), most

    def level(self, footprint: Tensor) -> Tensor:
        """[m] the level whose voxels are as large as a pixel of width ``footprint`` [m], with a fraction."""
        finest = self.region.cell(self.most_voxels) * (1 + self.region.margin)
        top = len(self.parts) - 1
        return (top - torch.log2(footprint.clamp_min(1e-12) / finest)).clamp(0, top)

    def density_and_more(self, u: Tensor, footprint: Tensor) -> tuple[Tensor, Tensor | None]:
        if torch.is_grad_enabled():
            self._note(u, footprint)
        out = self._blended(wrapped.density_and_more, u, footprint)
        return out[:, 0].contiguous(), out[:, 1:].contiguous() if out.shape[1] > 1 else None

    def density(self, u: Tensor, footprint: Tensor) -> Tensor:
        return self._blended(wrapped.density, u, footprint)[:, 0].contiguous()

    def features(self, u: Tensor, footprint: Tensor) -> Tensor:
        return self._blended(wrapped.features, u, footprint)

    def _blended(self, ask: Callable[..., Tensor], u: Tensor, footprint: Tensor) -> Tensor:
        """What ``ask(part, u, footprint)`` says at the two levels around each sample's own, blended."""
        level = self._guarded(u, self.level(footprint))
        below = level.floor().clamp(max=max(len(self.parts) - 2, 0))
        above = level - below  # weight of the next level
        total: Tensor | None = None
        for k, part in enumerate(self.parts):
            weight = torch.where(below == k, 1 - above, torch.where(below == k - 1, above, 0.0))
            if u.device.type == "cuda" and room.current() is None:  # how many look at a level would be waited for
                found = ask(part, u, footprint) * weight[:, None]
                total = found if total is None else total + found
                continue
            mask = weight > 0
            if room.current() is not None:  # samples have a width; what there only is room for has none
                mask &= footprint > 0
            rows = choose(mask, f"{ask.__name__} of level {k}")
            if not len(rows) and k + 1 < len(self.parts):
                continue
            found = ask(part, rows.of(u), rows.of(footprint)) * rows.of(weight)[:, None]
            total = u.new_zeros(len(u), found.shape[1]) if total is None else total
            total = rows.added_to(total, found)
        assert total is not None
        return total

    # ------------------------------------------------------------ levels that were trained

    @torch.no_grad()
    def _note(self, u: Tensor, footprint: Tensor) -> None:
        """While fitting: which levels are looked at, cell by cell."""
        low, high = self.trained = self._trained_on(u.device)
        rows = slice(None, None, _SPARSE)
        flat, level = _cell_of(u[rows]), self.level(footprint[rows])
        seen = footprint[rows] > 0  # else no sample: there was room for more
        low.scatter_reduce_(0, flat, torch.where(seen, level, 1e3), "amin")
        high.scatter_reduce_(0, flat, torch.where(seen, level, -1e3), "amax")

    def _guarded(self, u: Tensor, level: Tensor) -> Tensor:
        """Where nothing is learned: keeps to levels that were trained there."""
        if torch.is_grad_enabled():
            return level
        low, high = self.trained = self._trained_on(u.device)
        low, high = (t[_cell_of(u)] for t in (low, high))
        return torch.where(low <= high, torch.maximum(torch.minimum(level, high), low), level)

    def _trained_on(self, device: torch.device) -> tuple[Tensor, Tensor]:
        low, high = self.trained
        return (low, high) if low.device == device else (sent(low, device), sent(high, device))

    def state(self) -> dict[str, Any]:
        return super().state() | {"trained": [t.cpu() for t in self.trained]}

    def load_state(self, state: dict[str, Any]) -> None:
        super().load_state(state)
        self.trained = tuple(t.clone() for t in state["trained"])


def _untrained() -> tuple[Tensor, Tensor]:
    """Least and largest level of every cell; nothing yet."""
    return torch.full((_TABLE**3,), 1e3), torch.full((_TABLE**3,), -1e3)


def _cell_of(u: Tensor) -> Tensor:
    """[m] number of the cell that a point lies in."""
    cell = (u * _TABLE).long().clamp(0, _TABLE - 1)
    return (cell[:, 0] * _TABLE + cell[:, 1]) * _TABLE + cell[:, 2]
