"""Shared moves on Gaussian rows: splitting, and the two-copy rule that keeps the picture."""

from __future__ import annotations

import torch
from torch import Tensor

from recon.params import Params


def sample_offsets(params: Params, rows: Tensor, generator: torch.Generator) -> Tensor:
    """[len(rows), 3] offsets drawn from the Gaussians themselves, in the world."""
    scale = params["log_scales"].detach()[rows].exp()
    local = torch.randn(len(rows), 3, generator=generator) * scale
    return rotate(params["quaternions"].detach()[rows], local)


def rotate(quaternions: Tensor, v: Tensor) -> Tensor:
    """Turns vectors [n, 3] by quaternions [n, 4] (w x y z, any length)."""
    q = torch.nn.functional.normalize(quaternions, dim=1)
    w, u = q[:, :1], q[:, 1:]
    t = 2 * torch.linalg.cross(u, v)
    return v + w * t + torch.linalg.cross(u, t)
