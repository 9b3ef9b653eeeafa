"""Renders anything that offers Gaussians, by rasterization.

Source: Kerbl et al. 2023, arXiv 2308.04079; kernels in cuda/splat.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from recon.ops.splat import (
    ABS_GRADIENT,
    CENTRE,
    COLOUR,
    DEPTH,
    LOG2_OPACITY,
    OPACITY,
    RADIUS,
    Projection,
    composite,
    project,
    project_backward_adam_,
)
from recon.ops.splat_depth import depth_slopes, splat_depth
from recon.ops.splat_newton import SplatCurvature, curvature_of, project_backward_newton_
from recon.ops.splat_normal import SplatBlocks, SplatLinearisation
from recon.params import Params
from recon.types import Camera, Drop, Render
from recon.types.placement import sent

ROWS = ("means", "log_scales", "quaternions", "logits", "sh0", "sh_rest")


# The largest alpha that compositing takes (kAlphaMax in cuda/splat/splat.h).
_ALPHA_MAX = 0.99


def thinned_(records: Tensor, drop: Drop) -> Tensor:
    """Changes records [n, 12] in place: radius 0 means not drawn. Returns gain [n], the factors of the opacities.

    No opacity is raised above the largest alpha: a plateau there would widen the Gaussian and have no gradient.
    """
    drawn = torch.rand(len(records), generator=torch.Generator().manual_seed(drop.seed))
    out = sent(drawn, records.device) < drop.share
    records[:, RADIUS].masked_fill_(out, 0.0)
    gain = (_ALPHA_MAX / records[:, OPACITY].clamp_min(1e-9)).clamp(1.0, drop.gain)
    records[:, OPACITY] *= gain
    records[:, LOG2_OPACITY] += torch.log2(gain)
    return gain


def thinned(records: Tensor, drop: Drop) -> Tensor:
    """The same for records that autograd goes through; the gains count as constants."""
    changed = records.detach().clone()
    factor = torch.ones_like(changed)
    factor[:, OPACITY] = thinned_(changed, drop)
    through = records * factor * (changed[:, RADIUS, None] > 0)
    return changed + (through - through.detach())


@dataclass
class SplatTrace:
    """What strategies and optimizers read after the backward pass.

    records [n, 12]; the other properties are per Gaussian: visible [n] bool, radius [n] pixels,
    gradient [n, 2] and absolute gradient [n, 2] of the loss by the screen position, pixels.
    ``deferred``: the backward pass ended at the records; ``update_`` or ``pull_back`` completes it.
    ``gain`` [n]: factors of the opacities in the records, where some Gaussians were left out.
    """

    records: Tensor
    camera: Camera
    settings: Projection
    deferred: bool = False
    gain: Tensor | None = None

    @property
    def size(self) -> tuple[int, int]:
        return self.camera.size

    @property
    def visible(self) -> Tensor:
        return self.records.detach()[:, RADIUS] > 0

    @property
    def radius(self) -> Tensor:
        return self.records.detach()[:, RADIUS]

    @property
    def gradient(self) -> Tensor | None:
        return None if self.records.grad is None else self.records.grad[:, CENTRE]

    @property
    def absolute_gradient(self) -> Tensor | None:
        return None if self.records.grad is None else self.records.grad[:, ABS_GRADIENT]

    def update_(self, params: Params, moments: Mapping[str, tuple[Tensor, Tensor]], rates: Mapping[str, float], *,
                step: int, beta1: float, beta2: float, eps: float) -> None:
        """Completes a deferred backward pass together with one Adam update of the visible rows.

        Gradients that regularizers left on log_scales and logits are added; others are not expected.
        """
        gradient = self._gradient_of_all()
        project_backward_adam_(
            [params[n] for n in ROWS], [moments[n][0] for n in ROWS], [moments[n][1] for n in ROWS],
            [rates.get(n, 0.0) for n in ROWS], self.camera, self.settings, self.records.detach(), gradient,
            step=step, beta1=beta1, beta2=beta2, eps=eps,
            extra_log_scales=params["log_scales"].grad, extra_logits=params["logits"].grad,
        )

    def newton_(self, params: Params, momentum: Mapping[str, Tensor], curvature: Mapping[str, Tensor], *,
                rate: float, keep: float, most: float) -> None:
        """Completes a deferred backward pass together with one local Newton step of the visible rows.

        ``curvature`` is that of ``SplatRenderer.own_curvature``.
        """
        rows, moved = [params[n] for n in ROWS], [momentum[n] for n in ROWS]
        project_backward_newton_(rows, moved, SplatCurvature(**curvature), self.camera, self.settings,
                                 self.records.detach(), self._gradient_of_all(), rate=rate, keep=keep, most=most,
                                 extra_log_scales=params["log_scales"].grad, extra_logits=params["logits"].grad)

    def pull_back(self, params: Params) -> None:
        """Completes a deferred backward pass: adds dL/dp to every parameter's ``grad``."""
        means, log_scales, quaternions, logits, sh0, sh_rest = (params[n] for n in ROWS)
        records = project(means, log_scales, quaternions, logits, sh0, sh_rest, self.camera, self.settings)
        gradient = self._gradient_of_all()
        records.backward(gradient)

    def _gradient_of_all(self) -> Tensor:
        """dL/d records, by the opacities that the Gaussians have when none is left out."""
        assert self.records.grad is not None, "this comes after the backward pass"
        if self.gain is not None:
            self.records.grad[:, OPACITY] *= self.gain
            self.gain = None
        return self.records.grad


