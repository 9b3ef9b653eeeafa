"""Photos as a fit compares with them: at the step's resolution, over the background, masked."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from recon.fit.system import System
from recon.types import Camera, Capture, Observation, Photo, View
from recon.types.capture import PhotoSource

_COLOURS = {"black": 0.0, "white": 1.0}


def uses_mask(capture: Capture, system: System) -> str | None:
    """How masks are used in this fit: "ignore", "object", or None."""
    if capture.mask_meaning is None or system.masks == "off":
        return None
    if system.masks == "auto":
        return "ignore" if capture.mask_meaning == "ignore" else None
    if system.masks == "present":
        return capture.mask_meaning
    return system.masks


@dataclass(frozen=True)
class _CutOut:
    """Photos whose mask became their alpha."""

    source: PhotoSource

    def read(self, camera: Camera) -> Photo:
        photo = self.source.read(camera)
        planes = [p for p in (photo.alpha, photo.mask) if p is not None]
        return replace(photo, alpha=torch.stack(planes).amin(0) if planes else None, mask=None)


def cut_out(capture: Capture, system: System) -> Capture:
    """The capture with masks of an object as alpha, where the system uses them: fields then start within it."""
    if uses_mask(capture, system) != "object":
        return capture
    views = tuple(replace(v, source=_CutOut(v.source)) for v in capture.views)
    return replace(capture, views=views, has_alpha=True, mask_meaning=None)


def fixed_background(capture: Capture, system: System) -> Tensor:
    """[3] the colour that held-out views are compared over."""
    if system.background in _COLOURS:
        return torch.full((3,), _COLOURS[system.background])
    see_through = capture.has_alpha or uses_mask(capture, system) == "object"
    return torch.full((3,), 1.0 if see_through else 0.0)


class Observations:
    """Observations of a set of views at any scale, with the most recently used ones kept within ``memory`` bytes."""

    def __init__(self, views: Sequence[View], capture: Capture, system: System, memory: int = 1 << 30, *,
                 device: torch.device | None = None) -> None:
        self.views, self.masks = tuple(views), uses_mask(capture, system)
        self.background = fixed_background(capture, system)
        self.random_background = system.background == "random" and (capture.has_alpha or self.masks == "object")
        self.reads = frozenset(name for loss in system.losses.values() if loss.weight
                               for name in getattr(loss, "reads", ()))
        self._memory, self._bytes = memory, 0
        self.device = device or torch.device("cpu")  # where pictures are kept and handed out
        self._kept: OrderedDict[int, tuple[float, Observation, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self.views)

    def get(self, index: int, scale: float = 1.0, generator: torch.Generator | None = None) -> Observation:
        """View ``index`` downscaled by ``scale`` >= 1; with a random background if the system asks for it."""
        if self.random_background and generator is not None:
            return self._observe(index, scale, torch.rand(3, generator=generator)).to(self.device)
        if index in self._kept and self._kept[index][0] == scale:
            self._kept.move_to_end(index)
            return self._kept[index][1]
        if index in self._kept:
            self._bytes -= self._kept.pop(index)[2]
        seen = self._observe(index, scale, self.background)
        if seen.target.dtype != torch.uint8:
            seen = replace(seen, target=(seen.target * 255).round().to(torch.uint8))
        seen = seen.to(self.device)
        size = seen.target.numel() + sum(t.numel() for t in (seen.mask, seen.alpha) if t is not None)
        while self._kept and self._bytes + size > self._memory:
            self._bytes -= self._kept.popitem(last=False)[1][2]
        if size <= self._memory:
            self._kept[index] = (scale, seen, size)
            self._bytes += size
        return seen

    def over(self, index: int, scale: float, background: Tensor) -> Observation:
        """View ``index`` over a given colour."""
        background = background.cpu()
        same = not self.random_background or torch.equal(background, self.background)
        return self.get(index, scale) if same else self._observe(index, scale, background).to(self.device)

    def _observe(self, index: int, scale: float, background: Tensor) -> Observation:
        view = self.views[index]
        photo, camera = view.photo(), view.camera
        if scale > 1.0:
            camera = camera.scaled(max(round(camera.width / scale), 1), max(round(camera.height / scale), 1))
            photo = _resize(photo, camera.width, camera.height)
        mask = photo.mask if self.masks == "ignore" else None
        alpha = photo.alpha
        if self.masks == "object" and photo.mask is not None:
            alpha = photo.mask if alpha is None else torch.minimum(alpha, photo.mask)
        return Observation(camera, over(photo.rgb, alpha, background), mask, background, index,
                           alpha=alpha if "alpha" in self.reads else None)


def over(rgb: Tensor, alpha: Tensor | None, background: Tensor) -> Tensor:
    """[3, h, w] photo composited over a colour, in the photo's own encoding; uint8 where there is no alpha."""
    if alpha is None:
        return rgb
    a = alpha.float() / 255.0
    return (rgb.float() / 255.0) * a + background[:, None, None] * (1.0 - a)


def _resize(photo: Photo, width: int, height: int) -> Photo:
    """Area filter; colours of transparent pixels do not bleed into opaque ones."""

    def shrink(t: Tensor) -> Tensor:
        return interpolate(t[None], size=(height, width), mode="bilinear", antialias=True, align_corners=False)[0]

    rgb = photo.rgb.float()
    alpha = mask = None
    if photo.alpha is not None:
        a = photo.alpha.float()[None] / 255.0
        small = shrink(a)
        rgb = shrink(rgb * a) / small.clamp_min(1e-4)
        alpha = (small[0] * 255).round().clamp(0, 255).to(torch.uint8)
    else:
        rgb = shrink(rgb)
    if photo.mask is not None:  # a pixel counts only where all of it counts
        mask = (shrink(photo.mask.float()[None])[0] > 250).to(torch.uint8) * 255
    return Photo(rgb.round().clamp(0, 255).to(torch.uint8), alpha, mask)
