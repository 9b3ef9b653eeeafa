"""The photos of a run for its texture, as its cameras took them.

A texture made of photos is sharper than one made of pictures of the fit, and nearer to the photos from places between
the cameras: a fit also draws what it has not understood.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from recon.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from recon.types import Camera, View

    # rgb [h, w, 3] in 0..1 and what its pixels weigh [h, w], or None where all weigh 1; None for unknown cameras
    Photos = Callable[[Camera], tuple[Tensor, Tensor | None] | None]

Choice = Literal["auto", "photos", "fit"]
_FIT = "the texture shows pictures of the fit: "


def pose_of(camera: Camera) -> bytes:
    """What a camera is found by."""
    return (camera.world_from_camera * 1e6).round().numpy().tobytes()


def wanted(scene: Any, choice: Choice, masks: Mapping[bytes, Tensor]) -> tuple[Photos | None, tuple[str, ...]]:
    """The photos that --colours asks for, and what is to be said about them.

    "auto" takes them unless they are gone or the fit corrected their exposure: then its pictures agree better.
    masks  of the object [h, w] in 0..1, by pose. Raises InputError where photos are asked for and cannot be read.
    """
    from recon.app.scenes import read_again

    if choice == "fit":
        return None, ()
    if choice == "auto" and scene.config.get("system", {}).get("exposure", {}).get("enabled"):
        return None, (_FIT + "it corrected the exposure of the photos",)
    try:
        capture = read_again(scene.config, scene.path.parent)
    except (InputError, KeyError) as error:
        if choice == "auto":
            return None, (_FIT + "the photos cannot be read",)
        raise InputError(f"the photos cannot be read: {error}", file=scene.path,
                         fix="Put the photos back, or leave out --colours.") from None
    named = {view.name: view for view in capture.views}
    views = {pose_of(saved.camera): named[saved.name] for saved in scene.saved.views if saved.name in named}
    return photos_of(views, masks, capture.mask_meaning == "ignore"), ()


def photos_of(views: Mapping[bytes, View], masks: Mapping[bytes, Tensor], ignore: bool) -> Photos:
    """``ignore``: what masks of the photos leave out says nothing."""
    import torch

    def photo_of(camera: Camera) -> tuple[Tensor, Tensor | None] | None:
        view = views.get(pose_of(camera))
        if view is None or (view.camera.width, view.camera.height) != (camera.width, camera.height):
            return None
        photo = view.photo()
        planes = [p.float() / 255 for p in (photo.alpha, photo.mask if ignore else None) if p is not None]
        mask = masks.get(pose_of(camera))
        if mask is not None and mask.shape == photo.rgb.shape[1:]:
            planes.append(mask)
        return photo.rgb.permute(1, 2, 0).float() / 255, torch.stack(planes).amin(0) if planes else None

    return photo_of
