"""The colour maps of some photos as part of a second-order problem's unknowns.

x holds what is added to each map [3, 4] = [A b] since the problem was last linearised: first all A [views, 9], then all
b [views, 3]. A photo is corrected by its own map only, channel by channel: its part of J^T W J is three 4 x 4 matrices.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from recon.fit.exposure import ExposureCorrection


class ExposureBlock:
    """Implements ViewBlock for the maps of ``views`` (positions in ``exposure``)."""

    def __init__(self, exposure: ExposureCorrection, views: Sequence[int]) -> None:
        self.exposure, self.views = exposure, list(views)
        self.position = {view: i for i, view in enumerate(self.views)}
        self.rebase()

    @property
    def groups(self) -> tuple[int, int]:
        """Lengths of the parts of x: matrices, offsets."""
        return 9 * len(self.views), 3 * len(self.views)

    def rebase(self) -> None:
        """Changes count from the present maps now; gradient and curvature are empty."""
        self.base = self.exposure.maps.detach()[self.views].clone()
        self.change, self.gradients = torch.zeros_like(self.base), torch.zeros_like(self.base)
        self.curvature = self.base.new_zeros(len(self.views), 3, 4, 4)

    def add(self, view: int, picture: Any, gradient: Tensor, weights: Tensor) -> None:
        """``picture``: a CorrectedPicture; ``gradient`` and ``weights`` [3, h, w] of the loss by what it shows."""
        seen, i = self._seen(picture), self.position[view]
        self.gradients[i] += gradient.reshape(3, -1) @ seen.T
        for c, w in enumerate(weights.reshape(3, -1)):
            self.curvature[i, c] += (seen * w) @ seen.T

    def keep(self, view: int, picture: Any, free: int) -> int:
        """Nothing is worth keeping."""
        return 0

    def jvp(self, view: int, picture: Any, v: Tensor) -> Tensor:
        """How the picture [3, h, w] of a view changes along v, a part of x."""
        return (self.rows(v)[self.position[view]] @ self._seen(picture)).view(picture.picture.shape)

    def vjp_(self, view: int, picture: Any, u: Tensor, out: Tensor) -> None:
        """Sets the numbers of a view in ``out``, a part of x, to its J^T u."""
        n, i = len(self.views), self.position[view]
        g = u.reshape(3, -1) @ self._seen(picture).T
        out[:9 * n].view(n, 3, 3)[i], out[9 * n:].view(n, 3)[i] = g[:, :3], g[:, 3]

    @staticmethod
    def _seen(picture: Any) -> Tensor:
        """[4, pixels]: what the map is applied to, and a row of ones."""
        rgb = picture.source.picture.reshape(3, -1)
        return torch.cat([rgb, torch.ones_like(rgb[:1])])

    def read(self) -> Tensor:
        return self.flat(self.change)

    def write(self, x: Tensor) -> None:
        """Sets the maps; changes of zero give back those of the base, to the bit."""
        self.change = self.rows(x).clone()
        maps = self.exposure.maps.detach()
        maps[self.views] = torch.where(self.change == 0, self.base, self.base + self.change)

    def product(self, v: Tensor) -> Tensor:
        """The blocks of the curvature times v."""
        return self.flat((self.curvature @ self.rows(v)[..., None])[..., 0])

    def solve(self, added: Tensor, r: Tensor) -> Tensor:
        """(blocks + ``added``)^-1 r, all as parts of x."""
        systems = self.curvature.double() + torch.diag_embed(self.rows(added).double().clamp_min(1e-12))
        solved = torch.linalg.solve_ex(systems, self.rows(r).double()[..., None])[0][..., 0]  # nor waits for errors
        return self.flat(solved.to(r.dtype))

    def gradient(self) -> Tensor:
        return self.flat(self.gradients)

    def diagonal(self) -> Tensor:
        return self.flat(self.curvature.diagonal(dim1=2, dim2=3))

    def rows(self, x: Tensor) -> Tensor:
        """Part of x -> [views, 3, 4]."""
        n = len(self.views)
        return torch.cat([x[:9 * n].view(n, 3, 3), x[9 * n:].view(n, 3, 1)], dim=2)

    @staticmethod
    def flat(maps: Tensor) -> Tensor:
        """[views, 3, 4] -> part of x."""
        return torch.cat([maps[:, :, :3].reshape(-1), maps[:, :, 3].reshape(-1)])
