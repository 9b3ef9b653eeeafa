"""What the photos' masks (or alpha) say about the object, for renderings of the same cameras."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from recon.app.run_photos import pose_of
from recon.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from recon.types import Camera, Render


def masks_of(scene: dict[str, Any], cameras: Iterable[Camera]) -> dict[bytes, Tensor]:
    """Object masks [h, w] in 0..1 by camera pose, read from the photos of a run; {} where they have none.

    scene    the "scene" part of the run's configuration
    cameras  of the run, in its world

    Raises InputError where the photos are gone.
    """
    import torch

    from recon import data

    holdout = scene.get("holdout")
    capture = data.read(scene["path"], format=scene.get("format"), holdout=8 if holdout is None else holdout)
    if capture.mask_meaning != "object" and not capture.has_alpha:
        return {}
    size = scene.get("size")
    capture = data.prepare(capture, size=tuple(size) if size else None)
    wanted = {pose_of(c) for c in cameras}
    found: dict[bytes, Tensor] = {}
    for view in capture.views:
        if pose_of(view.camera) in wanted:
            photo = view.photo()
            mask = photo.mask if capture.mask_meaning == "object" else None
            planes = [p for p in (mask, photo.alpha) if p is not None]
            if planes:
                found[pose_of(view.camera)] = torch.stack(planes).amin(0).float() / 255
    return found


def cut_out(render: Callable[[Camera], Render], masks: dict[bytes, Tensor]) -> Callable[[Camera], Render]:
    """``render`` with opacity 0 where the mask of a camera says that the object is not."""
    from torch.nn.functional import interpolate

    def cut(camera: Camera) -> Render:
        shown = render(camera)
        mask = masks.get(pose_of(camera))
        if mask is None:
            return shown
        if tuple(mask.shape) != (camera.height, camera.width):
            mask = interpolate(mask[None, None], size=(camera.height, camera.width), mode="bilinear", antialias=True,
                               align_corners=False)[0, 0]
        return replace(shown, opacity=shown.channel("opacity") * mask)

    return cut


def wanted(scene: Any, choice: str, cameras: Iterable[Camera]) -> dict[bytes, Tensor]:
    """The masks that --masks asks for: "object" uses them, "off" does not, "auto" does what the fit did."""
    fitted = scene.config.get("system", {}).get("masks") in ("object", "present") or scene.saved.has_alpha
    if choice == "off" or (choice == "auto" and not fitted):
        return {}
    try:
        found = masks_of(scene.config.get("scene", {}), cameras)
    except (InputError, KeyError) as error:
        if choice == "auto":
            return {}  # the photos are gone; opacity says nearly the same
        raise InputError(f"the masks cannot be read: {error}", file=scene.path,
                         fix="Put the photos back, or leave out --masks.") from None
    if not found and choice == "object":
        raise InputError("its photos have neither masks of an object nor alpha", file=scene.path,
                         fix="Leave out --masks.")
    return found
