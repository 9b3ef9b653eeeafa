"""From posed files to views: what every reader of posed photos does with what its file format said.

Checks that each image exists, can be read and agrees with its camera; attaches masks; collects what was skipped.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from torch import Tensor

from recon.data.parts.context import Context, listing, plural
from recon.data.parts.images import Header, UnreadableImage, probe
from recon.data.parts.masks import MaskFolder, report_rejected, usable_mask
from recon.data.parts.photo_file import PhotoFile
from recon.errors import InputError
from recon.types import Camera, View


@dataclass(frozen=True)
class PosedImage:
    """One image as a camera file names it.

    camera    a camera, or a function of the image's (width, height) where the file states no size
    mask      mask named by the camera file itself
    """

    path: Path
    camera: Camera | Callable[[int, int], Camera]
    split: Literal["train", "test"] = "train"
    mask: Path | None = None
    depth: Callable[[], Tensor] | None = None
    normal: Callable[[], Tensor] | None = None


@dataclass(frozen=True)
class Assembled:
    views: tuple[View, ...]
    mask_meaning: Literal["ignore", "object"] | None
    has_alpha: bool


def assemble(
    posed: list[PosedImage], root: Path, file: Path, context: Context, *, all_images: list[Path] | None = None,
    upright: bool = False,
) -> Assembled:  # fmt: skip
    """Views of the images that are usable, sorted by name; the others are listed in ``context.warnings``.

    ``file`` is the camera file, for messages. ``upright``: the cameras belong to the photos as EXIF turns them;
    otherwise to the pixels as stored, unless only the turned picture has the camera's shape.
    Raises ``InputError`` when nothing is left or sizes cannot be reconciled.
    """
    folder = MaskFolder(root, all_images if all_images is not None else sorted(p.path for p in posed))
    named_masks = any(p.mask is not None for p in posed)
    views: list[View] = []
    unreadable: list[str] = []
    mismatched: list[str] = []
    rescaled: list[str] = []
    rejected_masks: list[str] = []
    has_alpha = any_mask = False
    seen: set[Path] = set()
    for number, item in enumerate(posed):
        if number % 64 == 0:
            context.report("Reading photos", number, len(posed))
        name = relative_name(item.path, root)
        if item.path in seen:
            context.warn(f"{name} is listed more than once in {file.name}: only its first pose is used")
            continue
        seen.add(item.path)
        try:
            header = probe(item.path)
        except UnreadableImage as error:
            unreadable.append(f"{name} {error}")
            continue
        fitted = (item.camera, True, False) if upright else fit_camera(item.camera, header)
        if fitted is None:
            assert isinstance(item.camera, Camera)
            mismatched.append(
                f"{name} is {header.width}x{header.height} but its camera {item.camera.width}x{item.camera.height}"
            )
            continue
        camera, rotate, was_rescaled = fitted
        assert isinstance(camera, Camera)
        if was_rescaled:
            rescaled.append(name)
        mask = item.mask if named_masks else folder.of(item.path)
        if mask is not None and not usable_mask(mask, camera.size, context, rejected_masks):
            mask = None
        any_mask |= mask is not None
        has_alpha |= header.has_alpha
        source = PhotoFile(item.path, camera, mask, rotate)
        views.append(View(name, camera, source, item.split, item.depth, item.normal))
    _report(unreadable, mismatched, rescaled, context)
    report_rejected(rejected_masks, context)
    if mismatched and len(mismatched) > len(views):
        raise InputError(
            f"the images do not have the size of their cameras: {mismatched[0]}",
            file=file,
            fix="Use the images that the cameras were computed for, or --poses photos to find the poses anew",
        )
    if not views:
        reason = unreadable[0] if unreadable else "it lists none"
        raise InputError(f"no usable image: {reason}", file=file, fix="Check the folder of images")
    meaning: Literal["ignore", "object"] | None = ("ignore" if named_masks else "object") if any_mask else None
    return Assembled(tuple(sorted(views, key=lambda v: v.name)), meaning, has_alpha)


def fit_camera(
    camera: Camera | Callable[[int, int], Camera], header: Header
) -> tuple[Camera, bool, bool] | None:
    """The camera at the size of its file -> (camera, apply the EXIF rotation, was rescaled); None if shapes disagree.

    Pixels are taken as stored unless only the EXIF-rotated picture has the camera's shape.
    """
    if not isinstance(camera, Camera):
        return camera(header.width, header.height), False, False
    if camera.size == header.size:
        return camera, False, False
    if header.oriented_size != header.size:
        if camera.size == header.oriented_size:
            return camera, True, False
        if _same_shape(camera, header.oriented_size) and not _same_shape(camera, header.size):
            return camera.scaled(*header.oriented_size), True, True
    if _same_shape(camera, header.size):
        return camera.scaled(*header.size), False, True
    return None


def relative_name(path: Path, root: Path) -> str:
    """``path`` relative to ``root`` with '/', or its name if it lies elsewhere."""
    try:
        return path.relative_to(root).as_posix()
    except ValueError:
        return path.name


def split_by_name(views: tuple[View, ...], holdout: int) -> tuple[View, ...]:
    """Every ``holdout``-th view in order of names becomes a test view; 0 means none."""
    ordered = sorted(views, key=lambda v: v.name)
    if holdout <= 0 or len(ordered) < 3:
        return tuple(replace(v, split="train") for v in ordered)
    return tuple(replace(v, split="test" if i % holdout == 0 else "train") for i, v in enumerate(ordered))


def _same_shape(camera: Camera, size: tuple[int, int]) -> bool:
    """Equal aspect up to the rounding of a resize and half a percent."""
    expected = camera.height * size[0] / camera.width
    return math.isclose(size[1], expected, rel_tol=0.005, abs_tol=1.5)


def _report(unreadable: list[str], mismatched: list[str], rescaled: list[str], context: Context) -> None:
    if unreadable:
        context.warn(f"{plural(len(unreadable), 'photo')} skipped: {listing(unreadable)}")
    if mismatched:
        context.warn(
            f"{plural(len(mismatched), 'photo')} skipped, of another shape than the camera: {listing(mismatched)}"
        )
    if rescaled:
        context.warn(
            f"{plural(len(rescaled), 'photo')} of another size than the camera file says, same shape: "
            f"intrinsics were scaled to fit ({listing(rescaled[:3])}{', ...' if len(rescaled) > 3 else ''})"
        )
