"""IDR / NeuS captures: cameras_sphere.npz with ``world_mat_i`` and ``scale_mat_i``, images in sorted order.

P = (world_mat_i @ scale_mat_i)[:3, :4] projects points of the unit-sphere frame to pixels. The capture comes in that
frame, and ``world_from_source`` leads back to the frame before it, x_source = scale_mat_0 x.
Source: Yariv et al., "Multiview Neural Surface Reconstruction", NeurIPS 2020, arXiv 2003.09852.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from recon.data.parts.assemble import PosedImage, assemble
from recon.data.parts.borrow import borrow_points
from recon.data.parts.context import Context, listing, plural
from recon.data.parts.images import find_images
from recon.data.parts.numpy_file import read_npz
from recon.data.parts.poses import PoseError, factor_projection
from recon.errors import InputError
from recon.types import Camera, Capture, Similarity

ORDER = 40
ALIASES = ("neus", "dtu")
_NAMES = ("cameras_sphere.npz", "cameras.npz", "cameras_large.npz")
_IMAGE_FOLDERS = ("image", "images", "rgb", "")


def matches(path: Path) -> bool:
    if path.is_file():
        return path.suffix == ".npz" and path.name in _NAMES
    return any((path / name).is_file() for name in _NAMES)


def read(path: Path, context: Context) -> Capture:
    """Reads projections and finds the images. Raises ``InputError``."""
    file = path if path.is_file() else next((path / n for n in _NAMES if (path / n).is_file()), path / _NAMES[0])
    if not file.is_file():
        raise InputError("there is no cameras_sphere.npz", file=path)
    root = file.parent
    arrays = read_npz(file)
    numbers = sorted(int(m[1]) for k in arrays if (m := re.fullmatch(r"world_mat_([0-9]{1,6})", k)))
    if not numbers:
        raise InputError("holds no world_mat_0, world_mat_1, ...", file=file, fix="It may be damaged: copy it again")
    images = _images(root)
    if not images:
        raise InputError("found no images in image/ or images/", file=root)
    if numbers[-1] >= len(images):
        raise InputError(
            f"has cameras up to number {numbers[-1]}, but there are only {len(images)} images", file=file,
            fix="Cameras follow the sorted file names, so every image must be there; or use --poses photos",
        )  # fmt: skip
    if len(numbers) < len(images):
        context.warn(f"{plural(len(images) - len(numbers), 'photo')} of {len(images)} without a camera left out")
    posed: list[PosedImage] = []
    broken: list[str] = []
    for i in numbers:
        try:
            posed.append(PosedImage(images[i], _camera(arrays, i, context)))
        except PoseError as error:
            broken.append(f"world_mat_{i} {error}")
    if broken and not posed:
        raise InputError(f"no usable camera: {broken[0]}", file=file, fix="Use --poses photos to find the poses anew")
    if broken:
        context.warn(f"{file.name}: {plural(len(broken), 'camera')} dropped: {listing(broken)}")
    made = assemble(posed, root, file, context, all_images=images)
    return Capture(
        name=root.resolve().name, root=root, format="idr", views=made.views,
        points=borrow_points(root, made.views, context), world_from_source=_world_from_source(arrays, numbers),
        mask_meaning=made.mask_meaning, has_alpha=made.has_alpha,
    )  # fmt: skip


def _camera(arrays: dict[str, np.ndarray], i: int, context: Context) -> Callable[[int, int], Camera]:
    """The camera as a function of the image's size, which the file format does not state. Raises ``PoseError``."""
    world = arrays[f"world_mat_{i}"]
    scale = arrays.get(f"scale_mat_{i}")
    if scale is None:
        if any(k.startswith("scale_mat_") for k in arrays):
            raise PoseError("has no scale_mat beside it")
        scale = np.eye(4)
    if world.shape not in ((3, 4), (4, 4)) or scale.shape != (4, 4):
        raise PoseError("is not a 4x4 matrix")
    with np.errstate(all="ignore"):
        k, pose = factor_projection((world @ scale)[:3, :4])
    if not (np.isfinite(k).all() and 0 < k[0, 0] < 1e7 and 0 < k[1, 1] < 1e7 and np.abs(k[:2, 2]).max() < 1e6):
        raise PoseError("has an impossible focal length")
    if abs(k[0, 1]) > 1e-2 * k[0, 0]:
        context.warn(f"the pixels of some cameras are skewed (by {k[0, 1] / k[0, 0]:.1%}): skew is ignored")
    intrinsics = torch.tensor([k[0, 0], k[1, 1], k[0, 2], k[1, 2]], dtype=torch.float64)
    return lambda width, height: Camera(width, height, intrinsics, torch.from_numpy(pose))


def _world_from_source(arrays: dict[str, np.ndarray], numbers: list[int]) -> Similarity:
    """The unit-sphere frame from the frame of ``world_mat``; identity if ``scale_mat`` is not one plain similarity."""
    scale = arrays.get(f"scale_mat_{numbers[0]}")
    if scale is None or scale.shape != (4, 4) or not np.isfinite(scale).all():
        return Similarity()
    same = all(np.array_equal(arrays.get(f"scale_mat_{i}", scale), scale) for i in numbers)
    s = float(scale[0, 0])
    if not same or s <= 0 or not np.allclose(scale[:3, :3], s * np.eye(3), atol=1e-6 * s):
        return Similarity()
    return Similarity(s, torch.eye(3, dtype=torch.float64), torch.from_numpy(scale[:3, 3].copy())).inverse()


def _images(root: Path) -> list[Path]:
    for name in _IMAGE_FOLDERS:
        folder = root / name if name else root
        if folder.is_dir():
            images = sorted(find_images(folder), key=lambda p: p.name)
            if images:
                return images
    return []
