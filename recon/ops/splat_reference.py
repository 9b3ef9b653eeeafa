"""Gaussian splatting in plain torch, pixel x Gaussian, to check the kernels with: slow, any dtype, autograd.

Source: Kerbl et al., SIGGRAPH 2023, arXiv 2308.04079; anti-aliasing: Yu et al., "Mip-Splatting", CVPR 2024. Written
from the equations, as matrices, and not from cuda/splat; it shares the three differences stated in cuda/splat/splat.h
(a Gaussian ends where alpha < 1/255; the Gaussian that brings the transmittance below 1e-4 is still blended; the
limits 0.99 and 1e-4 are float32 numbers in every dtype).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from recon.ops.splat import ABS_GRADIENT, CENTRE, COLOUR, CONIC, DEPTH, OPACITY, RADIUS, Projection
from recon.types import Camera
from recon.types.sh import basis

PARAMETERS = ("means", "log_scales", "quaternions", "logits", "sh0", "sh_rest")

_ALPHA_MAX = float(torch.tensor(0.99))
_ALPHA_MIN = 1 / 255
_TRANSMITTANCE_MIN = float(torch.tensor(1e-4))
_MIN_COMPENSATION = 2.5e-5  # under the root


def reference_project(means: Tensor, log_scales: Tensor, quaternions: Tensor, logits: Tensor, sh0: Tensor,
                      sh_rest: Tensor, camera: Camera, settings: Projection) -> Tensor:
    """Records [n, 12] as ``recon.ops.splat.project`` defines them; rows that are not drawn are all zero."""
    pose = camera.camera_from_world.to(means.dtype)
    rotation, translation = pose[:3, :3], pose[:3, 3]
    in_front = (means @ rotation.T + translation)[:, 2] > settings.near
    ahead = (camera.centre + camera.forward).to(means.dtype)  # stands in for means that are not drawn: no 0 / 0
    means = torch.where(in_front[:, None], means, ahead)
    x, y, z = (means @ rotation.T + translation).unbind(-1)
    fx, fy, cx, cy = camera.intrinsics.tolist()
    centre = torch.stack([fx * x / z + cx, fy * y / z + cy], -1)

    # The linearisation is held inside the picture plus 15 % of its size on each side.
    slope_x = (x / z).clamp((-0.15 * camera.width - cx) / fx, (1.15 * camera.width - cx) / fx)
    slope_y = (y / z).clamp((-0.15 * camera.height - cy) / fy, (1.15 * camera.height - cy) / fy)
    zero = torch.zeros_like(z)
    jacobian = torch.stack([torch.stack([fx / z, zero, -fx * slope_x / z], -1),
                            torch.stack([zero, fy / z, -fy * slope_y / z], -1)], -2)
    axes = _rotation(quaternions)
    covariance = axes @ torch.diag_embed((2 * log_scales).exp()) @ axes.mT
    to_screen = jacobian @ rotation
    flat = to_screen @ covariance @ to_screen.mT
    screen = flat + settings.dilation * torch.eye(2, dtype=means.dtype)
    conic = torch.linalg.inv(screen)

    opacity = torch.sigmoid(logits)
    if settings.antialiased:
        ratio = torch.linalg.det(flat) / torch.linalg.det(screen)
        opacity = opacity * ratio.clamp(min=_MIN_COMPENSATION).sqrt()

    direction = torch.nn.functional.normalize(means - camera.centre.to(means.dtype), dim=-1)
    used = (settings.degree + 1) ** 2
    light = torch.cat([sh0[:, None], sh_rest], 1)[:, :used]
    colour = (0.5 + (basis(direction, settings.degree)[..., None] * light).sum(1)).clamp(min=0)

    with torch.no_grad():
        # alpha falls to 1/255 on the ellipse d^T conic d = 2 ln(255 opacity)
        level = 2 * (opacity / _ALPHA_MIN).log()
        half = (level.clamp(min=0)[:, None] * screen.diagonal(dim1=-2, dim2=-1)).sqrt()
        far_corner = centre.new_tensor([camera.width - 0.5, camera.height - 0.5])
        inside = ((centre + half >= 0.5) & (centre - half <= far_corner)).all(-1)
        drawn = in_front & (level > 0) & inside
        tail = torch.stack([opacity.log2(), half.amax(-1)], -1)
    rows = torch.cat([centre, conic[:, 0, :1], conic[:, 0, 1:], conic[:, 1, 1:], opacity[:, None], colour, z[:, None],
                      tail], -1)
    return torch.where(drawn[:, None], rows, torch.zeros_like(rows))


def _rotation(quaternions: Tensor) -> Tensor:
    """w x y z, any length -> matrices [n, 3, 3], column j the turned axis j: v + 2 w (q x v) + 2 q x (q x v)."""
    unit = torch.nn.functional.normalize(quaternions, dim=-1)
    w, q = unit[:, :1], unit[:, 1:]
    columns = []
    for axis in torch.eye(3, dtype=quaternions.dtype):
        v = axis.expand_as(q)
        across = torch.linalg.cross(q, v)
        columns.append(v + 2 * w * across + 2 * torch.linalg.cross(q, across))
    return torch.stack(columns, -1)


def pixel_centres(width: int, height: int, dtype: torch.dtype) -> Tensor:
    """[height * width, 2] x y, row by row."""
    y, x = torch.meshgrid(torch.arange(height, dtype=dtype), torch.arange(width, dtype=dtype), indexing="ij")
    return torch.stack([x, y], -1).reshape(-1, 2) + 0.5


def pixel_alphas(records: Tensor, width: int, height: int, centres: Tensor | None = None) -> Tensor:
    """alpha [n, pixels] of every record at every pixel before the limit 0.99; 0 where below 1/255."""
    centres = records[:, None, CENTRE] if centres is None else centres
    dx, dy = (pixel_centres(width, height, records.dtype) - centres).unbind(-1)
    a, b, c = records[:, CONIC, None].unbind(1)
    alpha = records[:, OPACITY, None] * torch.exp(-0.5 * (a * dx**2 + 2 * b * dx * dy + c * dy**2))
    return torch.where(alpha >= _ALPHA_MIN, alpha, torch.zeros_like(alpha))


def reference_composite(records: Tensor, width: int, height: int, background: Tensor, *, depth: bool = False,
                        centres: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Picture [3 or 4, height, width] and transmittance [height, width], like ``recon.ops.splat.composite``.

    ``centres`` [n, pixels, 2] replaces the records' centres pixel by pixel (for absolute gradients).
    """
    rows = (records[:, RADIUS] > 0).nonzero().squeeze(1)
    rows = rows[records[rows, DEPTH].float().sort(stable=True).indices]
    records = records[rows]
    alphas = pixel_alphas(records, width, height, None if centres is None else centres[rows]).clamp(max=_ALPHA_MAX)
    transmittance = records.new_ones(height * width)
    weights = []
    for alpha in alphas:
        weight = torch.where(transmittance >= _TRANSMITTANCE_MIN, alpha, torch.zeros_like(alpha)) * transmittance
        weights.append(weight)
        transmittance = transmittance - weight
    weight = torch.stack(weights) if weights else alphas
    channels = records[:, COLOUR.start:DEPTH + 1] if depth else records[:, COLOUR]
    picture = channels.T @ weight
    picture = torch.cat([picture[:3] + background[:, None] * transmittance, picture[3:]])
    return picture.reshape(-1, height, width), transmittance.reshape(height, width)


