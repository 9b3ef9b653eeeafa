"""A linearised picture seen through a photo's affine map of colours, see ``recon.fit.exposure``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from recon.protocols import Linear


def corrected(rgb: Tensor, colours: Tensor) -> Tensor:
    """rgb [3, height, width] through the map ``colours`` [3, 4]: A rgb + b."""
    return turned(rgb, colours[:, :3]) + colours[:, 3, None, None]


def turned(planes: Tensor, matrix: Tensor) -> Tensor:
    """``matrix`` [3, 3] times every pixel of ``planes`` [3, height, width]."""
    return (matrix @ planes.reshape(3, -1)).view(planes.shape)


class CorrectedPicture:
    """Implements Linear: A rgb + b, with the Jacobian A J; ``source`` is the picture before the map.

    colours [3, 4] = [A b] of the picture's number type; a change of it afterwards is not seen.
    """

    def __init__(self, source: Linear, colours: Tensor) -> None:
        self.source, self.colours = source, colours.detach().clone()
        self.matrix = self.colours[:, :3].contiguous()
        on_gpu = self.matrix.device.type == "cuda"  # where nobody looks, which would be waiting
        self._mixes = on_gpu or not torch.equal(self.matrix, torch.diag(self.matrix.diagonal()))
        self.picture = corrected(source.picture, self.colours)

    @property
    def nbytes(self) -> int:
        return self.source.nbytes + self.picture.numel() * self.picture.element_size()

    @property
    def visible(self) -> Tensor:
        return self.source.visible

    def jvp(self, v: Sequence[Tensor]) -> Tensor:
        return turned(self.source.jvp(v), self.matrix)

    def vjp_(self, u: Tensor, out: Sequence[Tensor]) -> None:
        self.source.vjp_(turned(u, self.matrix.T), out)

    def normal_(self, v: Sequence[Tensor], weights: Tensor, out: Sequence[Tensor]) -> None:
        if self._mixes:
            self.vjp_(weights * self.jvp(v), out)
        else:
            self.source.normal_(v, weights * self.matrix.diagonal().square()[:, None, None], out)

    def diagonal_(self, weights: Tensor, out: Sequence[Tensor], blocks: Tensor | None = None) -> None:
        """Exact where the map does not mix channels, else a bound from above: for a row a of A and the change x of a
        pixel, (a . x)^2 <= sum |a_k| sum |a_k| x_k^2 (Cauchy-Schwarz)."""
        size = self.matrix.abs()
        bound = turned(weights, (size.sum(1, keepdim=True) * size).T)
        self.source.diagonal_(bound, out, *(() if blocks is None else (blocks,)))

    def blocks(self) -> Any:
        return self.source.blocks()

    def camera_columns(self) -> Tensor:
        return torch.stack([turned(column, self.matrix) for column in self.source.camera_columns()])
