"""Lens models: how a direction in the camera becomes a point on the image plane (z = 1 units).

Formulas as in COLMAP's documentation of its camera models; all 18 of them. A lens knows nothing of focal lengths in
pixels. A model is written once, as a map between two planes: the *base* plane (X/Z, Y/Z for perspective lenses, the
angle from the axis times the azimuth for fisheye lenses) and the image plane. ``undistort`` inverts that map in closed
form where there is one, else by damped Newton steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

# Coefficients of each model beside fx, fy, cx, cy, in COLMAP's order.
NUM_COEFFICIENTS = {
    "SIMPLE_PINHOLE": 0, "PINHOLE": 0, "SIMPLE_RADIAL": 1, "RADIAL": 2, "OPENCV": 4, "FULL_OPENCV": 8,
    "FOV": 1, "SIMPLE_DIVISION": 1, "DIVISION": 1, "EUCM": 2, "EQUIRECTANGULAR": 0,
    "SIMPLE_FISHEYE": 0, "FISHEYE": 0, "SIMPLE_RADIAL_FISHEYE": 1, "RADIAL_FISHEYE": 2, "OPENCV_FISHEYE": 4,
    "THIN_PRISM_FISHEYE": 8, "RAD_TAN_THIN_PRISM_FISHEYE": 12,
}  # fmt: skip

_FISHEYE = frozenset(name for name in NUM_COEFFICIENTS if name.endswith("FISHEYE"))
# With zero coefficients these are exactly a pinhole; FOV and EUCM are so in the limit of their first coefficient.
_PINHOLE_AT_ZERO = frozenset(
    {"SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV", "FULL_OPENCV", "SIMPLE_DIVISION", "DIVISION"}
)
_NEWTON_STEPS = 40
_TINY = 1e-12
_DIFFERENCE = 1e-5


@dataclass(frozen=True)
class Lens:
    """A distortion model by COLMAP's name and its coefficients without the intrinsics (f, cx, cy).

    ``EQUIRECTANGULAR`` fits the same scheme with fx = width / 2 pi, fy = height / pi: its image plane is
    (longitude, latitude). Raises ``ValueError`` for an unknown model or a wrong number of coefficients.
    """

    model: str = "PINHOLE"
    coefficients: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "coefficients", tuple(float(c) for c in self.coefficients))
        expected = NUM_COEFFICIENTS.get(self.model)
        if expected is None:
            raise ValueError(f"unknown lens model {self.model!r}; known: {', '.join(NUM_COEFFICIENTS)}")
        if len(self.coefficients) != expected:
            raise ValueError(f"{self.model} has {expected} coefficients, got {len(self.coefficients)}")

    @property
    def is_pinhole(self) -> bool:
        """True if straight lines stay straight: no resampling is needed."""
        if self.model in ("FOV", "EUCM"):
            return self.coefficients[0] == 0.0
        return self.model in _PINHOLE_AT_ZERO and not any(self.coefficients)

    @property
    def is_wide(self) -> bool:
        """True for lenses whose rays may reach 90 degrees from the axis and beyond."""
        return self.model in _FISHEYE or self.model in ("EUCM", "EQUIRECTANGULAR")

    def distort(self, x_camera: Tensor) -> Tensor:
        """Points [..., 3] in front of the camera -> image plane [..., 2]; computed in float64, returned as it came."""
        x = x_camera.to(torch.float64)
        model, c = self.model, self.coefficients
        if model == "EQUIRECTANGULAR":
            uv = torch.stack(
                [torch.atan2(x[..., 0], x[..., 2]), torch.atan2(x[..., 1], torch.hypot(x[..., 0], x[..., 2]))], dim=-1
            )
        elif model == "EUCM" and not self.is_pinhole:
            alpha, beta = c
            depth = torch.sqrt(beta * (x[..., 0] ** 2 + x[..., 1] ** 2) + x[..., 2] ** 2)
            uv = x[..., :2] / _away_from_zero(alpha * depth + (1 - alpha) * x[..., 2])[..., None]
        elif model in _FISHEYE:
            radius = torch.hypot(x[..., 0], x[..., 1])
            angle = torch.atan2(radius, x[..., 2])
            uv = self._image_from_base(x[..., :2] * (angle / radius.clamp_min(_TINY))[..., None])
        else:
            uv = self._image_from_base(x[..., :2] / _away_from_zero(x[..., 2])[..., None])
        return uv.to(x_camera.dtype)

    def undistort(self, uv: Tensor) -> Tensor:
        """Image plane [..., 2] -> directions [..., 3]: z = 1 for perspective models, unit length for wide lenses.

        Where a model folds over (points that no ray reaches) the nearest reachable direction is returned.
        """
        q = uv.to(torch.float64)
        if self.is_pinhole:
            return _with_z_one(q).to(uv.dtype)
        model, c = self.model, self.coefficients
        if model == "EQUIRECTANGULAR":
            lon, lat = q.unbind(-1)
            out = torch.stack([torch.sin(lon) * torch.cos(lat), torch.sin(lat), torch.cos(lon) * torch.cos(lat)], -1)
        elif model == "EUCM":
            out = _eucm_direction(q, *c)
        elif model in ("SIMPLE_DIVISION", "DIVISION"):
            out = _with_z_one(q / _away_from_zero(1 + c[0] * (q * q).sum(-1, keepdim=True)))
        elif model == "FOV":
            out = _with_z_one(q * _fov_inverse(q.norm(dim=-1), c[0])[..., None])
        elif model in _FISHEYE:
            base = q if not any(c) else _invert(self._image_from_base, q)
            angle = base.norm(dim=-1)
            planar = base * (torch.sin(angle) / angle.clamp_min(_TINY))[..., None]
            planar = torch.where((angle > _TINY)[..., None], planar, base)
            out = torch.cat([planar, torch.cos(angle)[..., None]], dim=-1)
        else:
            out = _with_z_one(_invert(self._image_from_base, q))
        return out.to(uv.dtype)

    def _image_from_base(self, p: Tensor) -> Tensor:
        """Base plane [..., 2] -> image plane [..., 2]."""
        c, model = self.coefficients, self.model
        if not any(c):
            return p
        u, v = p.unbind(-1)
        r2 = u * u + v * v
        if model in ("SIMPLE_RADIAL", "RADIAL", "SIMPLE_RADIAL_FISHEYE", "RADIAL_FISHEYE", "OPENCV_FISHEYE"):
            return p * _polynomial(r2, c)[..., None]
        if model == "OPENCV":
            return p * _polynomial(r2, c[:2])[..., None] + _tangential(u, v, r2, c[2], c[3])
        if model == "FULL_OPENCV":
            k1, k2, p1, p2, k3, k4, k5, k6 = c
            ratio = _polynomial(r2, (k1, k2, k3)) / _away_from_zero(_polynomial(r2, (k4, k5, k6)))
            return p * ratio[..., None] + _tangential(u, v, r2, p1, p2)
        if model == "FOV":
            return p * _fov_factor(torch.sqrt(r2), c[0])[..., None]
        if model in ("SIMPLE_DIVISION", "DIVISION"):
            return p * (2 / (1 + torch.sqrt((1 - 4 * c[0] * r2).clamp_min(0.0))))[..., None]
        if model == "THIN_PRISM_FISHEYE":
            k1, k2, p1, p2, k3, k4, sx1, sy1 = c
            prism = torch.stack([sx1 * r2, sy1 * r2], dim=-1)
            return p * _polynomial(r2, (k1, k2, k3, k4))[..., None] + _tangential(u, v, r2, p1, p2) + prism
        if model == "RAD_TAN_THIN_PRISM_FISHEYE":
            q = p * _polynomial(r2, c[:6])[..., None]
            x, y = q.unbind(-1)
            rho2 = x * x + y * y
            p0, p1, s0, s1, s2, s3 = c[6:]
            prism = torch.stack([s0 * rho2 + s1 * rho2**2, s2 * rho2 + s3 * rho2**2], dim=-1)
            return q + _tangential(x, y, rho2, p1, p0) + prism
        raise AssertionError(f"no formula for {model}")


def _polynomial(r2: Tensor, k: tuple[float, ...]) -> Tensor:
    """1 + k_0 r2 + k_1 r2^2 + ... by Horner's rule."""
    out = torch.zeros_like(r2)
    for value in reversed(k):
        out = (out + value) * r2
    return 1 + out


