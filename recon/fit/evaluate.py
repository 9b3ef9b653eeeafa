"""Quality on held-out views: PSNR, SSIM and, where it is installed, LPIPS of the rendered against the real photo."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from recon.fit.photos import Observations
from recon.fit.system import System
from recon.ops.perceptual import lpips
from recon.ops.photometric import ssim
from recon.types import Capture, View


@dataclass(frozen=True)
class ViewResult:
    """One compared view: ``photo`` and ``render`` are [height, width, 3] in 0..1."""

    name: str
    psnr: float
    ssim: float
    photo: Tensor
    render: Tensor
    lpips: float | None = None

    @property
    def scores(self) -> dict[str, float]:
        """The figures by name; those that were not computed are left out."""
        return {"psnr": self.psnr, "ssim": self.ssim} | ({} if self.lpips is None else {"lpips": self.lpips})


def device_of(field: Any) -> torch.device | None:
    """Where a field's parameters are; None for one that is not optimised."""
    params = getattr(field, "params", None)
    return None if params is None else params.device


def mean(scores: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Mean of the figures that all of the views have; empty without views."""
    shared = [k for k in ("psnr", "ssim", "lpips") if scores and all(k in v for v in scores.values())]
    return {k: sum(v[k] for v in scores.values()) / len(scores) for k in shared}


def psnr(a: Tensor, b: Tensor, mask: Tensor | None = None) -> float:
    """Peak signal-to-noise ratio in dB of pictures [3, h, w] in 0..1, over pixels where ``mask`` [h, w] is not 0."""
    squared = (a.double() - b.double()).square().mean(0)
    error = float(squared.mean() if mask is None else squared[mask > 0].mean())
    return 99.0 if error <= 1e-10 else -10.0 * float(torch.log10(torch.tensor(error, dtype=torch.float64)))


@torch.no_grad()
def compare(field: Any, system: System, capture: Capture, views: Sequence[View], *,
            perceptual: bool = False) -> Iterator[ViewResult]:
    """Renders ``views`` and compares them with their photos, one at a time (pictures are large).

    ``perceptual`` adds LPIPS where its package and weights are installed, of photos without a mask.
    """
    observations = Observations(views, capture, system, memory=0, device=device_of(field))
    for i, view in enumerate(views):
        seen = observations.get(i)
        picture = system.renderer.render(field, seen.camera, background=seen.background, want=("rgb",)).rgb
        render = picture.permute(2, 0, 1).clamp(0, 1).contiguous()
        target = seen.target.float() / 255.0 if seen.target.dtype == torch.uint8 else seen.target
        yield ViewResult(
            view.name,
            psnr(render, target, seen.mask),
            ssim(render, target, mask=seen.mask),
            target.permute(1, 2, 0).cpu(),
            render.permute(1, 2, 0).cpu(),
            lpips(render.cpu(), target.cpu()) if perceptual and seen.mask is None else None,
        )
