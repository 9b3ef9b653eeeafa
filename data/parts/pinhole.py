"""Choosing the pinhole camera that shows what a distorted one saw."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from recon.data.parts.warp import coverage
from recon.errors import InputError
from recon.types import PINHOLE, Camera

# Beyond this angle from the axis a perspective picture wastes most of its pixels on its rim.
_WIDEST_RAD = math.radians(65)
_BORDER_SAMPLES = 129


def pinhole_for(native: Camera, width: int, height: int) -> Camera:
    """A pinhole camera of ``width`` x ``height`` at the same place, every pixel of which ``native`` saw.

    It keeps the ratio of the focal lengths, is as wide as possible (at most 65 degrees to each side), and keeps the
    principal point where it was as far as that allows. Raises ``InputError`` for lenses that have no such picture.
    """
    if native.lens.is_pinhole:
        return replace(native.scaled(width, height), lens=PINHOLE)
    if native.lens.model == "EQUIRECTANGULAR":
        raise InputError(
            "panoramas (EQUIRECTANGULAR) cannot be fitted as they are",
            fix="Cut them into perspective views first, for example with COLMAP's panorama tool",
        )
    left, right, top, bottom = _inner_rectangle(native)
    if not (right - left > 1e-3 and bottom - top > 1e-3):
        raise InputError(f"the lens distortion ({native.lens.model}) leaves nothing of the photo",
                         fix="The camera file may be damaged; or use --poses photos")  # fmt: skip
    fx, fy, cx, cy = (float(v) for v in native.scaled(width, height).intrinsics)
    zoom = max(width / (fx * (right - left)), height / (fy * (bottom - top))) * (1 + 1e-6)
    for _ in range(12):
        fx_out, fy_out = zoom * fx, zoom * fy
        u = _clamped(-cx / fx_out, left, right - width / fx_out)
        v = _clamped(-cy / fy_out, top, bottom - height / fy_out)
        intrinsics = torch.tensor([fx_out, fy_out, -u * fx_out, -v * fy_out], dtype=torch.float64)
        out = Camera(width, height, intrinsics, native.world_from_camera, PINHOLE, native.time)
        if coverage(native, out) is None:
            break
        zoom *= 1.01  # an irregular border: the few uncovered pixels are worth a slightly narrower view
    return out


def _inner_rectangle(native: Camera) -> tuple[float, float, float, float]:
    """Left, right, top, bottom on the plane z = 1 of a rectangle within the photo."""
    t = torch.linspace(0, 1, _BORDER_SAMPLES, dtype=torch.float64)
    w, h = float(native.width), float(native.height)
    zero, one = torch.zeros_like(t), torch.ones_like(t)
    sides = torch.stack([
        torch.stack([zero, t * h], -1), torch.stack([one * w, t * h], -1),
        torch.stack([t * w, zero], -1), torch.stack([t * w, one * h], -1),
    ])  # fmt: skip
    fx, fy, cx, cy = native.intrinsics
    plane = torch.stack([(sides[..., 0] - cx) / fx, (sides[..., 1] - cy) / fy], dim=-1)
    uv = _on_plane(native.lens.undistort(plane))
    return (float(uv[0, :, 0].max()), float(uv[1, :, 0].min()), float(uv[2, :, 1].max()), float(uv[3, :, 1].min()))


def _on_plane(direction: Tensor) -> Tensor:
    """Directions [..., 3] -> points [..., 2] of the plane z = 1, no farther out than 65 degrees."""
    radius = direction[..., :2].norm(dim=-1)
    angle = torch.atan2(radius, direction[..., 2]).clamp(max=_WIDEST_RAD)
    return direction[..., :2] * (torch.tan(angle) / radius.clamp_min(1e-12))[..., None]


def _clamped(value: float, low: float, high: float) -> float:
    return max(low, min(value, high)) if low <= high else (low + high) / 2
