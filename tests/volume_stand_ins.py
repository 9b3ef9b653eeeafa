"""nerfacc and tiny-cuda-nn as far as they go on the CPU: the one ray by ray, the other by its documented rule."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor


def nerfacc_on_cpu() -> Any:
    nerfacc = pytest.importorskip("nerfacc", reason="nerfacc is not installed (pip install nerfacc)")

    def by_ray(function: Any, packed: Tensor, *packs: Tensor) -> list[Tensor]:
        found = [function(*(p[None, a:a + n] for p in packs)) for a, n in packed.tolist() if n]
        found = [f if isinstance(f, tuple) else (f,) for f in found] or [(packs[0][:0][None],) * 3]
        return [torch.cat([f[i][0] for f in found]) for i in range(len(found[0]))]

    return SimpleNamespace(
        render_weight_from_density=lambda a, b, s, packed_info: by_ray(nerfacc.render_weight_from_density, packed_info,
                                                                       a, b, s),
        exclusive_sum=lambda x, packed_info: by_ray(nerfacc.exclusive_sum, packed_info, x)[0],
        accumulate_along_rays=nerfacc.accumulate_along_rays)


class OneLevel(torch.nn.Module):
    """One level of tiny-cuda-nn's grid encoding: a point x lies at x scale + 1/2, the first coordinate varies fastest
    where the level fits, else nodes are hashed."""

    def __init__(self, dims: int, config: dict[str, Any], dtype: torch.dtype) -> None:
        super().__init__()
        assert (dims, config["otype"], config["type"], config["n_levels"]) == (3, "Grid", "Hash", 1)
        self.n, self.features = config["base_resolution"], config["n_features_per_level"]
        most = 1 << config["log2_hashmap_size"]
        self.entries = min(-(-(self.n**3) // 8) * 8, most)
        self.params = torch.nn.Parameter(torch.zeros(self.entries * self.features, dtype=dtype))

    def forward(self, x: Tensor) -> Tensor:
        p = x * (self.n - 1) + 0.5
        node = p.floor()
        table, out = self.params.view(self.entries, self.features), 0.0
        for corner in range(8):
            last = torch.tensor([corner >> i & 1 for i in range(3)], device=x.device)
            w = torch.where(last > 0, p - node, 1 - (p - node)).prod(1, keepdim=True)
            a, b, c = ((node.long() + last) % 2**32).unbind(1)
            index = a + self.n * (b + self.n * c) if self.n**3 <= self.entries else (
                a ^ (b * 2654435761 % 2**32) ^ (c * 805459861 % 2**32))
            out = out + w * table[index % self.entries]
        return out


TINY = SimpleNamespace(Encoding=OneLevel)
