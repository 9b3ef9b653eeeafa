"""Hash grids looked up by tiny-cuda-nn, with the tables of ``recon.ops.grid.hash_grid``.

Mueller, "tiny-cuda-nn", 2021. It has the same hash function and keeps levels that fit densely, too. Differences that
are bridged: a point u lies at u (n - 1) + 1/2 in a level of n nodes there, and x varies fastest in dense levels. So
every level is an encoding of its own, which gets moved points, in reverse order where it is dense. Not run on a GPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

_WHOLE = 8  # numbers of entries are multiples of it


class HashLookup:
    """``tinycudann`` is the package. One encoding per level and size, made when it is first needed."""

    def __init__(self, tinycudann: Any) -> None:
        self._package = tinycudann
        self._encodings: dict[tuple[int, int, int], Any] = {}

    def __call__(self, table: Tensor, nodes: Sequence[int], u: Tensor) -> Tensor:
        """table [levels, slots, features] at u [n, 3] in 0..1 -> [n, levels * features]; differentiable in table."""
        _, slots, features = table.shape
        levels = []
        for level, n in enumerate(nodes):
            dense = n**3 <= slots
            entries = min(-(-(n**3) // _WHOLE) * _WHOLE, slots) if dense else slots
            at = u - 0.5 / (n - 1)
            encode = self._encoding(n, slots, features)
            given = {"params": table[level, :entries].reshape(-1)}
            levels.append(torch.func.functional_call(encode, given, (at.flip(1) if dense else at,)))
        return torch.cat(levels, dim=1).to(table.dtype)

    def _encoding(self, n: int, slots: int, features: int) -> Any:
        key = n, slots, features
        if key not in self._encodings:
            self._encodings[key] = self._package.Encoding(3, {
                "otype": "Grid", "type": "Hash", "n_levels": 1, "n_features_per_level": features,
                "log2_hashmap_size": slots.bit_length() - 1, "base_resolution": n, "per_level_scale": 1.0,
                "interpolation": "Linear"}, dtype=torch.float32)
        return self._encodings[key]