def _tangential(u: Tensor, v: Tensor, r2: Tensor, p1: float, p2: float) -> Tensor:
    """Decentring of OpenCV's model."""
    return torch.stack([2 * p1 * u * v + p2 * (r2 + 2 * u * u), 2 * p2 * u * v + p1 * (r2 + 2 * v * v)], dim=-1)


def _fov_factor(r: Tensor, omega: float) -> Tensor:
    """atan(2 r tan(omega / 2)) / (r omega), finite at r = 0."""
    slope = 2 * math.tan(omega / 2)
    return torch.where(r > 1e-9, torch.atan(r * slope) / (r.clamp_min(1e-9) * omega), torch.full_like(r, slope / omega))


def _fov_inverse(r: Tensor, omega: float) -> Tensor:
    slope = 2 * math.tan(omega / 2)
    angle = (r * omega).clamp(max=math.pi / 2 - 1e-6)  # beyond: behind the camera
    return torch.where(r > 1e-9, torch.tan(angle) / (r.clamp_min(1e-9) * slope), torch.full_like(r, omega / slope))


def _eucm_direction(q: Tensor, alpha: float, beta: float) -> Tensor:
    """Closed-form inverse of the enhanced unified camera model (Khomutenko et al., RA-L 2016)."""
    r2 = (q * q).sum(-1)
    root = torch.sqrt((1 - (2 * alpha - 1) * beta * r2).clamp_min(0.0))
    z = (1 - alpha * alpha * beta * r2) / _away_from_zero(alpha * root + (1 - alpha))
    return torch.nn.functional.normalize(torch.cat([q, z[..., None]], dim=-1), dim=-1)


