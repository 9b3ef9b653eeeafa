"""Image files: finding them, looking at their headers, and decoding any of them to 8-bit planes.

Nothing is decoded while a capture is read: the header gives size, channels and orientation, and the end of the file
tells whether it was cut off. Pixels are decoded when a view is first asked for.
"""

from __future__ import annotations

import math
import os
import warnings
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from recon.errors import InputError

HEIC = (".heic", ".heif")  # what iPhones write; decoded by the optional package pillow-heif
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".jp2", ".ppm", ".pgm", *HEIC)
_EXIF_ORIENTATION = 274
_DEEPEST, _MOST_IMAGES = 3, 100_000  # of a search: nobody means "all of my disk"
_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # fmt: skip
# Pillow already refuses what cannot be a photo (more than 178 megapixels); its softer warning is no use to anyone.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
# What Pillow's decoders raise for damaged files, beside UnidentifiedImageError (an OSError).
DECODE_ERRORS = (OSError, ValueError, SyntaxError, EOFError, IndexError, KeyError, TypeError, OverflowError,
                 MemoryError, Image.DecompressionBombError)  # fmt: skip


@dataclass(frozen=True)
class Header:
    """What an image file says about itself. ``width, height`` are as stored, before any EXIF rotation."""

    width: int
    height: int
    has_alpha: bool
    orientation: int = 1

    @property
    def size(self) -> tuple[int, int]:
        return self.width, self.height

    @property
    def oriented_size(self) -> tuple[int, int]:
        """Size after the EXIF rotation."""
        return (self.height, self.width) if self.orientation >= 5 else (self.width, self.height)


@cache
def heic_can_be_read() -> bool:
    """Teaches Pillow to open HEIC photos where pillow-heif is installed."""
    try:
        import pillow_heif
    except ImportError:
        return False
    pillow_heif.register_heif_opener()
    return True


def _open(path: Path) -> Image.Image:
    if path.suffix.lower() in HEIC and not heic_can_be_read():
        raise UnreadableImage("is a HEIC photo, which needs pillow-heif (pip install pillow-heif)")
    return Image.open(path)


class UnreadableImage(ValueError):
    """Why an image file cannot be used: "is empty", "is truncated (...)", "is not an image"."""


def probe(path: Path) -> Header:
    """Reads the header only and checks that the file is complete. Raises ``UnreadableImage``."""
    try:
        num_bytes = path.stat().st_size
        if num_bytes == 0:
            raise UnreadableImage("is empty (0 bytes)")
        with _open(path) as image:
            kind = image.format
            if kind in ("JPEG", "MPO", "PNG") and not _is_complete(path, kind, num_bytes):
                raise UnreadableImage(f"is truncated (the file ends after {_megabytes(num_bytes)})")
            orientation = image.getexif().get(_EXIF_ORIENTATION, 1)
            header = Header(
                image.width, image.height, _has_alpha(image), orientation if orientation in range(1, 9) else 1
            )
    except UnreadableImage:
        raise
    except UnidentifiedImageError:
        raise UnreadableImage("is not an image that can be read") from None
    except PermissionError:
        raise UnreadableImage("cannot be opened (no permission)") from None
    except DECODE_ERRORS:
        raise UnreadableImage("is damaged") from None
    if header.width < 8 or header.height < 8:
        raise UnreadableImage(f"is only {header.width}x{header.height} pixels")
    return header


def decode(path: Path, *, rotate: bool = False, at_least: tuple[int, int] | None = None) -> Image.Image:
    """The pixels as an 8-bit Pillow image of mode L, RGB or RGBA.

    ``rotate`` applies the EXIF orientation. ``at_least`` (width, height as stored) allows a JPEG decoder to deliver a
    picture reduced by 2, 4 or 8 that is still at least that large, which is several times faster.
    Raises ``InputError`` for a file that cannot be decoded.
    """
    try:
        with _open(path) as image:
            orientation = image.getexif().get(_EXIF_ORIENTATION, 1) if rotate else 1
            if at_least is not None and image.format in ("JPEG", "MPO"):
                image.draft(None, at_least)
            image.load()
            plain = _eight_bit(image)
    except UnreadableImage as error:
        raise InputError(str(error), file=path) from None
    except DECODE_ERRORS as error:
        what = "cannot be decoded: the image is damaged"
        raise InputError(what, file=path, fix="Remove it or copy it again") from error
    return plain.transpose(_TRANSPOSE[orientation]) if orientation in _TRANSPOSE else plain


