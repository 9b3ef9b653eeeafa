"""LLFF's poses_bounds.npy: one row of 17 numbers per image, in sorted order of the file names.

A row is a 3x5 matrix with columns (down, right, back, position, [height, width, focal]) and the near and far depth.
OpenCV camera axes are (column 1, column 0, -column 2). The principal point is the centre of the image.
Source: Mildenhall et al., "Local Light Field Fusion", SIGGRAPH 2019, arXiv 1905.00889.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from recon.data.parts.assemble import PosedImage, assemble
from recon.data.parts.borrow import borrow_points
from recon.data.parts.context import Context, listing, plural
from recon.data.parts.images import find_images
from recon.data.parts.numpy_file import read_npy
from recon.data.parts.poses import PoseError, rigid
from recon.errors import InputError
from recon.types import Camera, Capture

ORDER = 30
_IMAGE_FOLDERS = ("images", "images_2", "images_4", "images_8", "image", "")


def matches(path: Path) -> bool:
    return path.name == "poses_bounds.npy" if path.is_file() else (path / "poses_bounds.npy").is_file()


def read(path: Path, context: Context) -> Capture:
    """Reads poses and finds the images. Raises ``InputError``."""
    file = path if path.is_file() else path / "poses_bounds.npy"
    if not file.is_file():
        raise InputError("there is no poses_bounds.npy", file=path)
    root = file.parent
    table = read_npy(file)
    if table.ndim != 2 or table.shape[1] not in (15, 17) or len(table) == 0:
        raise InputError(f"has shape {'x'.join(map(str, table.shape))}, expected rows of 17 numbers", file=file)
    images = _images(root, len(table), file)
    posed: list[PosedImage] = []
    broken: list[str] = []
    for image, row in zip(images, table):
        m = row[:15].reshape(3, 5)
        height, width, focal = m[:, 4]
        try:
            pose = rigid(np.stack([m[:, 1], m[:, 0], -m[:, 2], m[:, 3]], axis=1))
            if not (1 <= height <= 1e6 and 1 <= width <= 1e6 and 0 < focal < 1e7):
                raise PoseError(f"has an impossible size or focal length ({width:g}x{height:g}, {focal:g})")
        except PoseError as error:
            broken.append(f"{image.name}: its row {error}")
            continue
        w, h = round(float(width)), round(float(height))
        k = torch.tensor([focal, focal, w / 2, h / 2], dtype=torch.float64)
        posed.append(PosedImage(image, Camera(w, h, k, pose)))
    if not posed:
        raise InputError(f"no usable row: {broken[0]}", file=file, fix="Use --poses photos to find the poses anew")
    if broken:
        context.warn(f"{file.name}: {plural(len(broken), 'row')} dropped: {listing(broken)}")
    made = assemble(posed, root, file, context, all_images=images)
    return Capture(
        name=root.resolve().name, root=root, format="llff", views=made.views,
        points=borrow_points(root, made.views, context), mask_meaning=made.mask_meaning, has_alpha=made.has_alpha,
    )  # fmt: skip


def _images(root: Path, count: int, file: Path) -> list[Path]:
    """The images in order of the rows: the first usual folder that holds as many as there are rows."""
    found: dict[str, int] = {}
    for name in _IMAGE_FOLDERS:
        folder = root / name if name else root
        if folder.is_dir():
            images = sorted(find_images(folder), key=lambda p: p.name)
            if len(images) == count:
                return images
            if images:
                found[name or "."] = len(images)
    seen = ", ".join(f"{n} in {name}" for name, n in found.items()) or "none in images/"
    raise InputError(
        f"has {count} poses, but there are other numbers of images: {seen}", file=file,
        fix="Rows follow the sorted file names, so every image must be there; or use --poses photos",
    )  # fmt: skip
