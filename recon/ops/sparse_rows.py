"""Rows of a gradient that are not zero. CPU kernel: cuda/grid.

Samples behind what is opaque get no gradient; backward passes that are told so need not visit them. On a GPU the
scatter of lookups passes over them by itself (cuda/core/scatter.cuh).
"""

from __future__ import annotations

import torch
from torch import Tensor

from recon.ops.native import native
from recon.ops.rows import repeats, rows_where

_WORTH = 0.85  # fewer rows than this share are taken out
_PROBE = 512  # rows that are looked at first


def nonzero_rows(g: Tensor) -> Tensor | None:
    """Numbers of the rows of g [n, width] that are not all zero; None where leaving out the others is not worth it."""
    if g.device.type == "cuda":
        return None  # to look would be to wait for the device
    if int((g[:: max(len(g) // _PROBE, 1)] != 0).any(1).sum()) > _WORTH * min(len(g), _PROBE):
        return None
    if repeats(g):
        g = g[:, :1]
    mask = torch.empty(len(g), dtype=torch.uint8)
    native.grid_nonzero_rows(g.contiguous(), mask)
    rows = rows_where(mask)
    return rows if len(rows) < _WORTH * len(g) else None
