"""Patrol: how well the render agrees with each photo, one small comparison after the other."""

from __future__ import annotations

from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import torch

from recon.viewer.reproject import over

if TYPE_CHECKING:
    from recon.viewer.server import Viewer

SIDE = 96  # pixels of the longer side of a comparison: enough to tell good photos from bad ones, and soon done


class Patrol:
    """Goes round the photos ``indices``; ``errors`` holds the newest mean absolute difference of each, in 0..1."""

    def __init__(self, viewer: Viewer, indices: list[int]) -> None:
        self.viewer, self.indices = viewer, indices
        self.errors: dict[int, float] = {}
        self._small: dict[int, tuple[Any, torch.Tensor]] = {}
        self._lost: set[int] = set()
        self._next = 0
        self._asked: tuple[int, Future] | None = None

    def go_on(self) -> None:
        """Takes the answer to the last question, and asks the next one. Never waits for the session."""
        if self._asked is not None:
            index, future = self._asked
            if not future.done():
                return
            self._asked = None
            if not future.cancelled():
                self.errors[index] = float((future.result() - self._small[index][1]).abs().mean())
        for _ in self.indices:
            index = self.indices[self._next % len(self.indices)]
            self._next += 1
            if index not in self._lost:
                break
        else:
            return
        try:
            camera, _ = self._photo(index)
        except Exception as error:  # a photo that cannot be read stays grey
            self._lost.add(index)
            self.viewer.session.warn(f"photo {self.viewer.page.views[index].name}: {error}")
            return
        session = self.viewer.session
        self._asked = index, session.ask(lambda: session.shown.draw(camera, ("rgb",)).rgb.clamp(0, 1))

    def _photo(self, index: int) -> tuple[Any, torch.Tensor]:
        """(camera, picture [height, width, 3] in 0..1) of a photo, made small once and kept."""
        if index not in self._small:
            view = self.viewer.page.views[index]
            factor = min(1.0, SIDE / max(view.camera.size))
            width, height = (max(round(n * factor), 1) for n in view.camera.size)
            rgb = over(view.photo(), self.viewer.session.shown.background)[None].float() / 255.0
            small = torch.nn.functional.interpolate(rgb, (height, width), mode="area")[0]
            self._small[index] = view.camera.scaled(width, height), small.permute(1, 2, 0)
        return self._small[index]
