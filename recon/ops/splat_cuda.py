"""Splatting on CUDA: the kernels of cuda/splat/*.cu under the names and arguments of the CPU kernels.

``deterministic`` chooses how the backward pass adds up what the tiles know of a Gaussian: through one slot per tile
entry, in fixed order and the same bits in every run, at 48 bytes an entry; or by atomics into 48 bytes a Gaussian.
Within an open ``Room`` nothing waits for the device; outside, the number of tile entries is read back once per
picture to size the lists.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from recon.ops import cuda, room

SUMS = 12
_RADIUS = 11  # column of a record; 0 means not drawn


class Lists:
    """Tile lists of one picture: rows by depth, their tile entries, and the entries by tile."""

    def __init__(self) -> None:
        self.order = self.begin = self.tile_begin = self.row = self.slot = torch.empty(0, dtype=torch.int32)
        self.width = self.height = 0

    @property
    def instances(self) -> int:
        """Tile entries there is room for; without a ``Room``, that there are."""
        return len(self.row)

    @property
    def bytes(self) -> int:
        """Memory of the lists."""
        return sum(t.numel() * 4 for t in (self.order, self.begin, self.tile_begin, self.row, self.slot))

    def arrays(self) -> tuple[Tensor, Tensor, Tensor]:
        """What compositing reads."""
        return self.tile_begin, self.row, self.slot


@dataclass(frozen=True)
class SplatKernels:
    """Functions of a CUDA module (or of the tests' executor) with the arguments of the CPU kernels."""

    module: Any
    deterministic: bool = True

    def project(self, *arguments: Any) -> None:
        """means, log_scales, quaternions, logits, sh0, sh_rest, camera, degree, antialiased -> records.

        The camera may be on the device.
        """
        *rows, camera, degree, antialiased, records = arguments
        self.module.splat_project(rows, camera, camera.is_cuda, degree, antialiased, records,
                                  cuda.stream(records.device))

    def project_backward(self, *arguments: Any) -> None:
        """The same, records, g_records -> six gradients."""
        rows, (camera, degree, antialiased, records, g_records), out = arguments[:6], arguments[6:11], arguments[11:]
        self.module.splat_project_backward(list(rows), camera, degree, antialiased, records, g_records, list(out),
                                           cuda.stream(records.device))

    def make_lists(self, lists: Lists, records: Tensor, width: int, height: int) -> None:
        """Fills ``lists`` for a picture of these records."""
        rows, stream, m = len(records), cuda.stream(records.device), self.module
        lists.width, lists.height = width, height
        lists.order = cuda.scratch(records, rows, torch.int32)
        lists.begin = cuda.scratch(records, rows + 1, torch.int32)
        m.splat_sort_by_depth(records, width, height, lists.order, lists.begin,
                              cuda.scratch(records, m.splat_depth_scratch(rows)), stream)
        taken = room.current()
        entries = int(lists.begin[-1]) if taken is None else taken.take("tiles", lists.begin[-1:])
        if entries < 0:
            raise ValueError("more than 2^31 tile entries in one picture")
        lists.tile_begin = cuda.scratch(records, m.splat_tiles(width, height) + 1, torch.int32)
        lists.row = cuda.scratch(records, entries, torch.int32)
        lists.slot = cuda.scratch(records, entries, torch.int32)
        m.splat_sort_by_tile(records, width, height, lists.order, lists.begin, *lists.arrays(),
                             cuda.scratch(records, m.splat_tile_scratch(entries)), stream)
        enough = None if taken is None else taken.enough()
        if enough is not None:  # else nothing counts as drawn, for the projection's backward pass too, which saved them
            with torch.autograd._unsafe_preserve_version_counter(records):
                records[:, _RADIUS].mul_(enough)

    def composite(self, lists: Lists, records: Tensor, width: int, height: int, background: Tensor, picture: Tensor,
                  transmittance: Tensor) -> None:
        """Fills ``lists``, picture [3 or 4, height, width] and transmittance [height, width]."""
        self.make_lists(lists, records, width, height)
        self.module.splat_composite(records, width, height, *lists.arrays(), background, picture, transmittance,
                                    cuda.stream(records.device))

    def composite_backward(self, lists: Lists, records: Tensor, picture: Tensor, transmittance: Tensor,
                           g_picture: Tensor, g_transmittance: Tensor, absolute: bool, g_records: Tensor) -> None:
        """Gradient of the records of the picture that ``lists`` were made for."""
        count = lists.instances if self.deterministic else len(records)
        self.module.splat_composite_backward(
            records, lists.width, lists.height, lists.order, lists.begin, *lists.arrays(), picture, transmittance,
            g_picture, g_transmittance, absolute, self.deterministic,
            cuda.scratch(records, count * SUMS, torch.float32), g_records, cuda.stream(records.device))

    def update(self, params: Sequence[Tensor], ms: Sequence[Tensor], vs: Sequence[Tensor], rates: Sequence[float],
               camera: Tensor, degree: int, antialiased: bool, records: Tensor, g_records: Tensor,
               extra_log_scale: Tensor, extra_logit: Tensor, beta1: float, beta2: float, eps: float,
               step: int) -> Tensor:
        """Backward of the projection and Adam in place; returns [1] int32, the rows refused, without waiting."""
        refused = torch.zeros(1, dtype=torch.int32, device=records.device)
        self.module.splat_project_backward_adam(
            list(params), list(ms), list(vs), list(rates), camera, degree, antialiased, records, g_records,
            extra_log_scale, extra_logit, beta1, beta2, eps, step, refused, cuda.stream(records.device))
        return refused
