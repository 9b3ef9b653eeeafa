"""Ray marching on CUDA: the kernels of cuda/march/*.cu under the names and arguments of the CPU kernels.

The order of every sum is fixed. Within an open ``Room`` nothing waits for the device: there are as many samples as it
has room for, and those behind the last one belong to no ray, weigh nothing and get no gradient. Outside, the number of
samples is read back once per batch to size their arrays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from recon.ops import cuda, room
from recon.ops.native import native


@dataclass(frozen=True)
class MarchKernels:
    """Functions of a CUDA module (or of the tests' executor) with the arguments of the CPU kernels; float32."""

    module: Any

    def march_distances(self, cells: Tensor) -> None:
        """1 = occupied -> distance to the nearest occupied cell, in place; cells [x, y, z] uint8."""
        self.module.march_distances(cells, cuda.scratch(cells, cells.numel()), cuda.stream(cells.device))

    def march_sample(self, origin: Tensor, direction: Tensor, offset: Tensor, box: Tensor, cells: Tensor, near: float,
                     far: float, step: float) -> tuple[Tensor, Tensor, Tensor]:
        """position [m, 3], t [m], offsets [rays + 1] int32."""
        rays, stream, m = len(offset), cuda.stream(origin.device), self.module
        given = (origin, direction, offset, box, cells, near, far, step)
        offsets = cuda.scratch(origin, rays + 1, torch.int32)
        m.march_count(*given, offsets, cuda.scratch(origin, m.march_scratch(rays)), stream)
        taken = room.current()
        count = int(offsets[-1]) if taken is None else taken.take("samples", offsets[-1:])
        if count < 0:
            raise ValueError("more than 2^31 samples in one batch of rays")
        position, t = origin.new_zeros(count, 3), origin.new_zeros(count)
        m.march_write(*given, offsets, position, t, stream)
        return position, t, offsets if taken is None else offsets.clamp(0, count)

    def march_weights(self, raw: Tensor, offsets: Tensor, delta: float, shift: float, end: float,
                      weight: Tensor) -> None:
        """Weight of every sample [m]; 0 of those of no ray."""
        weight.zero_()
        self.module.march_weights(raw, offsets, delta, shift, end, weight, cuda.stream(raw.device))

    def march_composite(self, raw: Tensor, *arguments: Any) -> None:
        """raw, t, offsets, colour, index, background, delta, shift -> rgb, depth, transmittance, distortion."""
        self.module.march_composite(raw, *arguments, cuda.scratch(raw, len(raw), torch.int32), cuda.stream(raw.device))

    def march_composite_backward(self, raw: Tensor, *arguments: Any) -> None:
        """The same inputs, gradients of rgb, transmittance and distortion -> g_raw, g_colour."""
        for of_no_ray in arguments[-2:]:
            of_no_ray.zero_()
        self.module.march_composite_backward(raw, *arguments, cuda.scratch(raw, len(raw), torch.int32),
                                             cuda.stream(raw.device))


@dataclass(frozen=True)
class _OnCpu:
    """The CPU kernels; samples come as arrays of numpy there."""

    def __getattr__(self, name: str) -> Any:
        return getattr(native, name)

    def march_sample(self, *arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
        position, t, offsets = native.march_sample(*arguments)
        return torch.from_numpy(position), torch.from_numpy(t), torch.from_numpy(offsets)


_ON_CPU = _OnCpu()


def kernels_of(tensor: Tensor) -> Any:
    """The kernels for a tensor: of its GPU, or the CPU's."""
    module = cuda.kernels_for(tensor)
    return _ON_CPU if module is None else MarchKernels(module)


def has_room(tensor: Tensor) -> bool:
    """Whether the kernels for a tensor take lists with more room than entries; those of other packages do not."""
    kernels = kernels_of(tensor)
    return isinstance(kernels, MarchKernels) and not getattr(kernels.module, "exact_lists", False)