def _with_z_one(p: Tensor) -> Tensor:
    return torch.cat([p, torch.ones_like(p[..., :1])], dim=-1)


def _away_from_zero(x: Tensor) -> Tensor:
    """x, but at least 1e-12 in magnitude, sign kept."""
    return torch.where(x.abs() < _TINY, torch.where(x < 0, -_TINY, _TINY).to(x.dtype), x)


def _invert(forward: Callable[[Tensor], Tensor], target: Tensor) -> Tensor:
    """Solves forward(p) = target [..., 2] per point by Newton steps that never increase the residual."""
    q = target.reshape(-1, 2)
    p, damping = q.clone(), torch.ones(len(q), dtype=torch.float64)
    # Central differences: torch.func.jvp would be exact, but its first call imports for seconds, and a derivative good
    # to ten digits does not change where Newton's method ends.
    along = [torch.tensor(axis, dtype=torch.float64) for axis in ((_DIFFERENCE, 0.0), (0.0, _DIFFERENCE))]
    value = forward(p)
    error = (value - q).norm(dim=-1)
    for _ in range(_NEWTON_STEPS):
        columns = [(forward(p + axis) - forward(p - axis)) / (2 * _DIFFERENCE) for axis in along]
        (a, c), (b, d) = columns[0].unbind(-1), columns[1].unbind(-1)
        residual = value - q
        det = _away_from_zero(a * d - b * c)
        step = torch.stack([d * residual[:, 0] - b * residual[:, 1], a * residual[:, 1] - c * residual[:, 0]], dim=-1)
        step = step / det[:, None]
        # A step longer than half the radius may jump over the fold into a false solution.
        limit = 0.5 * p.norm(dim=-1) + 0.1
        step = step * (limit / step.norm(dim=-1).clamp_min(_TINY)).clamp(max=1.0)[:, None]
        trial = p - damping[:, None] * step
        trial_value = forward(trial)
        trial_error = (trial_value - q).norm(dim=-1)
        better = trial_error < error
        p = torch.where(better[:, None], trial, p)
        value = torch.where(better[:, None], trial_value, value)
        error = torch.where(better, trial_error, error)
        damping = torch.where(better, (2 * damping).clamp(max=1.0), damping / 4)
        if bool(((error < 1e-14) | (damping < 1e-8)).all()):
            break
    return p.reshape(target.shape)


PINHOLE = Lens()
