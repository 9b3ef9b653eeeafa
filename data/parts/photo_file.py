"""PhotoFile: a view's pixels in an image file, delivered as any camera at that place sees them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from recon.data.parts.images import decode
from recon.data.parts.warp import coverage, same_projection, warp
from recon.types import Camera, Photo

_Resampling = Image.Resampling


@dataclass(frozen=True)
class PhotoFile:
    """A source of pixels: reading decodes the file, scales it with an area filter and undoes lens distortion.

    path      image file
    native    the camera that took it, at the size of the file (after ``rotate``); its pose plays no part
    mask      mask image of the same view, or None; it is stretched to the photo's size (nearest pixel)
    rotate    apply the EXIF orientation (photos that were posed by us); otherwise pixels are taken as stored
    """

    path: Path
    native: Camera
    mask: Path | None = None
    rotate: bool = False

    def read(self, camera: Camera) -> Photo:
        """Pixels of ``camera``, which may differ from ``native`` in size, focal length and lens, not in place.

        Pixels that the photo does not cover have mask 0. Raises ``InputError`` if the file cannot be decoded.
        """
        if same_projection(self.native, camera):
            image = self._picture(camera.size)
            mask = self._mask_image(camera.size)
            return _photo(_planes(image), None if mask is None else _planes(mask)[0])
        # Reduce to the wanted sampling with an area filter, then move pixels by less than their size: bicubic suffices.
        density = max(
            float(camera.intrinsics[0] / self.native.intrinsics[0]),
            float(camera.intrinsics[1] / self.native.intrinsics[1]),
        )
        ratio = min(1.0, density)
        size = (max(1, round(self.native.width * ratio)), max(1, round(self.native.height * ratio)))
        image = self._picture(size)
        planes = _unpremultiplied(warp(_premultiplied(_planes(image)), self.native, camera))
        mask_image, seen = self._mask_image(self.native.size), coverage(self.native, camera)
        cut: Tensor | None = None
        if mask_image is not None:
            cut = warp(_planes(mask_image)[:1], self.native, camera, mode="bilinear")[0]
        if seen is not None:
            cut = seen if cut is None else torch.minimum(cut, seen)
        return _photo(planes, cut)

    def _picture(self, size: tuple[int, int]) -> Image.Image:
        # JPEG reduction works on the picture as stored, which may lie on its side: bound the short side.
        image = decode(self.path, rotate=self.rotate, at_least=(min(size), min(size)))
        return _resized(image, size)

    def _mask_image(self, size: tuple[int, int]) -> Image.Image | None:
        """The mask at ``size``, 0..255; pixels between are kept as fractions when it is reduced."""
        if self.mask is None:
            return None
        image = decode(self.mask)
        cut_out = image.mode == "RGBA" and image.getchannel("A").getextrema() != (255, 255)  # what is opaque counts
        values = np.asarray(image.getchannel("A") if cut_out else image.convert("L"))
        if values.max(initial=0) == 1:  # masks of 0 and 1
            values = values * np.uint8(255)
        image = Image.fromarray(values)
        native = self.native.size
        if image.size != native:
            image = image.resize(native, _Resampling.NEAREST)
        return _resized(image, size)


def _resized(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Area average (or bicubic, should a picture have to grow).

    Whole factors go through ``reduce``, which rounds once; ``resize`` rounds after each axis, which brightens halved
    pictures by up to half a grey level.
    """
    if image.size == size:
        return image
    factor = image.width // size[0]
    if factor > 1 and image.size == (factor * size[0], factor * size[1]):
        if image.mode == "RGBA":  # invisible colours must not bleed in; ``resize`` takes care of that by itself
            return image.convert("RGBa").reduce(factor).convert("RGBA")
        return image.reduce(factor)
    return image.resize(size, _Resampling.BOX if image.width >= size[0] else _Resampling.BICUBIC)


def _planes(image: Image.Image) -> Tensor:
    """[channels, height, width] uint8."""
    values = np.array(image)  # a copy: the buffer of a Pillow image is read-only
    values = values[None] if values.ndim == 2 else values.transpose(2, 0, 1)
    return torch.from_numpy(np.ascontiguousarray(values))


def _photo(planes: Tensor, mask: Tensor | None) -> Photo:
    if len(planes) == 1:
        planes = planes.repeat(3, 1, 1)
    alpha = planes[3].contiguous() if len(planes) == 4 else None
    return Photo(planes[:3].contiguous(), alpha, mask)


def _premultiplied(planes: Tensor) -> Tensor:
    """Averages of straight colour would bleed what is invisible; so average colour times alpha."""
    if len(planes) != 4:
        return planes
    alpha = planes[3:].to(torch.float32)
    return torch.cat([planes[:3].to(torch.float32) * (alpha / 255), alpha])


def _unpremultiplied(planes: Tensor) -> Tensor:
    if len(planes) != 4:
        return planes
    alpha = planes[3:].clamp(0, 255)
    colour = planes[:3] * (255 / alpha.clamp_min(1e-3))
    return torch.cat([torch.where(alpha > 0.5, colour, 0.0), alpha]).round().clamp(0, 255).to(torch.uint8)
