"""The photometric loss of Gaussian splatting, (1 - w) L1 + w (1 - SSIM), and image metrics. CPU kernel: cuda/ssim.

Loss: Kerbl et al., "3D Gaussian Splatting for Real-Time Radiance Field Rendering", SIGGRAPH 2023, arXiv 2308.04079,
eq. (7) with w = 0.2. SSIM: Wang et al., "Image quality assessment: from error visibility to structural similarity",
IEEE TIP 2004; 11-tap Gaussian window of standard deviation 1.5, K1 = 0.01, K2 = 0.03, values in [0, 1], and, as in
the reference implementation of splatting, zero padding: every pixel has a value, also in pictures smaller than the
window. (scikit-image and others crop five pixels off each side instead; their numbers differ slightly.)

Ignored pixels (mask 0) are treated like the outside of the picture: black in both images and without a term of their
own, so that nothing about them, not even NaN, reaches the loss or the gradient of their neighbours.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from recon.ops import cuda
from recon.ops.checks import expect_tensor, place_of
from recon.ops.native import native
from recon.ops.photometric_cuda import photometric as photometric_cuda


def _check(image: Tensor, target: Tensor, mask: Tensor | None, check: bool = False) -> None:
    dtype = torch.float64 if check else torch.float32
    on = place_of(image)
    expect_tensor("image", image, dtype, ("channels", "height", "width"), on=on)
    if image.numel() == 0:
        raise ValueError(f"image must not be empty, got {list(image.shape)}")
    expect_tensor("target", target, (dtype,) if check else (torch.uint8, dtype), tuple(image.shape), on=on)
    if mask is not None:
        expect_tensor("mask", mask, torch.uint8, tuple(image.shape[1:]), on=on)


def _check_weight(ssim_weight: float) -> float:
    if not math.isfinite(ssim_weight) or not 0 <= ssim_weight <= 1:
        raise ValueError(f"ssim_weight must be in [0, 1], got {ssim_weight}")
    return float(ssim_weight)


class _Photometric(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, image: Tensor, target: Tensor, mask: Tensor | None, ssim_weight: float) -> Tensor:
        wanted = ctx.needs_input_grad[0]
        gradient = torch.empty_like(image) if wanted else None
        value: Tensor | float
        module = cuda.kernels_for(image) if image.dtype == torch.float32 else None
        if module is not None:
            value = photometric_cuda(module, image.detach(), target, mask, ssim_weight, gradient)[0]
        else:
            value = native.photometric(image.detach(), target, mask, gradient, None, ssim_weight)[0]
        if wanted:
            ctx.save_for_backward(gradient)
        return value.float() if isinstance(value, Tensor) else image.new_tensor(value)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g_loss: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        if gradient.device.type == "cuda":  # without a look at the number, which would wait for the device
            return gradient * g_loss, None, None, None
        scale = float(g_loss)
        return (gradient if scale == 1.0 else gradient * scale), None, None, None


def photometric(image: Tensor, target: Tensor, *, ssim_weight: float = 0.2, mask: Tensor | None = None,
                check: bool = False) -> Tensor:
    """Loss (1 - w) mean |image - target| + w (1 - mean SSIM) as a scalar; differentiable in ``image``.

    image [channels, height, width] float32 planar in [0, 1]; target the same shape, uint8 (value / 255) or float32;
    mask [height, width] uint8, 0 = ignored. Means are over counted pixels and channels; 0 where none is counted.
    Any size >= 1x1. ``check=True``: float64 throughout, for gradient checks. The same bits on any number of threads.
    Raises ValueError or TypeError naming the argument.
    """
    _check(image, target, mask, check)
    return _Photometric.apply(image, target.detach(), mask, _check_weight(ssim_weight))


def photometric_gradient(image: Tensor, target: Tensor, *, ssim_weight: float = 0.2, mask: Tensor | None = None,
                         out: Tensor | None = None) -> tuple[float | Tensor, Tensor]:
    """The same loss and its gradient by the image [channels, height, width] (in ``out`` if given), without autograd.

    Of images on a GPU the loss is a float64 scalar there, for which nobody has waited.
    """
    _check(image, target, mask)
    gradient = torch.empty_like(image) if out is None else out
    expect_tensor("out", gradient, torch.float32, tuple(image.shape), on=place_of(image))
    return _numbers(image, target, mask, ssim_weight, gradient)[0], gradient


def _numbers(image: Tensor, target: Tensor, mask: Tensor | None, ssim_weight: float,
             gradient: Tensor | None) -> Sequence[float | Tensor]:
    """Loss, L1 and SSIM: numbers, or scalars on a GPU."""
    weight, module = _check_weight(ssim_weight), cuda.kernels_for(image)
    if module is not None:
        return photometric_cuda(module, image.detach(), target.detach(), mask, weight, gradient).unbind()
    return native.photometric(image.detach(), target.detach(), mask, gradient, None, weight)[:3]


def squares_above(image: Tensor, target: Tensor, *, ssim_weight: float = 0.2, mask: Tensor | None = None,
                  knee: float = 0.02) -> Tensor:
    """Weights W [channels, height, width] of a sum of squares with about the curvature of the loss; 0 where ignored.

    |e| lies below e^2 / (2 |e0|) + |e0| / 2 and touches it at e0 (iteratively reweighted least squares), so the L1 part
    has W = 1 / max(|e0|, ``knee``). 1 - SSIM is close to the window's mean of (e - mean e)^2 over the variances of
    both pictures: the variances are held fixed and the mean of e is left out, which bounds it from above.
    Arguments as in the loss; not differentiable.
    """
    _check(image, target, mask)
    weight = _check_weight(ssim_weight)
    x, y = image.detach(), target.detach().float() / (255.0 if target.dtype == torch.uint8 else 1.0)
    counted = None if mask is None else mask != 0
    if counted is not None:
        x, y = (torch.where(counted, t, torch.zeros_like(t)) for t in (x, y))
    out = (1 - weight) / (x - y).abs().clamp_(min=knee)
    if weight > 0:
        variance = (_blur(torch.stack([x * x + y * y, x, y]).flatten(0, 1)).view(3, *x.shape))
        variance = variance[0] - variance[1] ** 2 - variance[2] ** 2
        inverse = 2 / (variance.clamp_(min=0) + 9e-4)
        if counted is not None:
            inverse = inverse * counted
        out = out + weight * _blur(inverse)
    if counted is not None and counted.device.type == "cuda":
        out /= (counted.sum() * len(x)).clamp_min(1)
    else:
        out /= max(x.numel() if counted is None else int(counted.sum()) * len(x), 1)
    return out if counted is None else out * counted


def _blur(planes: Tensor) -> Tensor:
    """The window of SSIM over [n, height, width], zero outside."""
    taps = [math.exp(-(i - 5) ** 2 / (2 * 1.5**2)) for i in range(11)]
    taps = [t / math.fsum(taps) for t in taps]
    height, width = planes.shape[1:]
    padded = torch.nn.functional.pad(planes, (5, 5, 5, 5))
    rows = taps[0] * padded[:, :, :width]
    for i in range(1, 11):  # shifted sums: much faster here than a convolution of single planes
        rows.add_(padded[:, :, i : i + width], alpha=taps[i])
    out = taps[0] * rows[:, :height]
    for i in range(1, 11):
        out.add_(rows[:, i : i + height], alpha=taps[i])
    return out


def ssim(image: Tensor, target: Tensor, *, mask: Tensor | None = None) -> float:
    """Mean SSIM over counted pixels and channels; window and zero padding as in the loss. Arguments as there."""
    _check(image, target, mask)
    return float(_numbers(image, target, mask, 1.0, None)[2])


def ssim_map(image: Tensor, target: Tensor, *, mask: Tensor | None = None) -> Tensor:
    """SSIM of every pixel [channels, height, width], 0 where ignored. Arguments as in the loss; not differentiable."""
    _check(image, target, mask)
    values = torch.empty_like(image)
    native.photometric(image.detach(), target.detach(), mask, None, values, 1.0)
    return values


def psnr(image: Tensor, target: Tensor, *, mask: Tensor | None = None) -> float:
    """Peak signal-to-noise ratio in dB for values in [0, 1], over counted pixels; inf for equal images.

    Arguments as in the loss. The squared error is averaged in double precision; NaN where no pixel is counted.
    """
    _check(image, target, mask)
    scale = 255.0 if target.dtype == torch.uint8 else 1.0
    # Rounded to float first, so that a picture that equals target / 255 in float32 has no error.
    difference = image.detach() - target.detach().to(torch.float32).div_(scale)
    if mask is not None:
        difference = difference[:, mask != 0]
    error = float(difference.double().square_().mean()) if difference.numel() else math.nan
    return math.inf if error == 0 else -10 * math.log10(error) if math.isfinite(error) else math.nan


def reference(image: Tensor, target: Tensor, *, ssim_weight: float = 0.2, mask: Tensor | None = None) -> Tensor:
    """``photometric`` in plain torch, any float type, differentiable as often as one likes."""
    if target.dtype == torch.uint8:
        target = target.to(image.dtype) / 255
    counted = torch.ones_like(image[0]) if mask is None else (mask != 0).to(image.dtype)
    count = counted.sum() * len(image)
    if count == 0:
        return (image * 0).sum()
    # Chosen rather than multiplied: NaN in an ignored pixel must not matter.
    image, target = (torch.where(counted > 0, t, torch.zeros_like(t)) for t in (image, target))
    l1 = ((image - target).abs() * counted).sum() / count
    similarity = (reference_ssim_map(image, target) * counted).sum() / count
    return (1 - ssim_weight) * l1 + ssim_weight * (1 - similarity)


def reference_ssim_map(x: Tensor, y: Tensor) -> Tensor:
    """SSIM of every pixel by five explicit 2D convolutions."""
    taps = torch.exp(-torch.arange(-5, 6, dtype=x.dtype, device=x.device) ** 2 / (2 * 1.5**2))
    taps = taps / taps.sum()
    window = (taps[:, None] * taps).expand(len(x), 1, 11, 11)

    def blur(a: Tensor) -> Tensor:
        return torch.nn.functional.conv2d(a[None], window, padding=5, groups=len(x))[0]

    mean_x, mean_y = blur(x), blur(y)
    variances = blur(x * x) - mean_x**2 + blur(y * y) - mean_y**2
    covariance = blur(x * y) - mean_x * mean_y
    return ((2 * mean_x * mean_y + 1e-4) * (2 * covariance + 9e-4)
            / ((mean_x**2 + mean_y**2 + 1e-4) * (variances + 9e-4)))


def examples(dtype: torch.dtype = torch.float32) -> Iterator[dict[str, Any]]:
    """Keyword arguments of ``photometric``: sizes around lanes, tiles and the window; masks; both kinds of target."""
    sizes = [(1, 1), (1, 17), (23, 1), (7, 8), (9, 7), (16, 16), (33, 49), (32, 64), (70, 130), (12, 1030)]
    generator = torch.Generator().manual_seed(0)
    for i, (height, width) in enumerate(sizes):
        image = torch.rand(3, height, width, generator=generator, dtype=dtype)
        target = (0.6 * image + 0.4 * torch.rand(3, height, width, generator=generator, dtype=dtype)).clamp(0, 1)
        mask = (torch.rand(height, width, generator=generator) > 0.3).to(torch.uint8)
        mask[0, 0] = 1
        if i % 2 and dtype == torch.float32:
            target = (target * 255).round().to(torch.uint8)
        yield {"image": image, "target": target}
        yield {"image": image, "target": target, "mask": mask, "ssim_weight": 0.7}
