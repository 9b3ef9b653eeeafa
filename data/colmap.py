"""COLMAP models, binary or text, any camera model: ``sparse/0``, ``sparse`` or the folder itself.

Images are looked for in ``images``, ``image``, ``input`` and beside the model. Poses become ``world_from_camera``;
axes and pixel centres are COLMAP's own, which are this project's too.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from recon.data.parts.assemble import PosedImage, assemble
from recon.data.parts.colmap_files import ColmapImage, find_model, is_model, read_cameras, read_images, read_points
from recon.data.parts.context import Context, listing, plural
from recon.data.parts.images import SUFFIXES, find_images
from recon.errors import InputError
from recon.types import Capture

ORDER = 20
_IMAGE_FOLDERS = ("images", "image", "input", "rgb", "images_2", "images_4", "images_8", "")


def matches(path: Path) -> bool:
    return path.is_dir() and find_model(path) is not None


def read(path: Path, context: Context) -> Capture:
    """Reads cameras, poses and points. Raises ``InputError``."""
    model = find_model(path, context) if path.is_dir() else None
    if model is None:
        raise InputError(
            "holds no COLMAP model", file=path, fix="Looked for cameras.bin/.txt and images.bin/.txt here, in sparse/ "
            "and in sparse/0/",
        )  # fmt: skip
    cameras, images = read_cameras(model), read_images(model, context)
    if not images:
        raise InputError("the COLMAP model holds no posed image", file=model)
    folder, root = _image_folder(path, model, images, context)
    on_disk = {p.relative_to(folder).as_posix(): p for p in find_images(folder, recursive=True)}
    by_stem = {name.rsplit(".", 1)[0]: p for name, p in on_disk.items()}
    posed: list[PosedImage] = []
    missing: list[str] = []
    orphans: list[str] = []
    for image in images:
        file = on_disk.get(image.name) or by_stem.get(_stem(image.name))
        if image.camera_id not in cameras:
            orphans.append(image.name)
        elif file is None:
            missing.append(image.name)
        else:
            camera = replace(cameras[image.camera_id], world_from_camera=image.world_from_camera)
            posed.append(PosedImage(file, camera))
    if orphans:
        context.warn(f"{plural(len(orphans), 'photo')} skipped whose camera is not in the model: {listing(orphans)}")
    if missing:
        context.warn(f"{plural(len(missing), 'photo')} of the model not found in {folder.name}/: {listing(missing)}")
    if not posed and orphans:
        raise InputError("no posed image has a camera", file=model, fix="Is cameras.bin or cameras.txt damaged?")
    if not posed:
        raise InputError(
            f"none of the model's {len(images)} photos were found, for example {images[0].name}", file=folder,
            fix="Put the photos in images/ beside sparse/",
        )  # fmt: skip
    made = assemble(posed, root, model, context, all_images=sorted(on_disk.values()))
    return Capture(
        name=root.name, root=root, format="colmap", views=made.views, points=read_points(model, context),
        mask_meaning=made.mask_meaning, has_alpha=made.has_alpha,
    )  # fmt: skip


def _image_folder(path: Path, model: Path, images: list[ColmapImage], context: Context) -> tuple[Path, Path]:
    """(folder that image names are relative to, root of the capture): the place where most of the names exist."""
    if context.images is not None:
        roots = [context.images]
    else:
        roots = [path]
        if is_model(path):  # the model's own folder was named: the photos are up to two levels higher
            roots += list(path.resolve().parents)[:2]
    sample = images[:: max(1, len(images) // 64)]
    best: tuple[int, Path, Path] | None = None
    for root in roots:
        for name in _IMAGE_FOLDERS:
            folder = root / name if name else root
            if not folder.is_dir():
                continue
            found = sum(_exists(folder, image.name) for image in sample)
            if found and (best is None or found > best[0]):
                best = (found, folder, root)
    if best is None:
        raise InputError(
            f"the photos of the COLMAP model were not found, for example {images[0].name}", file=path,
            fix="Put them in images/ beside sparse/",
        )  # fmt: skip
    return best[1], best[2]


def _exists(folder: Path, name: str) -> bool:
    try:
        if (folder / name).is_file():
            return True
        return any((folder / f"{_stem(name)}{suffix}").is_file() for suffix in SUFFIXES)
    except (OSError, ValueError):  # a damaged name may not be a legal path
        return False


def _stem(name: str) -> str:
    return name.rsplit(".", 1)[0]
