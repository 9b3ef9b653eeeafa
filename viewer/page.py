"""Page: what the program tells the viewer about the scene it shows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from torch import Tensor

from recon.types import Camera, Render, Similarity, View


@dataclass(frozen=True)
class Paint:
    """Colours of the program's own pictures, so that the page and the files look the same.

    channel   (render, name) -> [height, width, 3] uint8
    heat      errors [height, width] in 0..1 -> colours [height, width, 3] in 0..1
    """

    channel: Callable[[Render, str], np.ndarray]
    heat: Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Page:
    """One scene.

    title              shown above the panels, and the name of exported files
    paint              see Paint
    start              where a new browser stands
    centre, up         [3] what the camera orbits, and the direction that is up, in the world
    views              photos with their cameras in the world; may be empty
    world_from_source  undone by every export
    folder             run folder: exported files are also kept there; None = they are only sent to the browser
    summary            one line about a scene that is not being fitted
    write_video        (file.mp4, pictures [height, width, 3] uint8 of even size, frames per second), or None
    command            the command line that makes this again
    notes              what reading the scene warned about
    """

    title: str
    paint: Paint
    start: Camera
    centre: Tensor
    up: Tensor
    views: tuple[View, ...] = ()
    world_from_source: Similarity = field(default_factory=Similarity)
    folder: Path | None = None
    summary: str = ""
    write_video: Callable[[Path, Iterable[np.ndarray], float], object] | None = None
    command: str = ""
    notes: tuple[str, ...] = ()
