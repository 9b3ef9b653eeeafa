"""The poses of some views as the last part of a second-order problem's unknowns: bundle adjustment with the scene.

x holds a twist per view, first all turns [views, 3], then all moves [views, 3], from where the poses were when the
problem was last linearised. A pose is seen by its own view only, so its block of J^T W J is one 6 x 6 matrix. On a GPU
cameras are there while they move, so that nobody waits to know where they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from recon.fit.poses import Poses, twist
from recon.types import Camera
from recon.types.placement import sent


class PoseBlock:
    """Implements ViewBlock for the poses of ``views`` (positions in ``poses``)."""

    def __init__(self, poses: Poses, views: Sequence[int], device: torch.device) -> None:
        self.poses, self.views, self.device = poses, list(views), device
        self.position = {view: i for i, view in enumerate(self.views)}
        self.rebase()

    @property
    def groups(self) -> tuple[int, int]:
        """Lengths of the parts of x: turns, moves."""
        return 3 * len(self.views), 3 * len(self.views)

    def rebase(self) -> None:
        """Twists count from the present poses now; gradient and curvature are empty."""
        self.base = self.now = sent(self.poses.current[self.views], self.device)  # [views, 4, 4]
        n, on = len(self.views), self.device
        self.twists, self.gradients = torch.zeros(n, 6, device=on), torch.zeros(n, 6, device=on)
        self.curvature = torch.zeros(n, 6, 6, device=on)
        self._kept: dict[int, Tensor] = {}
        self._last: tuple[int, Tensor] | None = None

    def camera(self, view: int, camera: Camera) -> Camera:
        """``camera`` of a view at its present pose."""
        return replace(camera, world_from_camera=self.now[self.position[view]])

    def add(self, view: int, picture: Any, gradient: Tensor, weights: Tensor) -> None:
        """``gradient`` and ``weights`` [3, h, w] of the loss by the picture."""
        i, columns = self.position[view], self._columns(view, picture)
        self.gradients[i] += columns @ gradient.flatten()
        self.curvature[i] += (columns * weights.flatten()) @ columns.T

    def keep(self, view: int, picture: Any, free: int) -> int:
        """Keeps the derivatives of a picture for the products, if they fit into ``free`` bytes: how many that took."""
        columns = self._columns(view, picture)
        size = columns.numel() * columns.element_size()
        if size > free:
            return 0
        self._kept[view] = columns
        return size

    def _columns(self, view: int, picture: Any) -> Tensor:
        """[6, m]: the last ones are remembered, since they are asked for one after the other."""
        if view in self._kept:
            return self._kept[view]
        if self._last is None or self._last[0] != view:
            self._last = (view, picture.camera_columns().flatten(1))
        return self._last[1]

    def jvp(self, view: int, picture: Any, v: Tensor) -> Tensor:
        """How the picture [3, h, w] of a view changes along v, a part of x."""
        return (rows(v)[self.position[view]] @ self._columns(view, picture)).view(picture.picture.shape)

    def vjp_(self, view: int, picture: Any, u: Tensor, out: Tensor) -> None:
        """Sets the numbers of a view in ``out``, a part of x, to its J^T u."""
        out.view(2, -1, 3)[:, self.position[view]] = (self._columns(view, picture) @ u.flatten()).view(2, 3)

    def read(self) -> Tensor:
        return flat(self.twists)

    def write(self, x: Tensor) -> None:
        """Sets the poses; twists of zero give back those of the base, to the bit."""
        self.twists = rows(x)
        still = (self.twists == 0).all(1)[:, None, None]
        self.now = torch.where(still, self.base, self.base @ twist(self.twists.double()))
        self.poses.place(self.views, self.now)

    def product(self, v: Tensor) -> Tensor:
        """The blocks of the curvature times v."""
        return flat((self.curvature @ rows(v)[:, :, None])[:, :, 0])

    def solve(self, added: Tensor, r: Tensor) -> Tensor:
        """(blocks + ``added``)^-1 r, all as parts of x."""
        systems = self.curvature.double() + torch.diag_embed(rows(added).double().clamp_min(1e-12))
        return flat(torch.linalg.solve_ex(systems, rows(r).double())[0].float())  # looks at no error, nor waits

    def gradient(self) -> Tensor:
        return flat(self.gradients)

    def diagonal(self) -> Tensor:
        return flat(self.curvature.diagonal(dim1=1, dim2=2))


def flat(twists: Tensor) -> Tensor:
    """[views, 6] -> part of x."""
    return torch.cat([twists[:, :3].reshape(-1), twists[:, 3:].reshape(-1)])


def rows(x: Tensor) -> Tensor:
    """Part of x -> [views, 6]."""
    turns, moves = x.view(2, -1, 3)
    return torch.cat([turns, moves], dim=1)
