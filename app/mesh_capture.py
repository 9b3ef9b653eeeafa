"""A mesh as a scene to fit: seen by cameras around it, and with its true distance for fields that learn from that.

Pictures show the normals as colours, over nothing (alpha): every method can be fitted to a surface that is known.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from recon.errors import InputError
from recon.export import mesh_suffixes, read_mesh
from recon.ops.raster import rasterize
from recon.ops.triangles import Triangles
from recon.types import Camera, Capture, Mesh, Photo, PointCloud, Similarity, View

VIEWS, SIDE, POINTS = 64, 400, 20_000
AWAY = 2.6  # distance of the cameras, in radii of the object
_FILLED = 0.85  # of a picture's side by the object's sphere
_SAMPLES = 2  # per pixel and axis


def is_surface(path: Path) -> bool:
    """Whether ``path`` is a file of triangles."""
    from recon.app.sources import is_mesh

    return path.suffix.lower() in mesh_suffixes("read") and is_mesh(path)


def capture_of(path: Path, holdout: int = 8) -> Capture:
    """Reads a mesh and looks at it from all sides. Raises InputError for a file without a surface."""
    mesh = read_mesh(path)
    if not len(mesh) or not mesh.area > 0 or not bool(torch.isfinite(mesh.vertices).all()):
        raise InputError("holds no surface", file=path, fix="Check that it is a mesh.")
    low, high = mesh.vertices.amin(0).double(), mesh.vertices.amax(0).double()
    centre = (low + high) / 2
    radius = float((mesh.vertices.double() - centre).norm(dim=1).max())
    scale = 1 / (AWAY * radius)  # cameras at distance one, as in all captures
    world_from_source = Similarity(scale, torch.eye(3, dtype=torch.float64), -scale * centre)
    mesh = mesh.transformed(world_from_source)
    mesh = Mesh(mesh.vertices.contiguous(), mesh.faces.contiguous())
    surface = MeshSurface(mesh)
    views = tuple(View(f"view_{i:02}.png", camera, Rendered(surface), _split(i, holdout))
                  for i, camera in enumerate(cameras()))
    from recon.mesh.measure import points_on

    x, face = points_on(mesh.corners, POINTS, torch.Generator().manual_seed(0))
    colours = (_colours(surface.normals[face]) * 255).round().to(torch.uint8)
    warnings = () if surface.closed else ("the mesh is not closed: which side is inside was guessed near its holes",)
    return Capture(path.stem, path, "mesh", views, PointCloud(x.double(), colours), world_from_source, has_alpha=True,
                   warnings=warnings, surface=surface)


def _split(i: int, holdout: int) -> Literal["train", "test"]:
    return "test" if holdout and i % holdout == 0 else "train"


def cameras() -> list[Camera]:
    """On a spiral around the origin, at distance 1."""
    out = []
    half_angle = math.asin(1 / AWAY)
    focal = SIDE / 2 * _FILLED / math.tan(half_angle)
    for i in range(VIEWS):
        z = 1 - 2 * (i + 0.5) / VIEWS
        turn = i * math.pi * (3 - 5**0.5)
        across = math.sqrt(1 - z * z)
        centre = torch.tensor([across * math.cos(turn), across * math.sin(turn), z], dtype=torch.float64)
        forward = -centre
        right = torch.linalg.cross(forward, torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64))
        right = right / right.norm()
        pose = torch.eye(4, dtype=torch.float64)
        pose[:3, 0], pose[:3, 1], pose[:3, 2], pose[:3, 3] = right, torch.linalg.cross(forward, right), forward, centre
        out.append(Camera(SIDE, SIDE, torch.tensor([focal, focal, SIDE / 2, SIDE / 2]), pose))
    return out


class MeshSurface:
    """A mesh that a field may learn its distance from; see ``recon.types.TrueSurface``."""

    def __init__(self, mesh: Mesh) -> None:
        from recon.mesh.check import check
        from recon.mesh.measure import unit_normals

        self.mesh, self.triangles = mesh, Triangles(mesh.vertices, mesh.faces)
        self.normals = unit_normals(mesh.corners.double()).float()
        self.closed = check(mesh).watertight

    def distance(self, x_world: Tensor) -> Tensor:
        return self.triangles.distance(x_world.contiguous())

    def points(self, count: int, generator: torch.Generator) -> Tensor:
        from recon.mesh.measure import points_on

        return points_on(self.mesh.corners, count, generator)[0]


@dataclass(frozen=True, eq=False)
class Rendered:
    """The surface as a camera sees it: normals as colours, alpha where it is hit."""

    surface: MeshSurface

    def read(self, camera: Camera) -> Photo:
        fine = camera.scaled(camera.width * _SAMPLES, camera.height * _SAMPLES)
        found = rasterize(self.surface.mesh.vertices, self.surface.mesh.faces, fine)
        hit = found.face >= 0
        colour = _colours(self.surface.normals[found.face.clamp_min(0).long()]) * hit[..., None]
        planes = torch.cat([colour.permute(2, 0, 1), hit[None].float()])
        small = torch.nn.functional.avg_pool2d(planes[None], _SAMPLES)[0]
        rgb = small[:3] / small[3:].clamp_min(1e-6)
        return Photo((rgb * 255).round().clamp(0, 255).to(torch.uint8), (small[3] * 255).round().to(torch.uint8))


def _colours(normals: Tensor) -> Tensor:
    return 0.5 + 0.5 * normals
