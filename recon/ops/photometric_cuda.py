"""The photometric loss on CUDA: the kernels of cuda/ssim/ssim.cu. Nothing here waits for the device."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from recon.ops import cuda


def photometric(module: Any, image: Tensor, target: Tensor, mask: Tensor | None, ssim_weight: float,
                gradient: Tensor | None) -> Tensor:
    """[3] float64 on the device: (1 - w) l1 + w (1 - ssim), l1, ssim; the gradient by the image goes to ``gradient``.

    image [channels, height, width] float32; target of its shape, uint8 or float32; mask [height, width] uint8.
    """
    channels, height, width = image.shape
    if mask is None:
        terms = torch.full((1,), float(image.numel()), dtype=torch.float64, device=image.device)
    else:
        terms = (mask != 0).sum(dtype=torch.float64).reshape(1) * channels
    partial = cuda.scratch(image, 2 * module.ssim_blocks(channels, height, width), torch.float64)
    adjoints = cuda.scratch(image, 0 if gradient is None else 3 * image.numel(), torch.float32)
    loss = cuda.scratch(image, 3, torch.float64)
    module.photometric(image, target, cuda.none(image.device, torch.uint8) if mask is None else mask, terms,
                       ssim_weight, partial, adjoints, cuda.none(image.device) if gradient is None else gradient, loss,
                       cuda.stream(image.device))
    return loss
