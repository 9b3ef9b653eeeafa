"""Quantised coordinates: points are looked up at the centre of their cell of a very fine lattice.

Source: "Coordinate Quantized Neural Implicit Representations for Multi-view Reconstruction" (CQ-NIR), ICCV 2023, arXiv
2308.11025. Fewer distinct inputs, and more points that views share exactly. Values and gradients are those at the
centre; nothing is differentiated through the rounding.
"""

from __future__ import annotations

from torch import Tensor

MOST_CELLS = 1 << 22  # along an axis: more are finer than the numbers themselves


def quantised(u: Tensor, cells: int) -> Tensor:
    """u [n, 3] in 0..1 -> centres of their cells, ``cells`` along an axis; 0 = unchanged.

    The cell's number is found in double precision: float32 cannot tell some borders apart.
    """
    if cells <= 0:
        return u
    index = (u.double() * cells).floor_().clamp_(0, cells - 1)
    return ((index + 0.5) / cells).to(u.dtype).contiguous()


def check_cells(cells: int) -> int:
    """Raises ValueError for a lattice that numbers cannot tell apart."""
    if not 0 <= cells <= MOST_CELLS:
        raise ValueError(f"quantise must be 0 (off) to {MOST_CELLS:,} cells, got {cells}")
    return cells
