"""Gaussian splatting: projection to screen records, and compositing of records to pictures. CPU kernels: cuda/splat.

Source: Kerbl et al., "3D Gaussian Splatting for Real-Time Radiance Field Rendering", SIGGRAPH 2023, arXiv 2308.04079.

A *record* is one Gaussian on the screen, 12 numbers: centre x y (pixels), inverse covariance A B C, opacity (with
anti-aliasing compensation), colour r g b, z-depth, log2(opacity), radius (pixels; 0 = not drawn). In the gradient of
a record the last two columns carry sum_pixels |dL/d centre| (AbsGS, arXiv 2404.10484) when asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from recon.ops import cuda
from recon.ops.gsplat_backend import GsplatKernels, GsplatLists
from recon.ops.native import native
from recon.ops.splat_cuda import Lists, SplatKernels
from recon.ops.substitutes import Substitutes
from recon.types import Camera
from recon.types.placement import sent

RECORD = 12
CENTRE, CONIC, OPACITY, COLOUR, DEPTH, LOG2_OPACITY, RADIUS = slice(0, 2), slice(2, 5), 5, slice(6, 9), 9, 10, 11
ABS_GRADIENT = slice(10, 12)
DILATION = 0.3  # pixels^2, the low-pass of the original


@dataclass(frozen=True)
class Projection:
    """Settings of a projection.

    degree       spherical harmonics used, 0..3
    antialiased  opacity is scaled by sqrt(det before / det after dilation) (Mip-Splatting)
    near         Gaussians with z <= near are not drawn, scene units
    dilation     variance added on the screen, pixels^2
    """

    degree: int = 3
    antialiased: bool = False
    near: float = 0.01
    dilation: float = DILATION


@lru_cache(maxsize=4096)
def camera_numbers(camera: Camera, settings: Projection) -> Tensor:
    """[23] float64 as the kernels read a pinhole camera: rotation, translation, centre, intrinsics, size, near...

    They are where its pose is.
    """
    if not camera.lens.is_pinhole:
        raise ValueError(f"splatting needs a pinhole camera, got lens model {camera.lens.model}; undistort first")
    pose = camera.camera_from_world
    tail = torch.tensor([camera.width, camera.height, settings.near, settings.dilation], dtype=torch.float64)
    known = sent(torch.cat([camera.intrinsics, tail]), pose.device)
    return torch.cat([pose[:3, :3].reshape(9), pose[:3, 3], camera.centre, known])


def _kernels(dtype: torch.dtype) -> tuple[Any, Any, Any, Any, Any]:
    suffix = {torch.float32: "", torch.float64: "_f64"}[dtype]
    names = ("splat_project", "splat_project_backward", "splat_composite", "splat_composite_backward", "SplatLists")
    return tuple(getattr(native, n + suffix) for n in names)


def _kernels_of(tensor: Tensor) -> tuple[Any, Any, Any, Any, Any]:
    """The kernels for a tensor's number type on its device."""
    module = None if tensor.dtype == torch.float64 and tensor.device.type == "cpu" else cuda.kernels_for(tensor)
    if module is None:
        return _kernels(tensor.dtype)
    if tensor.dtype != torch.float32:
        raise TypeError(f"on CUDA splatting takes float32, got {tensor.dtype}")
    k = _on_cuda(module)
    lists = GsplatLists if isinstance(k, GsplatKernels) else Lists
    return k.project, k.project_backward, k.composite, k.composite_backward, lists


def _on_cuda(module: Any) -> SplatKernels | GsplatKernels:
    if isinstance(module, Substitutes):
        return module.splat
    return SplatKernels(module, deterministic=cuda.deterministic())


class _Project(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, means: Tensor, log_scales: Tensor, quaternions: Tensor, logits: Tensor, sh0: Tensor,
                sh_rest: Tensor, camera: Tensor, settings: Projection) -> Tensor:
        records = means.new_empty((len(means), RECORD))
        rows = [t.detach() for t in (means, log_scales, quaternions, logits, sh0, sh_rest)]
        _kernels_of(means)[0](*rows, camera, settings.degree, settings.antialiased, records)
        ctx.save_for_backward(*rows, records)
        ctx.camera, ctx.settings = camera, settings
        return records

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g_records: Tensor) -> tuple[Tensor | None, ...]:
        *rows, records = ctx.saved_tensors
        gradients = [torch.empty_like(t) for t in rows]
        _kernels_of(records)[1](*rows, ctx.camera, ctx.settings.degree, ctx.settings.antialiased, records,
                                   g_records.contiguous(), *gradients)
        return (*gradients, None, None)


