"""Render: the pictures of one camera, channel by channel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

CHANNELS = ("rgb", "depth", "normal", "opacity")


@dataclass(frozen=True)
class Render:
    """What a renderer returns. Channels that were not asked for are None.

    rgb       [height, width, 3]  colour composited over the background, about 0..1 (not clamped)
    depth     [height, width]     expected z-depth in scene units, 0 where nothing was hit
    normal    [height, width, 3]  unit normals in the world, 0 where nothing was hit
    opacity   [height, width]     0..1
    surface   [height, width]     z-depth of the surface, robust against haze, 0 where there is none; not differentiable
    spread    [height, width]     standard deviation of that along the ray, scene units
    trace     what losses and strategies read besides pictures (visible rows, screen radii); renderer specific
    """

    rgb: Tensor
    depth: Tensor | None = None
    normal: Tensor | None = None
    opacity: Tensor | None = None
    surface: Tensor | None = None
    spread: Tensor | None = None
    trace: Any = None

    def channel(self, name: str) -> Tensor:
        value = getattr(self, name)
        if value is None:
            raise KeyError(f'channel "{name}" was not rendered')
        return value
