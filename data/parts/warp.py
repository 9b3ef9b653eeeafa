"""Resampling pictures from the camera that took them to the camera that is wanted."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from recon.types import Camera, Lens

_LARGEST_KEPT_GRID = 2_000_000  # samples of 8 bytes
_ROWS = 256  # output rows warped at a time: bounds the memory of the sampling grid


@dataclass(frozen=True)
class _Projection:
    """A camera without its place: what sampling grids depend on, and a key to keep them under."""

    size: tuple[int, int]
    intrinsics: tuple[float, ...]
    lens: Lens

    @staticmethod
    def of(camera: Camera) -> _Projection:
        return _Projection(camera.size, tuple(camera.intrinsics.tolist()), camera.lens)

    def camera(self) -> Camera:
        return Camera(*self.size, torch.tensor(self.intrinsics, dtype=torch.float64), torch.eye(4), self.lens)


def same_projection(a: Camera, b: Camera) -> bool:
    """True if ``a`` and ``b`` differ by size only (no resampling beyond a scale is needed)."""
    if not (a.lens == b.lens or (a.lens.is_pinhole and b.lens.is_pinhole)):
        return False
    scaled = a.scaled(b.width, b.height)
    return torch.allclose(scaled.intrinsics, b.intrinsics, rtol=0, atol=1e-6 * b.width)


def source_positions(native: Camera, target: Camera, rows: slice) -> Tensor:
    """Where the pixel centres of ``rows`` of ``target`` lie in ``native``: [rows, width, 2] in 0..1 of its size."""
    y = torch.arange(rows.start, rows.stop, dtype=torch.float64) + 0.5
    x = torch.arange(target.width, dtype=torch.float64) + 0.5
    pixels = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)
    fx, fy, cx, cy = target.intrinsics
    uv = torch.stack([(pixels[..., 0] - cx) / fx, (pixels[..., 1] - cy) / fy], dim=-1)
    position = native.pixels_from_camera(target.lens.undistort(uv))
    return position / torch.tensor([native.width, native.height], dtype=torch.float64)


@lru_cache(maxsize=4)
def _whole_grid(native: _Projection, target: _Projection) -> Tensor:
    """The sampling grid of a whole picture; photos of one camera share it."""
    return _to_grid(source_positions(native.camera(), target.camera(), slice(0, target.size[1])))


def _to_grid(position: Tensor) -> Tensor:
    """Positions in 0..1 -> the -1..1 of ``grid_sample``; what lies far outside stays finite."""
    return (2 * position - 1).clamp(-4, 4).to(torch.float32)


def warp(planes: Tensor, native: Camera, target: Camera, *, mode: str = "bicubic") -> Tensor:
    """Planes [channels, h, w] (any sampling of ``native``'s image) -> [channels, height, width] of ``target``.

    uint8 in, uint8 out, rounded. Mode is that of ``grid_sample``; bring ``planes`` to about the target's sampling
    first, nothing is averaged here. Samples outside the image repeat its border; see ``coverage``.
    """
    image = planes.to(torch.float32)[None]
    out = torch.empty(len(planes), target.height, target.width, dtype=planes.dtype)
    whole = None
    if target.width * target.height <= _LARGEST_KEPT_GRID:
        whole = _whole_grid(_Projection.of(native), _Projection.of(target))
    for top in range(0, target.height, _ROWS):
        rows = slice(top, min(top + _ROWS, target.height))
        grid = whole[rows] if whole is not None else _to_grid(source_positions(native, target, rows))
        band = torch.nn.functional.grid_sample(
            image, grid[None], mode=mode, padding_mode="border", align_corners=False
        )
        band = band[0]
        out[:, rows] = band.round().clamp(0, 255).to(torch.uint8) if planes.dtype == torch.uint8 else band
    return out


def coverage(native: Camera, target: Camera) -> Tensor | None:
    """[height, width] uint8: 255 where ``target`` sees what ``native`` saw, else 0; None if that is everywhere."""
    return _coverage(_Projection.of(native), _Projection.of(target))


@lru_cache(maxsize=16)
def _coverage(native_key: _Projection, target_key: _Projection) -> Tensor | None:
    native, target = native_key.camera(), target_key.camera()
    out = torch.empty(target.height, target.width, dtype=torch.uint8)
    for top in range(0, target.height, _ROWS):
        rows = slice(top, min(top + _ROWS, target.height))
        position = source_positions(native, target, rows)
        out[rows] = ((position >= 0) & (position <= 1)).all(-1).to(torch.uint8) * 255
    return None if bool((out == 255).all()) else out
