"""Samples along rays through a ``Volume``, whatever coordinates its box is in."""

from __future__ import annotations

import torch
from torch import Tensor

from recon.ops import room
from recon.ops.march import Samples, sample
from recon.types import Volume


def sample_volume(volume: Volume, origin: Tensor, direction: Tensor, offset: Tensor, *, near: float, far: float
                  ) -> Samples:
    """Samples ``volume.step`` apart in occupied cells; see ``march.sample``. In perspective coordinates steps grow with
    the square of the distance, and nothing is too far. t is in scene units always."""
    seen = volume.perspective
    if seen is None:
        return sample(origin, direction, offset, volume.box, volume.cells, near=near, far=far, step=volume.step)
    start, slope = seen.lines(origin, direction, near)
    found = sample(start.contiguous(), slope.contiguous(), offset, volume.box, volume.cells, near=0.0, far=2.0,
                   step=volume.step)
    ray = rays_of(found.offsets, len(found.t)).long()
    t = seen.distance(origin[ray], direction[ray], _depth(volume, found.position))
    if room.current() is not None:  # as in the world's coordinates
        t = torch.where(torch.arange(len(t), device=t.device) < found.offsets[-1], t, 0.0)
    return Samples(found.position, t, found.offsets)


def rays_of(offsets: Tensor, samples: int) -> Tensor:
    """The ray [samples] int32 of every sample; of those that a ``Room`` holds beyond the last one, any ray."""
    if room.current() is not None:
        at = torch.arange(samples, dtype=torch.int32, device=offsets.device)
        found: Tensor = torch.searchsorted(offsets[1:], at, right=True, out_int32=True)
        return found.clamp_max(len(offsets) - 2)
    counts = (offsets[1:] - offsets[:-1]).long()
    return torch.repeat_interleave(torch.arange(len(counts), dtype=torch.int32, device=counts.device), counts)


def footprints(volume: Volume, width: Tensor, t: Tensor, u: Tensor) -> Tensor:
    """[m] how wide pixels of ``width`` [m] at distance 1 are at samples (t [m], unit positions u [m, 3]), in units of
    the volume's box."""
    seen = volume.perspective
    return width * t if seen is None else width * t / seen.depth(_depth(volume, u))


def _depth(volume: Volume, u: Tensor) -> Tensor:
    low, high = volume.low[2], volume.high[2]
    return low + u[:, 2] * (high - low)