def reference_absolute_gradient(records: Tensor, width: int, height: int, background: Tensor, g_picture: Tensor,
                                g_transmittance: Tensor) -> Tensor:
    """[n, 2] sum over pixels of |dL/d centre| (AbsGS, arXiv 2404.10484), from one centre per pixel and Gaussian."""
    centres = records[:, None, CENTRE].repeat(1, height * width, 1).requires_grad_()
    picture, transmittance = reference_composite(records, width, height, background, depth=len(g_picture) == 4,
                                                 centres=centres)
    (gradient,) = torch.autograd.grad((picture * g_picture).sum() + (transmittance * g_transmittance).sum(), centres)
    assert ABS_GRADIENT.stop - ABS_GRADIENT.start == 2
    return gradient.abs().sum(1)


# ---------------------------------------------------------------- example inputs


@dataclass(frozen=True)
class Example:
    """Arguments of project and composite. ``parameters`` are float64 but hold float32 numbers, so both dtypes agree."""

    name: str
    parameters: dict[str, Tensor]
    camera: Camera
    settings: Projection = field(default_factory=Projection)
    background: Tensor = field(default_factory=lambda: torch.tensor([0.3, 0.6, 0.1], dtype=torch.float32).double())

    def __str__(self) -> str:
        return self.name

    def rows(self, dtype: torch.dtype = torch.float64, *, gradient: bool = False) -> dict[str, Tensor]:
        """Fresh copies of the parameters, leaves of autograd with ``gradient``."""
        return {k: v.to(dtype, copy=True).requires_grad_(gradient) for k, v in self.parameters.items()}


