"""Plain photos: a folder of pictures without any camera file. Poses are found by structure from motion.

Pictures may lie in the folder itself or in images/; EXIF orientation is applied, EXIF's focal length is a first guess.
Photos that could not be placed are listed in the warnings.
"""

from __future__ import annotations

from pathlib import Path

from recon.data.parts.assemble import PosedImage, assemble, relative_name
from recon.data.parts.context import Context, listing, plural
from recon.data.parts.images import HEIC, UnreadableImage, find_images, heic_can_be_read, natural_key, probe
from recon.data.parts.masks import FOLDERS as MASK_FOLDERS
from recon.data.parts.sfm import ADVICE, default_work_dir, find_poses
from recon.errors import InputError
from recon.types import Capture

ORDER = 60
_IMAGE_FOLDERS = ("images", "image", "input", "photos", "rgb", "")


def matches(path: Path) -> bool:
    return path.is_dir() and bool(_photos(path))


def read(path: Path, context: Context) -> Capture:
    """Finds the poses of all photos. Raises ``InputError`` if there are too few or they have too little in common."""
    if not path.is_dir():
        raise InputError("is not a folder of photos", file=path)
    return read_photos(_photos(path), path, "photos", context)


def read_photos(photos: list[Path], root: Path, format: str, context: Context) -> Capture:
    """A capture from ``photos`` in sequence order; ``root`` is what their names are relative to."""
    usable: list[Path] = []
    skipped: list[str] = []
    for photo in photos:
        try:
            probe(photo)
            usable.append(photo)
        except UnreadableImage as error:
            skipped.append(f"{relative_name(photo, root)} {error}")
    if len(usable) < 3 and any(p.suffix.lower() in HEIC for p in photos) and not heic_can_be_read():
        raise InputError("HEIC photos need the package pillow-heif", file=root, fix="pip install 'recon-scene[heic]'")
    if len(usable) < 3:
        what = f"{plural(len(usable), 'photo')} without a camera file: too few to find where they were taken"
        if skipped:
            what += f" (skipped: {listing(skipped)})"
        raise InputError(what, file=root, fix=ADVICE)
    if skipped:
        context.warn(f"{plural(len(skipped), 'photo')} skipped: {listing(skipped)}")
    work_dir = context.work_dir if context.work_dir is not None else default_work_dir()
    found = find_poses(usable, work_dir, context)
    lost = [relative_name(p, root) for p in usable if p not in found.cameras]
    if lost:
        context.warn(f"{len(found.cameras)} of {plural(len(usable), 'photo')} placed; not placed: {listing(lost)}")
    posed = [PosedImage(p, c) for p, c in found.cameras.items()]
    made = assemble(posed, root, root, context, all_images=sorted(photos), upright=True)
    return Capture(
        name=root.resolve().name, root=root, format=format, views=made.views, points=found.points,
        mask_meaning=made.mask_meaning, has_alpha=made.has_alpha,
    )  # fmt: skip


def _photos(path: Path) -> list[Path]:
    for name in _IMAGE_FOLDERS:
        folder = path / name if name else path
        if folder.is_dir():
            found = find_images(folder)
            if found:
                return found
    deep = [p for p in find_images(path, recursive=True) if not set(p.relative_to(path).parts[:-1]) & set(MASK_FOLDERS)]
    return sorted(deep, key=lambda p: natural_key(p.relative_to(path).as_posix()))
