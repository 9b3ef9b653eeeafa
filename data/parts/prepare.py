"""``prepare``: the working copy of a capture, undistorted, scaled once and cached within a memory budget."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from recon.data.parts.context import Progress, listing, plural
from recon.data.parts.photo_file import PhotoFile
from recon.data.parts.pinhole import pinhole_for
from recon.data.parts.store import PhotoStore
from recon.data.parts.warp import same_projection, warp
from recon.errors import InputError
from recon.types import Camera, Capture, Photo, PhotoSource, View

DEFAULT_MEMORY = 1 << 30
# Captures up to this many pixels are decoded at once: a damaged photo is then found before the fit, not during it.
_EAGER_PIXELS = 250_000_000
_SMALLEST_SIDE = 8


def prepare(
    capture: Capture, *, size: tuple[int, int] | float | int | None = None, memory: int = DEFAULT_MEMORY,
    cache_dir: str | Path | None = None, progress: Progress | None = None,
) -> Capture:  # fmt: skip
    """The same capture with pinhole cameras at working resolution and photos that are decoded once.

    size       None: as the files are; (width, height): the box to fit in, turned along with each photo; a float up to
               1: that fraction of the size; an int: at most that many pixels. Photos are never enlarged.
    memory     bytes of decoded pixels kept in memory
    cache_dir  folder for what does not fit (raw files, valid as long as photo and camera do not change); None: such
               photos are decoded again

    Small captures are decoded now, and photos that turn out damaged are left out with a warning; of large ones a photo
    is decoded when first read, and a damaged one raises ``InputError`` then. Principal points may be off-centre; pixels
    that a photo does not cover (rare, at most a rim) have mask 0. ``view.source.prefetch(camera)`` decodes ahead.
    """
    store = PhotoStore(memory, None if cache_dir is None else Path(cache_dir))
    cameras: dict[tuple, Camera] = {}
    views: list[View] = []
    narrowed: list[str] = []
    for view in capture.views:
        native = view.camera
        width, height = working_size(native.width, native.height, size)
        signature = (native.size, tuple(native.intrinsics.tolist()), native.lens, width, height)
        if signature not in cameras:
            cameras[signature] = pinhole_for(native, width, height)
            if native.lens.is_wide:
                narrowed.append(_field_of_view(cameras[signature]))
        camera = replace(cameras[signature], world_from_camera=native.world_from_camera, time=native.time)
        source = WorkingPhoto(view.source, camera, store, _key(view.source, native, camera))
        views.append(replace(
            view, camera=camera, source=source,
            depth=None if view.depth is None else WorkingMap(view.depth, native, camera),
            normal=None if view.normal is None else WorkingMap(view.normal, native, camera),
        ))  # fmt: skip
    warnings = list(capture.warnings)
    if narrowed:
        warnings.append(f"wide-angle photos: their central {narrowed[0]} are used")
    if sum(v.camera.width * v.camera.height for v in capture.views) <= _EAGER_PIXELS:
        views = _decoded(views, warnings, progress)
    if not any(v.split == "train" for v in views):
        raise InputError("no photo can be decoded", file=capture.root, fix="Copy the photos again")
    return replace(capture, views=tuple(views), warnings=tuple(warnings))


def working_size(width: int, height: int, size: tuple[int, int] | float | int | None) -> tuple[int, int]:
    """(width, height) at which a photo of ``width`` x ``height`` is used; see ``prepare``."""
    if size is None:
        return width, height
    if isinstance(size, tuple | list):
        a, b = size
        if (a > b) != (width > height) and a != b:
            a, b = b, a
        ratio = min(a / width, b / height)
    elif isinstance(size, float):
        ratio = size
    else:
        ratio = math.sqrt(size / (width * height))
    if not ratio > 0:
        raise InputError(f"the working size {size} is not positive")
    ratio = min(1.0, ratio)
    return max(_SMALLEST_SIDE, round(width * ratio)), max(_SMALLEST_SIDE, round(height * ratio))


@dataclass(frozen=True)
class WorkingPhoto:
    """Pixels at the working camera, from the store; at a smaller size they are averaged from there."""

    source: PhotoSource
    working: Camera
    store: PhotoStore
    key: str

    def read(self, camera: Camera) -> Photo:
        if not same_projection(self.working, camera) or camera.width > self.working.width:
            return self.source.read(camera)
        photo = self.store.get(self.key, self._make)
        return photo if camera.size == self.working.size else reduced(photo, camera.width, camera.height)

    def prefetch(self, camera: Camera | None = None) -> Future[Photo]:
        """Decodes in the background; the result is in the store when it is read next."""
        return self.store.prefetch(self.key, self._make)

    def _make(self) -> Photo:
        return self.source.read(self.working)


@dataclass(frozen=True)
class WorkingMap:
    """A depth or normal map resampled (nearest pixel) to the working camera."""

    load: Callable[[], Tensor]
    native: Camera
    target: Camera

    def __call__(self) -> Tensor:
        values = self.load().to(torch.float32)
        planes = values[None] if values.ndim == 2 else values.permute(2, 0, 1)
        out = warp(planes.contiguous(), self.native, self.target, mode="nearest")
        return out[0] if values.ndim == 2 else out.permute(1, 2, 0).contiguous()


def reduced(photo: Photo, width: int, height: int) -> Photo:
    """The photo at a smaller size by area averaging; colours are weighted by alpha where there is one."""
    rgb = photo.rgb.to(torch.float32)
    if photo.alpha is None:
        small = _area(rgb, width, height)
        alpha = None
    else:
        weight = photo.alpha.to(torch.float32)[None]
        total = _area(weight, width, height)
        small = torch.where(total > 0.5, _area(rgb * weight, width, height) / total.clamp_min(0.5), 0.0)
        alpha = _bytes(total)[0]
    mask = None if photo.mask is None else _bytes(_area(photo.mask.to(torch.float32)[None], width, height))[0]
    return Photo(_bytes(small), alpha, mask)


def _area(planes: Tensor, width: int, height: int) -> Tensor:
    return torch.nn.functional.interpolate(planes[None], size=(height, width), mode="area")[0]


def _bytes(planes: Tensor) -> Tensor:
    return planes.round().clamp(0, 255).to(torch.uint8)


def _decoded(views: list[View], warnings: list[str], progress: Progress | None) -> list[View]:
    """Decodes all photos now; those that cannot be are left out."""
    good: list[View] = []
    bad: list[str] = []

    def attempt(view: View) -> str | None:
        try:
            view.photo()
        except InputError as error:
            return error.what
        return None

    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        for number, (view, problem) in enumerate(zip(views, pool.map(attempt, views)), 1):
            if progress is not None:
                progress("Decoding photos", number, len(views))
            if problem is None:
                good.append(view)
            else:
                bad.append(f"{view.name} {problem}")
    if bad:
        warnings.append(f"{plural(len(bad), 'photo')} skipped: {listing(bad)}")
    return good


def _key(source: PhotoSource, native: Camera, camera: Camera) -> str:
    """Names the pixels: the file's path, time and size, its mask's, and both cameras without their place."""
    parts: list[object] = [native.size, native.intrinsics.tolist(), native.lens]
    parts += [camera.size, camera.intrinsics.tolist()]
    if isinstance(source, PhotoFile):
        parts += [_stamp(source.path), _stamp(source.mask), source.rotate]
    else:
        parts.append(id(source))
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


def _stamp(path: Path | None) -> tuple | None:
    if path is None:
        return None
    try:
        status = path.stat()
    except OSError:
        return (str(path),)
    return (str(path.absolute()), status.st_mtime_ns, status.st_size)


def _field_of_view(camera: Camera) -> str:
    fx, fy, *_ = (float(v) for v in camera.intrinsics)
    degrees = [2 * math.degrees(math.atan(side / (2 * f))) for side, f in ((camera.width, fx), (camera.height, fy))]
    return f"{degrees[0]:.0f} x {degrees[1]:.0f} degrees"
