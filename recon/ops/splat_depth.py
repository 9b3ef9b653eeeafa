"""Robust depth of splats: where along each ray a surface is, and how sure that is. Kernels: cuda/splat/depth.*

Two things make it better for geometry than the mean of the Gaussians' depths. It looks only at the middle of what a ray
meets (the median of Huang et al., arXiv 2403.17888, softened to a share of the ray), so that haze in front of a surface
and what shines through it do not count. And the depth of a Gaussian varies over its footprint: it is where a ray meets
its largest density (Zhang et al., "RaDe-GS", arXiv 2406.01467), which makes flat Gaussians planes rather than steps.
"""

from __future__ import annotations

import torch
from torch import Tensor

from recon.ops import cuda
from recon.ops.native import native
from recon.ops.splat import RADIUS, RECORD
from recon.ops.splat_cuda import Lists, SplatKernels
from recon.ops.substitutes import Substitutes
from recon.types import Camera
from recon.types.placement import sent

MIDDLE = (0.25, 0.75)  # of the transmittance


def depth_slopes(means: Tensor, log_scales: Tensor, quaternions: Tensor, camera: Camera) -> Tensor:
    """[n, 3]: dz/dx and dz/dy per pixel of each Gaussian's plane of largest density along rays, and its extent in z.

    means [n, 3] world, log_scales [n, 3], quaternions [n, 4] w x y z. To first order around the ray through the centre:
    with M the inverse covariance in camera axes and d = centre / z, dz/dd = -z M d / (d M d).
    """
    pose = sent(camera.camera_from_world, means.device)
    w, x, y, z = torch.nn.functional.normalize(quaternions.double(), dim=1).unbind(1)
    axes = torch.stack([
        torch.stack([1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)], dim=1),
        torch.stack([2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)], dim=1),
        torch.stack([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)], dim=1),
    ], dim=1)  # columns are the axes
    turned = pose[:3, :3] @ axes
    centre = means.double() @ pose[:3, :3].T + pose[:3, 3]
    depth = centre[:, 2].clamp_min(1e-9)
    scale = log_scales.double().exp()
    scale = torch.maximum(scale, 1e-4 * scale.amax(dim=1, keepdim=True)).clamp_min(1e-12)
    ray = centre / depth[:, None]
    along = torch.einsum("nij,ni->nj", turned, ray) / scale  # the ray in units of the Gaussian
    m_ray = torch.einsum("nij,nj->ni", turned, along / scale)
    slope = -depth[:, None] * m_ray[:, :2] / along.square().sum(1, keepdim=True).clamp_min(1e-30)
    extent = 3 * (turned[:, 2] * scale).norm(dim=1, keepdim=True)
    return torch.cat([slope / sent(camera.intrinsics[:2], means.device), extent], dim=1).float().contiguous()


def splat_depth(records: Tensor, slopes: Tensor, width: int, height: int,
                middle: tuple[float, float] = MIDDLE) -> tuple[Tensor, Tensor]:
    """Depth and its standard deviation, [height, width] each, scene units; 0 where a ray does not meet enough.

    records [n, 12] of ``recon.ops.splat.project``; slopes [n, 3] of ``depth_slopes``; only what takes the transmittance
    from middle[1] down to middle[0] counts. Not differentiable. Raises ValueError or TypeError naming the argument.
    """
    for name, tensor, columns in (("records", records, RECORD), ("slopes", slopes, 3)):
        if tensor.dtype not in (torch.float32, torch.float64) or tensor.dtype != records.dtype:
            raise TypeError(f"{name} must be float32, got {tensor.dtype}")
        if tensor.ndim != 2 or tuple(tensor.shape) != (len(records), columns) or not tensor.is_contiguous():
            raise ValueError(f"{name} must be contiguous [{len(records)}, {columns}], got {list(tensor.shape)}")
    if width < 1 or height < 1 or not 0 <= middle[0] < middle[1] <= 1:
        raise ValueError(f"picture {width}x{height} or middle {middle} is out of range")
    depth, spread = records.new_empty(height, width), records.new_empty(height, width)
    module = None if records.dtype == torch.float64 else cuda.kernels_for(records)
    if isinstance(module, Substitutes):  # they know nothing of this
        found_depth, found_spread = splat_depth(records.cpu(), slopes.cpu(), width, height, middle)
        return found_depth.to(records.device), found_spread.to(records.device)
    if module is not None:
        kernels, found = SplatKernels(module), Lists()
        kernels.make_lists(found, records.detach(), width, height)
        module.splat_composite_depth(records.detach(), slopes.detach(), width, height, *found.arrays(), middle[0],
                                     middle[1], depth, spread, cuda.stream(records.device))
        return depth, spread
    suffix = "" if records.dtype == torch.float32 else "_f64"
    lists = getattr(native, f"SplatLists{suffix}")()
    getattr(native, f"splat_composite_depth{suffix}")(lists, records.detach(), slopes.detach(), width, height,
                                                      middle[0], middle[1], depth, spread)
    return depth, spread


def reference(records: Tensor, slopes: Tensor, width: int, height: int,
              middle: tuple[float, float] = MIDDLE) -> tuple[Tensor, Tensor]:
    """The same in plain torch, Gaussian by Gaussian over the whole picture."""
    low, high = middle
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    left = records.new_ones(height, width)
    total, first, second = (records.new_zeros(height, width) for _ in range(3))
    drawn = [i for i in records[:, 9].argsort(stable=True).tolist() if records[i, RADIUS] > 0]
    for i in drawn:
        mx, my, a, b, c, opacity = records[i, :6]
        dx, dy = x - mx, y - my
        alpha = opacity * torch.exp(-0.5 * (a * dx * dx + 2 * b * dx * dy + c * dy * dy))
        alpha = torch.where((alpha >= 1 / 255) & (left >= 1e-4), alpha.clamp_max(0.99), torch.zeros(()))
        after = left * (1 - alpha)
        weight = (left.clamp_max(high) - after.clamp_min(low)).clamp_min(0)
        most = slopes[i, 2]
        step = torch.minimum(torch.maximum(slopes[i, 0] * dx + slopes[i, 1] * dy, -most), most)
        z = records[i, 9] / (1 - step / records[i, 9]).clamp_min(0.5)
        total, first, second = total + weight, first + weight * z, second + weight * z * z
        left = after
    seen = total > 1e-6
    share = total.clamp_min(1e-6)
    depth = torch.where(seen, first / share, 0)
    return depth, torch.where(seen, (second / share - depth.square()).clamp_min(0).sqrt(), 0)
