"""Shared moves on Gaussian rows: splitting, and the two-copy rule that keeps the picture."""

from __future__ import annotations

import torch
from torch import Tensor

from recon.params import Params


def sample_offsets(params: Params, rows: Tensor, generator: torch.Generator) -> Tensor:
    """[len(rows), 3] offsets drawn from the Gaussians themselves, in the world."""
    scale = params["log_scales"].detach()[rows].exp()
    local = torch.randn(len(rows), 3, generator=generator).to(scale.device) * scale
    return rotate(params["quaternions"].detach()[rows], local)


def normals(shape: tuple[int, ...], seed: int, device: torch.device) -> Tensor:
    """Normal numbers drawn on a device, which has an order of its own; nothing waits for it."""
    return torch.randn(shape, generator=torch.Generator(device).manual_seed(seed), device=device)


def rotate(quaternions: Tensor, v: Tensor) -> Tensor:
    """Turns vectors [n, 3] by quaternions [n, 4] (w x y z, any length)."""
    q = torch.nn.functional.normalize(quaternions, dim=1)
    w, u = q[:, :1], q[:, 1:]
    t = 2 * torch.linalg.cross(u, v)
    return v + w * t + torch.linalg.cross(u, t)


def morton_order(means: Tensor) -> Tensor:
    """[n] permutation that puts neighbours in space next to each other in memory (21-bit Morton codes per axis)."""
    low, high = means.amin(0), means.amax(0)
    cell = (means - low) / (high - low).clamp_min(1e-12) * (2**21 - 1)
    cell = cell.double().nan_to_num(0).long().clamp(0, 2**21 - 1)
    code = torch.zeros(len(means), dtype=torch.int64, device=means.device)
    for axis in range(3):
        code |= _spread(cell[:, axis]) << axis
    return torch.sort(code, stable=True).indices


def _spread(x: Tensor) -> Tensor:
    """Puts two zero bits between the lowest 21 bits of each number."""
    for shift, mask in ((32, 0x1F00000000FFFF), (16, 0x1F0000FF0000FF), (8, 0x100F00F00F00F00F),
                        (4, 0x10C30C30C30C30C3), (2, 0x1249249249249249)):
        x = (x | (x << shift)) & mask
    return x
