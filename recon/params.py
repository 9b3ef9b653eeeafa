"""Params: ordered name -> tensor, and the only place where rows are added, removed or reordered.

Rows are primitives (one Gaussian, one tensor, one vertex). A structural change is described once, as a ``RowChange``;
parameters, optimizer moments and statistics all follow it, so they cannot fall out of step.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class RowChange:
    """New row i comes from old row ``source[i]``; where ``fresh[i]`` is true its moments and statistics start at zero.

    source  [new_rows] int64     fresh  [new_rows] bool
    """

    source: Tensor
    fresh: Tensor

    @staticmethod
    def select(rows: Tensor) -> RowChange:
        """Keeps the rows of an index or boolean tensor, moments included."""
        source = rows.nonzero().squeeze(1) if rows.dtype == torch.bool else rows
        return RowChange(source, torch.zeros(len(source), dtype=torch.bool, device=source.device))

    def follow(self, state: Tensor) -> Tensor:
        """Carries per-row state [old_rows, ...] over to the new rows; fresh rows start at zero."""
        out = state[self.source]
        out[self.fresh] = 0
        return out


class Params:
    """Named float32 leaf tensors that share their first dimension, the rows."""

    def __init__(self, tensors: dict[str, Tensor] | None = None) -> None:
        self._tensors: dict[str, Tensor] = {}
        for name, tensor in (tensors or {}).items():
            self[name] = tensor

    def __getitem__(self, name: str) -> Tensor:
        return self._tensors[name]

    def __setitem__(self, name: str, tensor: Tensor) -> None:
        self._tensors[name] = tensor.detach().contiguous().requires_grad_(True)

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def items(self) -> Iterator[tuple[str, Tensor]]:
        return iter(self._tensors.items())

    @property
    def rows(self) -> int:
        return len(next(iter(self._tensors.values()))) if self._tensors else 0

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        return next(iter(self._tensors.values())).device if self._tensors else torch.device("cpu")

    def to(self, device: torch.device) -> None:
        """Moves every tensor."""
        for name, tensor in list(self._tensors.items()):
            self[name] = tensor.detach().to(device)

    @property
    def nbytes(self) -> int:
        return sum(t.numel() * t.element_size() for t in self._tensors.values())

    def apply(self, change: RowChange) -> None:
        """Rebuilds every tensor from the rows of a change; values of fresh rows are copies of their source row."""
        for name, tensor in list(self._tensors.items()):
            self[name] = tensor.detach()[change.source]

    def clear_gradients(self) -> None:
        for tensor in self._tensors.values():
            tensor.grad = None

    def state(self) -> dict[str, Tensor]:
        return {name: tensor.detach().cpu() for name, tensor in self._tensors.items()}

    def load_state(self, state: dict[str, Tensor]) -> None:
        self._tensors = {}
        for name, tensor in state.items():
            self[name] = tensor
