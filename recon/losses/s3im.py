"""Stochastic structural similarity: SSIM of the pixels of a batch in random order.

Source: Xie et al., "S3IM: Stochastic Structural SIMilarity and Its Unreasonable Effectiveness for Neural Fields", ICCV
2023, arXiv 2308.07032. The batch is laid out as drawn and in further random orders, one after another, in rows; SSIM
has a 4 x 4 window of stride 4, Gaussian weights (sigma 1.5, centred at index 2) and one pixel of zero padding. There it
begins after the coarse stage of a field that has one; here after a share of the fit, when grids have their full size.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from recon.types import Observation, Render
from recon.types.placement import sent


@dataclass(frozen=True)
class S3im:
    """1 - SSIM of the shuffled batch; for systems that compare random pixels."""

    weight: float = 1.0
    # how often the batch is laid out, the first time as drawn
    repeats: int = 10
    # side of the window, and its stride
    kernel: int = 4
    # share of the fit from which on it counts: in the fog before it does harm
    begin: float = 0.25

    @property
    def channels(self) -> Collection[str]:
        return ("rgb",)

    def value(self, render: Render, seen: Observation) -> Tensor:
        target = seen.target.float() / 255.0 if seen.target.dtype == torch.uint8 else seen.target
        height, width = target.shape[1:]
        seed = seen.index if seen.rays is None else seen.rays.seed
        generator = torch.Generator().manual_seed(seed)
        n = height * width
        orders = [torch.arange(n), *(torch.randperm(n, generator=generator) for _ in range(self.repeats - 1))]
        order = sent(torch.cat(orders), render.rgb.device)
        shape = (3, height, width * self.repeats)
        x = render.rgb.reshape(n, 3).T[:, order].reshape(shape)
        y = target.reshape(3, n)[:, order].reshape(shape)
        return 1.0 - ssim_of_windows(x, y, self.kernel).mean()


def ssim_of_windows(x: Tensor, y: Tensor, kernel: int) -> Tensor:
    """SSIM [3, rows, columns] of windows that do not overlap, of planes [3, height, width] in 0..1.

    By sums of one order on any device; a convolution on a GPU would have neither that nor single precision.
    """
    taps = [math.exp(-(i - kernel // 2) ** 2 / (2 * 1.5**2)) for i in range(kernel)]
    around = (kernel - 1) // 2
    planes = pad(torch.stack([x, y, x * x, y * y, x * y]), (around,) * 4)
    rows, columns = planes.shape[-2] // kernel, planes.shape[-1] // kernel
    cells = planes[..., : rows * kernel, : columns * kernel].reshape(5, -1, rows, kernel, columns, kernel)

    def mean(parts: tuple[Tensor, ...]) -> Tensor:
        total = parts[0] * (taps[0] / math.fsum(taps))
        for part, tap in zip(parts[1:], taps[1:], strict=True):
            total = total + part * (tap / math.fsum(taps))
        return total

    mx, my, xx, yy, xy = mean(mean(cells.unbind(3)).unbind(4)).unbind(0)
    variances = xx - mx * mx + yy - my * my
    covariance = xy - mx * my
    return (2 * mx * my + 1e-4) * (2 * covariance + 9e-4) / ((mx * mx + my * my + 1e-4) * (variances + 9e-4))
