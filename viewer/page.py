"""Page: what the program tells the viewer about the scene it shows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from torch import Tensor

from recon.types import Camera, Mesh, Render, Similarity, View


@dataclass(frozen=True)
class Paint:
    """Colours of the program's own pictures, so that the page and the files look the same.

    channel   (render, name) -> [height, width, 3] uint8
    depth     (render, (near, far) in the world or None for what suits the picture, ramp) -> the same of its depth
    ramp      (values [...] in 0..1, name of a ramp) -> colours [..., 3] in 0..1
    ramps     names of the ramps; the first is for depth, ``errors`` for errors
    """

    channel: Callable[[Render, str], np.ndarray]
    depth: Callable[[Render, tuple[float, float] | None, str], np.ndarray]
    ramp: Callable[[np.ndarray, str], np.ndarray]
    ramps: tuple[str, ...]
    errors: str


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
    schedule           (step, what changes then) of a fit
    mesh               in the world, shown from the start, or None
    make_mesh          draws the scene from its cameras and returns (mesh in the world, notes), or None
    mesh_frame         (suffix, export_from_world) -> file_from_world: mesh formats declare an axis that points up
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
    schedule: tuple[tuple[int, str], ...] = ()
    mesh: Mesh | None = None
    make_mesh: Callable[[Callable[[Camera], Render]], tuple[Mesh, tuple[str, ...]]] | None = None
    mesh_frame: Callable[[str, Similarity], Similarity] = lambda suffix, export_from_world: export_from_world