def turned_camera(width: int = 33, height: int = 17, fx: float = 40.0, fy: float = 40.0, cx: float | None = None,
                  cy: float | None = None) -> Camera:
    """A camera away from the origin that looks in no special direction."""
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, :3] = _rotation(torch.tensor([[0.8, -0.3, 0.4, 0.33]], dtype=torch.float64))[0]
    pose[:3, 3] = torch.tensor([0.7, -1.1, 0.4])
    cx, cy = width / 2 if cx is None else cx, height / 2 if cy is None else cy
    return Camera(width, height, torch.tensor([fx, fy, cx, cy], dtype=torch.float64), pose)


def cloud(camera: Camera, n: int, seed: int, *, degree: int = 3, rest: int | None = None, margin: float = 0.0,
          depth: tuple[float, float] = (2.0, 6.0), pixels: tuple[float, float] = (0.7, 5.0), stretch: float = 2.0,
          logits: tuple[float, float] = (-2.0, 1.5)) -> dict[str, Tensor]:
    """``n`` Gaussians seen by ``camera``.

    margin   centres lie up to this share of the picture outside it
    depth    range of z in front of the camera
    pixels   range of standard deviations on the screen; ``stretch`` is the largest ratio between axes
    """
    generator = torch.Generator().manual_seed(seed)

    def between(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(*shape, generator=generator, dtype=torch.float64)

    fx, fy, cx, cy = camera.intrinsics.tolist()
    z = between(*depth, n)
    u = between(-margin * camera.width, (1 + margin) * camera.width, n)
    v = between(-margin * camera.height, (1 + margin) * camera.height, n)
    x_camera = torch.stack([(u - cx) / fx * z, (v - cy) / fy * z, z], -1)
    size = between(math.log(pixels[0]), math.log(pixels[1]), n) + (z.abs().clamp(min=0.1) / fx).log()
    ratio = between(0, math.log(stretch), n, 3)
    out = {
        "means": x_camera @ camera.world_from_camera[:3, :3].T + camera.centre,
        "log_scales": size[:, None] - ratio,
        "quaternions": torch.randn(n, 4, generator=generator, dtype=torch.float64) * between(0.3, 3, n, 1),
        "logits": between(*logits, n),
        "sh0": between(-1.5, 2.5, n, 3),  # some colours fall below zero and are cut
        "sh_rest": between(-0.5, 0.5, n, (degree + 1) ** 2 - 1 if rest is None else rest, 3),
    }
    return {k: v.float().double() for k, v in out.items()}


def examples() -> Iterator[Example]:
    """Inputs around every branch of the kernels: lanes, tiles, cutoffs, culling, clamps, degrees, anti-aliasing."""
    camera, square = turned_camera(), turned_camera(64, 48, 70, 70)
    for degree in range(4):
        yield Example(f"degree {degree}", cloud(camera, 24, degree, degree=degree), camera, Projection(degree))
    yield Example("degree 1 of 3", cloud(camera, 24, 4), camera, Projection(1))
    for n in (1, 7, 8, 9, 17):
        yield Example(f"{n} elements", cloud(camera, n, 10 + n, pixels=(3, 6)), camera)
    yield Example("antialiased", cloud(camera, 40, 5, pixels=(0.1, 3)), camera, Projection(3, antialiased=True))
    for width, height in ((1, 1), (16, 16), (17, 33), (65, 31)):
        tilted = turned_camera(width, height, 50, 30, 0.3 * width, 0.8 * height)
        yield Example(f"off-centre {width}x{height}", cloud(tilted, 24, width, pixels=(1, 8)), tilted)
    yield Example("behind and near", cloud(camera, 60, 6, depth=(-2.0, 0.6)), camera, Projection(3, near=0.05))
    yield Example("huge", cloud(square, 12, 7, margin=1.0, pixels=(50, 800), logits=(-3, 0)), square)
    yield Example("tiny", cloud(camera, 60, 8, pixels=(0.001, 0.05)), camera, Projection(2))
    tiny = cloud(camera, 60, 8, pixels=(0.003, 0.3))
    yield Example("tiny antialiased", tiny, camera, Projection(2, antialiased=True))
    yield Example("outside", cloud(square, 60, 9, margin=0.6, pixels=(3, 30)), square)
    yield Example("opaque", cloud(square, 40, 10, pixels=(2, 12), logits=(5, 12)), square)
    yield Example("crowded", cloud(square, 200, 11, degree=1, pixels=(1, 10), logits=(-1, 3)), square, Projection(1))
    needles = cloud(square, 24, 12, pixels=(20, 60), stretch=300)
    yield Example("needles", needles, square)
    yield Example("needles antialiased", needles, square, Projection(3, antialiased=True))
    yield Example("other dilation", cloud(camera, 24, 13), camera, Projection(3, dilation=0.1))
    ties = cloud(camera, 24, 14, pixels=(3, 6))
    ties["means"][:] = ties["means"][:3].repeat(8, 1)
    yield Example("equal depths", ties, camera)