@dataclass(frozen=True)
class SplatRenderer:
    """Tile rasterizer for fields with the Splats protocol."""

    # Gaussians nearer than this are not drawn, in units of the normalised scene (camera distance about 1)
    near: float = 0.02
    # variance added to each Gaussian on the screen, pixels^2
    dilation: float = 0.3
    # also sum absolute position gradients per pixel, for AbsGS densification
    absolute_gradient: bool = False

    poseable: ClassVar[bool] = True
    on_cuda: ClassVar[tuple[str, ...]] = ("recon", "gsplat")
    linear_on_cuda: ClassVar[bool] = True
    room_on_cuda: ClassVar[bool] = True

    def render(self, field: Any, camera: Camera, *, background: Tensor | None = None,
               want: Collection[str] = ("rgb",), drop: Drop | None = None) -> Render:
        """``field`` is a GaussianField (differentiable in its params), or has ``drawn()`` or ``gaussians()``."""
        return self._render(field, camera, background, want, drop, deferred=False)

    def render_deferred(self, field: Any, camera: Camera, *, background: Tensor | None = None,
                        want: Collection[str] = ("rgb",), drop: Drop | None = None) -> Render:
        """As ``render``, but a backward pass stops at ``trace.records``, to be completed by the trace."""
        return self._render(field, camera, background, want, drop, deferred=True)

    def _render(self, field: Any, camera: Camera, background: Tensor | None, want: Collection[str],
                drop: Drop | None, deferred: bool) -> Render:
        p, degree, antialiased = _rows(field)
        background = _background(background, p["means"])
        settings = Projection(degree, antialiased, self.near, self.dilation)
        rows = [p[n].detach() for n in ROWS] if deferred else [p[n] for n in ROWS]
        means, log_scales, quaternions, logits, sh0, sh_rest = rows
        records = project(means, log_scales, quaternions, logits, sh0, sh_rest, camera, settings)
        gain = None
        if drop is not None and deferred:
            gain = thinned_(records, drop)
        elif drop is not None:
            records = thinned(records, drop)
        if deferred:
            records.requires_grad_(True)
        elif records.requires_grad:
            records.retain_grad()
        trace = SplatTrace(records, camera, settings, deferred, gain)
        return self._composited(p, records, camera, background, want, trace)

    def in_bands(self, field: Any, camera: Camera, *, background: Tensor | None = None,
                 want: Collection[str] = ("rgb",)) -> Callable[[int, int], Render]:
        """A picture to be drawn piece by piece: the result draws ``(top, height)`` rows, exactly as in the whole one.

        The Gaussians are projected now, so later changes of the field are not seen. Not differentiable.
        """
        whole, degree, antialiased = _rows(field)
        p = {n: t.detach() for n, t in whole.items()}
        means, log_scales, quaternions, logits, sh0, sh_rest = (p[n] for n in ROWS)
        settings = Projection(degree, antialiased, self.near, self.dilation)
        records = project(means, log_scales, quaternions, logits, sh0, sh_rest, camera, settings)
        behind = _background(background, p["means"])

        def band(top: int, height: int) -> Render:
            shifted = records.clone()
            shifted[:, CENTRE.start + 1] -= top
            return self._composited(p, shifted, camera.cropped(0, top, camera.width, height), behind, want, None)

        return band

    def linearise(self, field: Any, camera: Camera, *, background: Tensor) -> SplatLinearisation:
        """The picture as a linear function of the parameters, for second-order optimizers."""
        whole, degree, antialiased = _rows(field)
        settings = Projection(degree, antialiased, self.near, self.dilation)
        return SplatLinearisation([whole[n] for n in ROWS], camera, settings,
                                  _background(background, whole["means"]))

    @staticmethod
    def own_curvature(blocks: SplatBlocks, diagonal: Mapping[str, Tensor], weights: Tensor, *, damping: float,
                      floor: float) -> dict[str, Tensor]:
        """Inverse of each Gaussian's own part of J^T W J, as ``SplatTrace.newton_`` wants it; see ``curvature_of``."""
        return vars(curvature_of(blocks, [diagonal[n] for n in ROWS], weights, damping=damping, floor=floor))

    def _composited(self, p: dict[str, Tensor], records: Tensor, camera: Camera, background: Tensor,
                    want: Collection[str], trace: SplatTrace | None) -> Render:
        depth_wanted = "depth" in want
        picture, transmittance = composite(records, camera.width, camera.height, background, depth=depth_wanted,
                                           absolute=self.absolute_gradient)
        opacity = 1.0 - transmittance
        depth = None
        if depth_wanted:
            depth = torch.where(opacity > 1e-3, picture[3] / opacity.clamp_min(1e-6), torch.zeros_like(opacity))
        normal = self._normals(p, records, camera) if "normal" in want else None
        surface = spread = None
        if "surface" in want or "spread" in want:
            with torch.no_grad():
                means, log_scales, quaternions = (p[n].detach() for n in ("means", "log_scales", "quaternions"))
                slopes = depth_slopes(means, log_scales, quaternions, camera)
                surface, spread = splat_depth(records.detach(), slopes, camera.width, camera.height)
        return Render(
            rgb=picture[:3].permute(1, 2, 0),
            depth=depth,
            normal=normal,
            opacity=opacity if "opacity" in want else None,
            surface=surface,
            spread=spread,
            trace=trace,
        )

    @staticmethod
    def _normals(p: dict[str, Tensor], records: Tensor, camera: Camera) -> Tensor:
        """Composites the shortest axis of each Gaussian, turned towards the camera, in place of its colour."""
        q = torch.nn.functional.normalize(p["quaternions"], dim=1)
        w, x, y, z = q.unbind(1)
        axes = torch.stack([
            torch.stack([1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)], dim=1),
            torch.stack([2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x)], dim=1),
            torch.stack([2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)], dim=1),
        ], dim=1)  # [n, axis, 3]
        shortest = p["log_scales"].argmin(dim=1)
        n = axes[torch.arange(len(axes), device=axes.device), shortest]
        towards = camera.centre.float().to(axes.device) - p["means"]
        n = torch.where((n * towards).sum(1, keepdim=True) < 0, -n, n)
        replaced = torch.cat([records[:, : COLOUR.start], n, records[:, DEPTH:]], dim=1)
        picture, _ = composite(replaced, camera.width, camera.height, replaced.new_zeros(3))
        picture = picture.permute(1, 2, 0)
        length = picture.norm(dim=-1, keepdim=True)
        return torch.where(length > 1e-3, picture / length.clamp_min(1e-6), torch.zeros_like(picture))


def _background(colour: Tensor | None, like: Tensor) -> Tensor:
    """[3] float32 beside the Gaussians; black where none is given."""
    return torch.zeros(3, device=like.device) if colour is None else colour.float().to(like.device)


def _rows(field: Any) -> tuple[dict[str, Tensor], int, bool]:
    params = getattr(field, "params", None)
    if params is not None and "sh_rest" in params:
        return dict(params.items()), field.active_degree, field.settings.antialiased
    drawn = getattr(field, "drawn", None)  # differentiable
    g = field.gaussians() if drawn is None else drawn()
    rows = {"means": g.means, "log_scales": g.log_scales, "quaternions": g.quaternions, "logits": g.logits,
            "sh0": g.sh[:, 0].contiguous(), "sh_rest": g.sh[:, 1:].contiguous()}
    return rows, g.sh_degree, g.antialiased