def _check_rows(means: Tensor, log_scales: Tensor, quaternions: Tensor, logits: Tensor, sh0: Tensor, sh_rest: Tensor,
                degree: int, dtype: torch.dtype) -> None:
    n = len(means)
    expected = {"means": (means, (n, 3)), "log_scales": (log_scales, (n, 3)), "quaternions": (quaternions, (n, 4)),
                "logits": (logits, (n,)), "sh0": (sh0, (n, 3))}
    for name, (tensor, shape) in expected.items():
        if tuple(tensor.shape) != shape:
            raise ValueError(f"{name} must be {list(shape)}, got {list(tensor.shape)}")
    if sh_rest.ndim != 3 or sh_rest.shape[0] != n or sh_rest.shape[2] != 3:
        raise ValueError(f"sh_rest must be [{n}, coefficients, 3], got {list(sh_rest.shape)}")
    if not 0 <= degree <= 3 or sh_rest.shape[1] < (degree + 1) ** 2 - 1:
        raise ValueError(f"degree {degree} needs {(degree + 1) ** 2 - 1} rest coefficients, got {sh_rest.shape[1]}")
    tensors = {k: v for k, (v, _) in expected.items()} | {"sh_rest": sh_rest}
    for name, tensor in tensors.items():
        if tensor.device != means.device:
            raise ValueError(f"{name} must be on {means.device} like means, got {tensor.device}")
        if tensor.dtype != dtype:
            raise TypeError(f"{name} must be {dtype}, got {tensor.dtype}")
        if not tensor.is_contiguous():
            raise ValueError(f"{name} must be contiguous")


def project(means: Tensor, log_scales: Tensor, quaternions: Tensor, logits: Tensor, sh0: Tensor, sh_rest: Tensor,
            camera: Camera, settings: Projection | None = None, *, check: bool = False) -> Tensor:
    """Gaussians -> screen records [n, 12]; differentiable in all six tensors.

    means [n, 3] world, log_scales [n, 3], quaternions [n, 4] w x y z, logits [n], sh0 [n, 3], sh_rest [n, k, 3];
    float32 and contiguous (float64 throughout with ``check=True``, for gradient checks).
    Raises ValueError or TypeError naming the argument.
    """
    settings = settings or Projection()
    dtype = torch.float64 if check else torch.float32
    _check_rows(means, log_scales, quaternions, logits, sh0, sh_rest, settings.degree, dtype)
    numbers = camera_numbers(camera, settings)
    return _Project.apply(means, log_scales, quaternions, logits, sh0, sh_rest, numbers, settings)


class _ListPool:
    """Tile lists wait here for their next picture, so that their memory is allocated once."""

    def __init__(self) -> None:
        self._free: dict[torch.dtype, list[Any]] = {}

    def take(self, dtype: torch.dtype) -> Any:
        free = self._free.setdefault(dtype, [])
        return free.pop() if free else _kernels(dtype)[4]()

    def give(self, dtype: torch.dtype, lists: Any) -> None:
        free = self._free.setdefault(dtype, [])
        if len(free) < 2:
            free.append(lists)


_pool = _ListPool()


