"""Capture: what was observed. Readers produce it, fits consume it; nothing here knows a file format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, Protocol

import torch
from torch import Tensor

from recon.types.camera import Camera
from recon.types.mesh import Mesh
from recon.types.similarity import Similarity


@dataclass(frozen=True)
class Photo:
    """Pixels of one view, planar and 8 bit, as stored in memory.

    rgb     [3, height, width] uint8, straight (not premultiplied) colour in the file's own (sRGB) encoding
    alpha   [height, width] uint8 opacity of the subject, or None when the image has no alpha channel
    mask    [height, width] uint8, 0 where the mask says "not this", 255 where it counts; None without a mask
    """

    rgb: Tensor
    alpha: Tensor | None = None
    mask: Tensor | None = None

    @property
    def nbytes(self) -> int:
        return sum(t.numel() for t in (self.rgb, self.alpha, self.mask) if t is not None)


class PhotoSource(Protocol):
    """Where the pixels of a view come from; reading may be slow and must be repeatable."""

    def read(self, camera: Camera) -> Photo:
        """Pixels as ``camera`` sees them: its size, and undistorted if its lens is a pinhole."""
        ...


@dataclass(frozen=True)
class View:
    """One photo with its camera. ``name`` is the path of the image relative to the capture, '/'-separated."""

    name: str
    camera: Camera
    source: PhotoSource
    split: Literal["train", "test"] = "train"
    depth: Callable[[], Tensor] | None = None  # -> [height, width] z-depth in scene units, 0 = unknown
    normal: Callable[[], Tensor] | None = None  # -> [height, width, 3] unit normals in the world

    def photo(self) -> Photo:
        """The pixels at the size of ``camera``."""
        return self.source.read(self.camera)


@dataclass(frozen=True)
class PointCloud:
    """Sparse points of a capture: positions [n, 3] float64 in the world, colours [n, 3] uint8 (sRGB)."""

    positions: Tensor
    colours: Tensor

    def __len__(self) -> int:
        return len(self.positions)


class TrueSurface(Protocol):
    """A surface that is known, for fields that learn from distances; in the world."""

    def distance(self, x_world: Tensor) -> Tensor:
        """Signed distances [n] of points [n, 3], negative inside."""
        ...

    def points(self, count: int, generator: torch.Generator) -> Tensor:
        """[count, 3] points spread evenly over the surface."""
        ...


@dataclass(frozen=True)
class Capture:
    """A set of posed photos, and what came with them.

    world_from_source   the normalising similarity already applied to cameras and points; every export undoes it
    mask_meaning        what a 0 in a mask says: "ignore" (unknown, do not compare) or "object" (background)
    surface             the true surface where it is known; captures that are moved lose it
    start               a mesh in the world that a fit may begin with; captures that are moved take it along
    warnings            what was skipped or repaired while reading, one readable sentence each
    """

    name: str
    root: Path
    format: str
    views: tuple[View, ...]
    points: PointCloud | None = None
    world_from_source: Similarity = field(default_factory=Similarity)
    mask_meaning: Literal["ignore", "object"] | None = None
    has_alpha: bool = False
    warnings: tuple[str, ...] = ()
    surface: TrueSurface | None = None
    start: Mesh | None = None

    def subset(self, split: str) -> tuple[View, ...]:
        return tuple(v for v in self.views if v.split == split)

    @property
    def train(self) -> tuple[View, ...]:
        return self.subset("train")

    @property
    def test(self) -> tuple[View, ...]:
        return self.subset("test")

    @property
    def centres(self) -> Tensor:
        """[views, 3] camera positions in the world."""
        return torch.stack([v.camera.centre for v in self.views])

    @property
    def radius(self) -> float:
        """1.1 x the largest distance of a camera from the mean camera centre (the "scene extent" of 3DGS)."""
        centres = self.centres
        return 1.1 * float((centres - centres.mean(0)).norm(dim=1).max().clamp_min(1e-6))

    def moved(self, target_from_world: Similarity) -> Capture:
        """The same capture in another frame; ``world_from_source`` follows."""
        points = self.points
        if points is not None:
            points = replace(points, positions=target_from_world.points(points.positions))
        return replace(
            self,
            views=tuple(_moved_view(v, target_from_world) for v in self.views),
            points=points,
            world_from_source=target_from_world.after(self.world_from_source),
            surface=None,
            start=None if self.start is None else self.start.transformed(target_from_world),
        )


def _moved_view(view: View, target_from_world: Similarity) -> View:
    """Depth follows the scale and normals the rotation, when they are read."""
    depth, normal = view.depth, view.normal
    return replace(
        view,
        camera=target_from_world.camera(view.camera),
        depth=None if depth is None else lambda: depth() * target_from_world.scale,
        normal=None if normal is None else lambda: normal() @ target_from_world.rotation.T.to(torch.float32),
    )
