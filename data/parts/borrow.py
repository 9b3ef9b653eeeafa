"""Points for captures whose own format has none, borrowed from a COLMAP model lying beside it.

Two files in one folder need not share a frame, so the model's camera poses are compared first, name by name.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import torch

from recon.data.parts.colmap_files import find_model, read_images, read_points
from recon.data.parts.context import Context
from recon.errors import InputError
from recon.types import PointCloud, View

_TOLERANCE = 1e-3


def borrow_points(root: Path, views: tuple[View, ...], context: Context) -> PointCloud | None:
    """Points of ``root``'s COLMAP model if its poses equal those of ``views`` to 1e-3, else None.

    Positions are compared in units of the cameras' mean distance from their centre, rotations by their entries.
    """
    model = find_model(root)
    if model is None:
        return None
    quiet = Context()
    try:
        by_stem = {PurePosixPath(image.name).stem: image.world_from_camera for image in read_images(model, quiet)}
    except InputError as error:
        context.warn(f"points of {model.name}/ were not used: {error.message}")
        return None
    pairs = [(v.camera.world_from_camera, by_stem[PurePosixPath(v.name).stem]) for v in views
             if PurePosixPath(v.name).stem in by_stem]  # fmt: skip
    if len(pairs) < max(1, len(views) // 2):
        return None
    ours, theirs = (torch.stack(side) for side in zip(*pairs))
    centres = ours[:, :3, 3]
    unit = float((centres - centres.mean(0)).norm(dim=1).mean().clamp_min(1e-9))
    turn = (ours[:, :3, :3] - theirs[:, :3, :3]).abs().amax(dim=(1, 2))
    shift = (centres - theirs[:, :3, 3]).norm(dim=1) / unit
    if float(torch.maximum(turn, shift).median()) > _TOLERANCE:
        return None
    return read_points(model, context)