class _Loan:
    """Lists on loan to one autograd node; they return when the node is gone."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype, self.lists = dtype, _pool.take(dtype)

    def __del__(self) -> None:
        _pool.give(self.dtype, self.lists)


class _Composite(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, records: Tensor, background: Tensor, width: int, height: int, depth: bool,
                absolute: bool) -> tuple[Tensor, Tensor]:
        records = records.detach()
        picture = records.new_empty((4 if depth else 3, height, width))
        transmittance = records.new_empty((height, width))
        kernels = _kernels_of(records)
        # On CUDA lists are tensors, and torch's allocator keeps their memory for the next picture.
        loan = kernels[4]() if kernels[4] in (Lists, GsplatLists) else _Loan(records.dtype)
        lists = loan.lists if isinstance(loan, _Loan) else loan
        kernels[2](lists, records, width, height, background.detach(), picture, transmittance)
        ctx.save_for_backward(records, background, picture, transmittance)
        ctx.loan, ctx.lists, ctx.absolute = loan, lists, absolute
        return picture, transmittance

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g_picture: Tensor | None, g_transmittance: Tensor | None) -> tuple[Any, ...]:
        records, _, picture, transmittance = ctx.saved_tensors
        g_picture = torch.zeros_like(picture) if g_picture is None else g_picture.contiguous()
        g_transmittance = picture.new_empty(0) if g_transmittance is None else g_transmittance.contiguous()
        g_records = torch.empty_like(records)
        _kernels_of(records)[3](ctx.lists, records, picture, transmittance, g_picture, g_transmittance,
                                ctx.absolute, g_records)
        g_background = None
        if ctx.needs_input_grad[1]:
            g_background = (g_picture[:3] * transmittance).sum((1, 2))
        return g_records, g_background, None, None, None, None


def composite(records: Tensor, width: int, height: int, background: Tensor, *, depth: bool = False,
              absolute: bool = False, check: bool = False) -> tuple[Tensor, Tensor]:
    """Records [n, 12] -> picture [3, height, width] (4 channels with ``depth``: sum of weight x z, no background) and
    transmittance [height, width] (1 - opacity); differentiable in records and background [3].

    ``absolute`` fills the last two columns of the records' gradient with AbsGS sums.
    """
    dtype = torch.float64 if check else torch.float32
    for name, tensor in (("records", records), ("background", background)):
        if tensor.dtype != dtype:
            raise TypeError(f"{name} must be {dtype}, got {tensor.dtype}")
    if records.ndim != 2 or records.shape[1] != RECORD or not records.is_contiguous():
        raise ValueError(f"records must be contiguous [n, {RECORD}], got {list(records.shape)}")
    if background.device != records.device:
        raise ValueError(f"background must be on {records.device} like records, got {background.device}")
    if tuple(background.shape) != (3,):
        raise ValueError(f"background must be [3], got {list(background.shape)}")
    if width < 1 or height < 1:
        raise ValueError(f"picture size must be positive, got {width}x{height}")
    return _Composite.apply(records, background.contiguous(), width, height, depth, absolute)


def project_backward_adam_(params: Sequence[Tensor], ms: Sequence[Tensor], vs: Sequence[Tensor],
                           rates: Sequence[float], camera: Camera, settings: Projection, records: Tensor,
                           g_records: Tensor, *, step: int, beta1: float = 0.9, beta2: float = 0.999,
                           eps: float = 1e-15, extra_log_scales: Tensor | None = None,
                           extra_logits: Tensor | None = None) -> int | Tensor:
    """Backward of ``project`` and one Adam update of the drawn rows in one pass, in place.

    params, ms, vs are (means, log_scales, quaternions, logits, sh0, sh_rest) and their moments, float32; ``records``
    is what ``project`` returned for them and ``g_records`` its gradient; ``step`` counts from 1. ``extra_*`` are
    further gradients, of regularizers. Returns how many drawn rows were left alone for a gradient that is not finite:
    on CUDA as a tensor [1], so that nobody waits for it.
    """
    none = records.new_empty(0)
    means, log_scales, quaternions, logits, sh0, sh_rest = params
    _check_rows(means, log_scales, quaternions, logits, sh0, sh_rest, settings.degree, torch.float32)
    numbers = camera_numbers(camera, settings)
    extra = (none if extra_log_scales is None else extra_log_scales, none if extra_logits is None else extra_logits)
    rows = [p.detach() for p in params]
    refused: int | Tensor
    module = cuda.kernels_for(records)
    if module is not None:
        refused = _on_cuda(module).update(
            rows, ms, vs, rates, numbers, settings.degree, settings.antialiased, records, g_records, *extra, beta1,
            beta2, eps, step)
    else:
        refused = int(native.splat_project_backward_adam(
            rows, list(ms), list(vs), list(rates), numbers, settings.degree, settings.antialiased, records, g_records,
            *extra, beta1, beta2, eps, step,
        ))
    for tensor in (*params, *ms, *vs):
        torch.autograd.graph.increment_version(tensor)
    return refused
