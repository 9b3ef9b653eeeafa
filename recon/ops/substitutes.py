"""What takes the place of the module of CUDA kernels where Recon was installed without nvcc.

gsplat draws Gaussians (``gsplat_backend``), nerfacc and tiny-cuda-nn march volumes (``volume_kernels``), each where it
is installed; the loss and Adam are plain torch. Not run on a GPU.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from recon.ops.adam_torch import LARGEST, adam_rows
from recon.ops.gsplat_backend import GsplatKernels


class Substitutes:
    """Arguments are the packages, or None for those that are not to be used."""

    device = "cuda"

    def __init__(self, gsplat: Any = None, nerfacc: Any = None, tinycudann: Any = None) -> None:
        self._gsplat, self._volumes = gsplat, None
        if nerfacc is not None:
            from recon.ops.volume_kernels import VolumeKernels

            self._volumes = VolumeKernels(nerfacc, tinycudann)

    @property
    def splat(self) -> GsplatKernels:
        """Of Gaussians. Raises CudaMissing without gsplat."""
        from recon.ops.cuda import CudaMissing

        if self._gsplat is None:
            raise CudaMissing("splatting on a GPU needs Recon's own kernels or gsplat with its: recon doctor says more")
        return GsplatKernels(self._gsplat)

    def adam(self, param: Tensor, grad: Tensor, m: Tensor, v: Tensor, rate: float, row_rates: Tensor, step: int,
             beta1: float, beta2: float, eps: float, active: Tensor, chosen: Tensor, skipped: Tensor,
             _stream: int) -> None:
        """As in cuda/adam/bind.cu."""
        sound = (grad.abs() < LARGEST).reshape(len(param), -1).all(1)
        wanted = active != 0 if active.numel() else torch.ones_like(sound)
        chosen.copy_(wanted & sound)
        skipped += (wanted & ~sound).sum(dtype=torch.int32)
        rates = row_rates.reshape(-1, *[1] * (param.ndim - 1)) if row_rates.numel() else rate
        adam_rows(param, grad, m, v, rates, step, beta1, beta2, eps, wanted & sound)

    def adam_touched(self, param: Tensor, grad: Tensor, m: Tensor, v: Tensor, rate: float, step: int, beta1: float,
                     beta2: float, eps: float, _stream: int) -> None:
        """As in cuda/adam/bind.cu."""
        adam_rows(param, grad, m, v, rate, step, beta1, beta2, eps, (grad != 0) & (grad.abs() <= LARGEST))
        grad.zero_()

    def ssim_blocks(self, _channels: int, _height: int, _width: int) -> int:
        """No scratch memory is needed."""
        return 0

    def photometric(self, image: Tensor, target: Tensor, mask: Tensor, _terms: Tensor, ssim_weight: float,
                    _partial: Tensor, _adjoints: Tensor, gradient: Tensor, loss: Tensor, _stream: int) -> None:
        """As in cuda/ssim/bind.cu."""
        from recon.ops.photometric import reference

        counted = mask if mask.numel() else None
        with torch.enable_grad():
            leaf = image.detach().requires_grad_()
            l1, unlike = (reference(leaf, target, ssim_weight=w, mask=counted) for w in (0.0, 1.0))
            total = (1 - ssim_weight) * l1 + ssim_weight * unlike
        loss.copy_(torch.stack([total, l1, 1 - unlike]).detach())
        if gradient.numel():
            gradient.copy_(torch.autograd.grad(total, leaf)[0])

    def __getattr__(self, name: str) -> Any:
        from recon.ops.cuda import CudaMissing

        if name.startswith("_"):
            raise AttributeError(name)
        if self._volumes is not None and hasattr(self._volumes, name):
            return getattr(self._volumes, name)
        raise CudaMissing(f"{name}: only Recon's own kernels have it, which are not used here: recon doctor says why"
                          + ("" if self._volumes is not None else "; or install nerfacc for volumes"))