def find_images(folder: Path, *, recursive: bool = False) -> list[Path]:
    """Image files of a folder in natural order of names (``2.jpg`` before ``10.jpg``); hidden ones are left out."""
    found: list[Path] = []
    try:
        os.scandir(folder).close()  # an unreadable folder is an error, unreadable ones below are passed over
        for place, folders, names in os.walk(folder):
            depth = len(Path(place).relative_to(folder).parts)
            if not recursive or depth >= _DEEPEST:
                folders.clear()
            folders[:] = sorted(f for f in folders if not f.startswith("."))
            found += [Path(place, n) for n in names if Path(n).suffix.lower() in SUFFIXES and not n.startswith(".")]
            if len(found) > _MOST_IMAGES:
                what = f"holds more than {_MOST_IMAGES:,} images"
                raise InputError(what, file=folder, fix="Name the folder of one capture")
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", file=folder) from None
    return sorted(found, key=lambda p: natural_key(p.relative_to(folder).as_posix()))


def natural_key(name: str) -> tuple:
    """Sort key in which runs of digits count as numbers."""
    parts: list[tuple[int, int | str]] = []
    digits = ""
    for char in name + "\0":
        if char.isdigit() and char.isascii():
            digits += char
            continue
        if digits:
            parts.append((0, int(digits)))
            digits = ""
        parts.append((1, char))
    return (*parts, name)


def _has_alpha(image: Image.Image) -> bool:
    return "A" in image.getbands() or "a" in image.getbands() or "transparency" in image.info


def _eight_bit(image: Image.Image) -> Image.Image:
    """Any Pillow mode -> L, RGB or RGBA."""
    mode = image.mode
    if mode in ("RGB", "RGBA"):
        if mode == "RGB" and "transparency" in image.info:
            return image.convert("RGBA")
        return image.copy()
    if mode.startswith("I;16"):  # 16-bit grey
        values = np.asarray(image, dtype=np.uint16)
        return Image.fromarray((values >> 8).astype(np.uint8)).convert("RGB")
    if mode == "I":  # 16 bits in a 32-bit container
        values = np.asarray(image, dtype=np.int64)
        return Image.fromarray((values.clip(0, 65535) >> 8).astype(np.uint8)).convert("RGB")
    if mode == "F":
        values = np.nan_to_num(np.asarray(image, dtype=np.float64), nan=0.0, posinf=1.0, neginf=0.0)
        return Image.fromarray((values.clip(0, 1) * 255 + 0.5).astype(np.uint8)).convert("RGB")
    return image.convert("RGBA" if _has_alpha(image) else "RGB")


def _is_complete(path: Path, kind: str, num_bytes: int) -> bool:
    """False if the end marker is missing. Phones append previews and metadata, so a JPEG gets a second look."""
    tail = min(num_bytes, 65536)
    with path.open("rb") as file:
        file.seek(num_bytes - tail)
        end = file.read(tail)
    if kind == "PNG":
        return b"IEND" in end[-64:] or b"IEND" in end
    if b"\xff\xd9" in end:
        return True
    try:  # no end marker nearby: padding or a long trailer, or cut off; only decoding tells
        if ImageFile.LOAD_TRUNCATED_IMAGES:
            return False
        with Image.open(path) as image:
            image.draft(None, (max(1, image.width // 8), max(1, image.height // 8)))
            image.load()
        return True
    except DECODE_ERRORS:
        return False


def _megabytes(num_bytes: int) -> str:
    return f"{num_bytes / 1e6:.1f} MB" if num_bytes >= 100_000 else f"{math.ceil(num_bytes / 1000)} kB"
