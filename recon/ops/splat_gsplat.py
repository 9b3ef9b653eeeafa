"""gsplat's rasterization of the same Gaussians, for comparisons by name where it is installed. GPU only.

gsplat: Ye et al., "gsplat: an open-source library for Gaussian splatting", JMLR 2025, arXiv 2409.06765.
"""

from __future__ import annotations

import importlib.util

import torch
from torch import Tensor

from recon.ops.splat import Projection
from recon.types import Camera


def available() -> bool:
    """Whether gsplat is installed and there is a GPU for it."""
    return importlib.util.find_spec("gsplat") is not None and torch.cuda.is_available()


def gsplat_picture(means: Tensor, log_scales: Tensor, quaternions: Tensor, logits: Tensor, sh0: Tensor,
                   sh_rest: Tensor, camera: Camera, settings: Projection) -> Tensor:
    """Picture [height, width, 3] over black; arguments as of ``recon.ops.splat.project``, on a GPU; differentiable."""
    from gsplat import rasterization

    fx, fy, cx, cy = camera.intrinsics.tolist()
    matrix = torch.tensor([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]], device=means.device)
    view = camera.camera_from_world.float().to(means.device)
    picture, _, _ = rasterization(
        means, quaternions, log_scales.exp(), torch.sigmoid(logits), torch.cat([sh0[:, None], sh_rest], 1), view[None],
        matrix[None], camera.width, camera.height, near_plane=settings.near, eps2d=settings.dilation,
        sh_degree=settings.degree, packed=False,
        rasterize_mode="antialiased" if settings.antialiased else "classic")
    return picture[0]
