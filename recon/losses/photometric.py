"""L1 + D-SSIM against the photo, the loss of 3D Gaussian splatting: (1 - w) L1 + w (1 - SSIM).

Source: Kerbl et al. 2023, arXiv 2308.04079, eq. 7; SSIM: Wang et al. 2004.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from torch import Tensor

from recon.ops.photometric import photometric, photometric_gradient, squares_above
from recon.types import Observation, Render


@dataclass(frozen=True)
class Photometric:
    # weight of this term in the objective
    weight: float = 1.0
    # share of the structural part (D-SSIM)
    ssim_weight: float = 0.2

    @property
    def channels(self) -> Collection[str]:
        return ("rgb",)

    def value(self, render: Render, seen: Observation) -> Tensor:
        planes = render.rgb.permute(2, 0, 1).contiguous()  # already planes in memory for our own renderers
        return photometric(planes, seen.target, ssim_weight=self.ssim_weight, mask=seen.mask)

    def curvature(self, rgb: Tensor, seen: Observation) -> tuple[float | Tensor, Tensor, Tensor]:
        """Loss, gradient and weights of squares; see ``recon.protocols.Curved``."""
        value, gradient = photometric_gradient(rgb, seen.target, ssim_weight=self.ssim_weight, mask=seen.mask)
        return value, gradient, squares_above(rgb, seen.target, ssim_weight=self.ssim_weight, mask=seen.mask)
