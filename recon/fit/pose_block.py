"""The poses of some views as the last part of a second-order problem's unknowns: bundle adjustment with the scene.

x holds a twist per view, first all turns [views, 3], then all moves [views, 3], from where the poses were when the
problem was last linearised. A pose is seen by its own view only, so its block of J^T W J is one 6 x 6 matrix.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from recon.fit.poses import Poses, twist


class PoseBlock:
    """Unknowns, gradient and curvature of the poses of ``views`` (positions in ``poses``), beside the scene's."""

    def __init__(self, poses: Poses, views: Sequence[int], device: torch.device | None = None) -> None:
        self.poses, self.views, self.device = poses, list(views), device
        self.position = {view: i for i, view in enumerate(self.views)}
        self.rebase()

    @property
    def groups(self) -> tuple[int, int]:
        """Lengths of the parts of x: turns, moves."""
        return 3 * len(self.views), 3 * len(self.views)

    def rebase(self) -> None:
        """Twists count from the present poses now; gradient and curvature are empty."""
        self.base = self.poses.current.clone()
        n, on = len(self.views), self.device
        self.twists, self.gradient = torch.zeros(n, 6, device=on), torch.zeros(n, 6, device=on)
        self.curvature = torch.zeros(n, 6, 6, device=on)

    def add(self, view: int, columns: Tensor, gradient: Tensor, weights: Tensor) -> None:
        """``columns`` [6, m] derivative of the picture, ``gradient`` [m] of the loss by it, ``weights`` [m]."""
        i = self.position[view]
        self.gradient[i] += columns @ gradient
        self.curvature[i] += (columns * weights) @ columns.T

    def read(self) -> Tensor:
        return flat(self.twists)

    def write(self, x: Tensor) -> None:
        """Sets the poses, which live on the processor; twists of zero give back those of the base, to the bit."""
        self.twists = rows(x)
        for view, xi in zip(self.views, self.twists.cpu()):
            still = not bool(xi.any())
            self.poses.current[view] = self.base[view] if still else self.base[view] @ twist(xi.double())

    def product(self, v: Tensor, skip: Sequence[int]) -> Tensor:
        """[views, 6]: the blocks times v, but zero for the views in ``skip``."""
        out = (self.curvature @ rows(v)[:, :, None])[:, :, 0]
        for view in skip:
            out[self.position[view]] = 0
        return out

    def solve(self, added: Tensor, r: Tensor) -> Tensor:
        """(blocks + ``added``)^-1 r, all as parts of x."""
        systems = self.curvature.double() + torch.diag_embed(rows(added).double().clamp_min(1e-12))
        return flat(torch.linalg.solve(systems, rows(r).double()).float())

    def diagonal(self) -> Tensor:
        return flat(self.curvature.diagonal(dim1=1, dim2=2))


def flat(twists: Tensor) -> Tensor:
    """[views, 6] -> part of x."""
    return torch.cat([twists[:, :3].reshape(-1), twists[:, 3:].reshape(-1)])


def rows(x: Tensor) -> Tensor:
    """Part of x -> [views, 6]."""
    turns, moves = x.view(2, -1, 3)
    return torch.cat([turns, moves], dim=1)
