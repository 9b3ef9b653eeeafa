"""Splatting on a GPU without our own kernels: gsplat's projection and rasterizer.

For GPU machines where Recon was installed without nvcc. Slower than our kernels, nothing is fused, and sums have no
fixed order. Not run on a GPU.

gsplat: Ye et al., "gsplat: an open-source library for Gaussian splatting", JMLR 2025, arXiv 2409.06765. Differences
that stay: a ray ends before the Gaussian that would bring its transmittance below 1e-4, and alpha is held below 0.999.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from recon.ops.adam_torch import LARGEST, adam_rows

TILE = 16


class GsplatLists:
    """What the backward pass needs of one picture."""

    def __init__(self) -> None:
        self.inputs: tuple[Tensor, ...] = ()
        self.outputs: tuple[Tensor, ...] = ()
        self.background = torch.empty(0)

    @property
    def bytes(self) -> int:
        """Memory that is known of; gsplat's own is not."""
        return sum(t.numel() * t.element_size() for t in (*self.inputs, *self.outputs))


@dataclass(frozen=True)
class GsplatKernels:
    """The functions of ``recon.ops.splat_cuda.SplatKernels``; ``gsplat`` is the package."""

    gsplat: Any

    def project(self, *arguments: Any) -> None:
        """means, log_scales, quaternions, logits, sh0, sh_rest, camera, degree, antialiased -> records."""
        *rows, camera, degree, antialiased, records = arguments
        with torch.no_grad():
            records.copy_(self._records(rows, camera, degree, antialiased))

    def project_backward(self, *arguments: Any) -> None:
        """The same, records, g_records -> six gradients."""
        rows, (camera, degree, antialiased, _, g_records), out = arguments[:6], arguments[6:11], arguments[11:]
        leaves = [r.detach().requires_grad_() for r in rows]
        with torch.enable_grad():
            again = self._records(leaves, camera, degree, antialiased)
        gradients = torch.autograd.grad(again, leaves, g_records, allow_unused=True)
        for to, gradient in zip(out, gradients, strict=True):
            to.zero_() if gradient is None else to.copy_(gradient)

    def composite(self, lists: GsplatLists, records: Tensor, width: int, height: int, background: Tensor,
                  picture: Tensor, transmittance: Tensor) -> None:
        """Fills ``lists``, picture [3 or 4, height, width] and transmittance [height, width]."""
        leaf = records.detach().requires_grad_()
        across, down, channels = -(-width // TILE), -(-height // TILE), len(picture)
        with torch.enable_grad():
            centres = leaf[:, :2].contiguous()[None]
            reach = leaf.detach()[:, 11:].ceil().to(torch.int32).expand(-1, 2)[None]
            _, keys, order = self.gsplat.isect_tiles(centres.detach(), reach, leaf.detach()[None, :, 9], TILE, across,
                                                     down)
            begin = self.gsplat.isect_offset_encode(keys, 1, across, down)
            out, alpha = self.gsplat.rasterize_to_pixels(centres, leaf[None, :, 2:5], leaf[None, :, 6:6 + channels],
                                                         leaf[None, :, 5], width, height, TILE, begin, order,
                                                         absgrad=True)
        lists.inputs, lists.outputs, lists.background = (leaf, centres), (out, alpha), background
        with torch.no_grad():
            transmittance.copy_(1 - alpha[0, ..., 0])
            picture.copy_(out[0].permute(2, 0, 1))
            picture[:3] += background[:, None, None] * transmittance

    def composite_backward(self, lists: GsplatLists, records: Tensor, picture: Tensor, transmittance: Tensor,
                           g_picture: Tensor, g_transmittance: Tensor, absolute: bool, g_records: Tensor) -> None:
        """Gradient of the records of the picture that ``lists`` were made for."""
        leaf, centres = lists.inputs
        g_alpha = -(g_picture[:3] * lists.background[:, None, None]).sum(0)
        if g_transmittance.numel():
            g_alpha = g_alpha - g_transmittance
        (gradient,) = torch.autograd.grad(lists.outputs, leaf, (g_picture.permute(1, 2, 0)[None].contiguous(),
                                                                g_alpha[None, ..., None].contiguous()))
        g_records.copy_(gradient)
        g_records[:, 10:] = vars(centres)["absgrad"][0] if absolute else 0.0

    def update(self, params: Sequence[Tensor], ms: Sequence[Tensor], vs: Sequence[Tensor], rates: Sequence[float],
               camera: Tensor, degree: int, antialiased: bool, records: Tensor, g_records: Tensor,
               extra_log_scale: Tensor, extra_logit: Tensor, beta1: float, beta2: float, eps: float,
               step: int) -> Tensor:
        """Backward of the projection, then Adam on the drawn rows; returns [1] int32, the rows refused."""
        gradients = [torch.empty_like(p) for p in params]
        self.project_backward(*params, camera, degree, antialiased, records, g_records, *gradients)
        if extra_log_scale.numel():
            gradients[1] += extra_log_scale
        if extra_logit.numel():
            gradients[3] += extra_logit
        drawn = records[:, 11] > 0
        size = sum((g.abs().flatten(1).sum(1) if g.ndim > 1 else g.abs() for g in gradients), torch.zeros_like(drawn))
        take = drawn & (size < LARGEST)
        used = 3 * ((degree + 1) ** 2 - 1)
        for i, (p, g, m, v, rate) in enumerate(zip(params, gradients, ms, vs, rates, strict=True)):
            if i < 5 or used:
                adam_rows(p, g, m, v, rate, step, beta1, beta2, eps, take)
        return (drawn & ~take).sum(dtype=torch.int32).reshape(1)

    def _records(self, rows: Sequence[Tensor], camera: Tensor, degree: int, antialiased: bool) -> Tensor:
        """Records [n, 12] as ``recon.ops.splat.project`` defines them, differentiable; ``camera`` as there."""
        means, log_scales, quaternions, logits, sh0, sh_rest = rows
        view = torch.eye(4, dtype=camera.dtype)
        view[:3, :3], view[:3, 3] = camera[:9].view(3, 3), camera[9:12]
        fx, fy, cx, cy, width, height, near, dilation = camera[15:23].tolist()
        matrix = torch.tensor([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]]).to(means)
        radii, centres, depths, conics, share = self.gsplat.fully_fused_projection(
            means, None, quaternions, log_scales.exp(), view.to(means)[None], matrix[None], int(width), int(height),
            eps2d=dilation, near_plane=near, calc_compensations=antialiased)
        opacity = torch.sigmoid(logits)
        if antialiased:
            opacity = opacity * share[0]
        away = means - camera[12:15].to(means)
        light = torch.cat([sh0[:, None], sh_rest], 1)
        colour = (self.gsplat.spherical_harmonics(degree, away, light) + 0.5).clamp_min(0)
        a, b, c = conics[0].unbind(1)
        with torch.no_grad():  # alpha falls to 1/255 on the ellipse d^T conic d = 2 ln(255 opacity)
            level = 2 * (255 * opacity).log()
            reach = (level.clamp_min(0) * torch.maximum(a, c) / (a * c - b * b).clamp_min(1e-30)).sqrt()
            drawn = (radii[0] > 0).all(-1) & (level > 0) if radii.ndim == 3 else (radii[0] > 0) & (level > 0)
            tail = torch.stack([opacity.log2(), reach], 1)
        all_rows = torch.cat([centres[0], conics[0], opacity[:, None], colour, depths[0][:, None], tail], 1)
        return torch.where(drawn[:, None], all_rows, torch.zeros_like(all_rows))
