"""The surface of a scene as triangles: depth of its cameras fused, cleaned, and turned as a file format expects."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from recon.mesh import tsdf
from recon.types import Camera, Mesh, Similarity

if TYPE_CHECKING:
    from torch import Tensor

    from recon.types import Render

# The axis that points up, where the format or the programs that read it have one.
UPS = {".glb": "y", ".obj": "y", ".usdz": "y", ".stl": "z", ".html": "y"}
AXES = {name: torch.eye(3, dtype=torch.float64)[i] for i, name in enumerate("xyz")}
WANTED = ("rgb", "depth", "opacity", "surface", "spread")  # the last two where the renderer has them


@dataclass(frozen=True)
class Meshing:
    """How to mesh.

    resolution     grid cells along the longest side of the box
    box            [2, 3] low and high corner in the source, or None: around what the cameras show
    smallest_part  parts smaller than this share of the largest part's surface are dropped
    fill_holes     holes of up to so many edges are closed
    faces          at most about so many faces; 0 keeps all
    texture        texels along a side of a texture; 0 for colours of vertices
    """

    resolution: int = 256
    box: Tensor | None = None
    smallest_part: float = 0.001
    fill_holes: int = 60
    faces: int = 0
    texture: int = 0


def surface(render: Callable[[Camera], Render], cameras: Sequence[Camera], world_from_source: Similarity, *,
            has_alpha: bool, meshing: Meshing) -> tuple[Mesh, tuple[str, ...]]:
    """The mesh in the coordinates of the source, and what is to be said about it.

    ``render`` draws the channels ``WANTED``; ``cameras`` are in the world.
    Raises InputError where there is no surface.
    """
    import psutil

    from recon.mesh.clean import drop_small_parts, fill_holes
    from recon.mesh.grid import Grid
    from recon.mesh.simplify import simplify

    if meshing.box is None:
        low, high = tsdf.box_of_views(cameras, render)
    else:
        corners = torch.cartesian_prod(*meshing.box.T)  # a box of the source may lie turned in the frame of the fit
        moved = world_from_source.points(corners)
        low, high = moved.amin(0), moved.amax(0)
    wanted = tsdf.TsdfSettings(resolution=meshing.resolution)
    if has_alpha:  # empty pixels clear away what floats, so that unclear ones can be believed: fewer holes
        wanted = replace(wanted, empty=0.3, spread=0.15, views=0.3)
    settings = tsdf.fit_to_memory(wanted, low, high, 0.5 * psutil.virtual_memory().available)
    notes: tuple[str, ...] = ()
    if settings.resolution < wanted.resolution:
        notes += (f"memory is short: resolution {settings.resolution} instead of {wanted.resolution}",)
    volume = tsdf.fuse(cameras, render, Grid.around(low, high, settings.resolution), settings)
    mesh = tsdf.extract(volume, settings.views)
    mesh, dropped = drop_small_parts(mesh, meshing.smallest_part)
    if dropped:
        notes += (f"{dropped:,} small part{'s' if dropped > 1 else ''} dropped",)
    if meshing.fill_holes > 0:
        mesh, filled = fill_holes(mesh, meshing.fill_holes)
        if filled:
            notes += (f"{filled:,} small hole{'s' if filled > 1 else ''} closed",)
    if 0 < meshing.faces < len(mesh):
        mesh = simplify(mesh, meshing.faces)
    if meshing.texture:
        mesh = _textured(mesh, render, cameras, meshing.texture)
    return _smooth_normals(mesh.transformed(world_from_source.inverse())), notes


def _textured(mesh: Mesh, render: Callable[[Camera], Render], cameras: Sequence[Camera], size: int) -> Mesh:
    """The mesh with a texture of what the cameras show. Pictures of the fit are better than photos here: masks and
    exposure are already dealt with, and the photos may be gone."""
    from recon.mesh.texture import Baking, bake, unwrap

    def views() -> Iterator[tuple[Camera, Tensor, Tensor]]:
        for camera in cameras:
            shown = render(camera)
            yield camera, shown.rgb.clamp(0, 1), shown.channel("opacity")

    return bake(unwrap(mesh), views(), Baking(size))


def welded(mesh: Mesh) -> Mesh:
    """The mesh as it was before it was unwrapped: vertices that were doubled on seams are one again."""
    if mesh.uvs is None:
        return mesh
    from recon.mesh.clean import part_sheets

    whole, index = torch.unique(mesh.vertices, dim=0, return_inverse=True)
    # sheets may have touched in a point or along an edge with a vertex each; they do so again
    return part_sheets(Mesh(whole, index[mesh.faces.long()].to(torch.int32)))


def _smooth_normals(mesh: Mesh) -> Mesh:
    """Normals that agree across the doubled vertices of texture seams."""
    if mesh.uvs is None:
        return mesh.with_normals()
    whole, index = torch.unique(mesh.vertices, dim=0, return_inverse=True)
    normals = Mesh(whole, index[mesh.faces.long()].to(torch.int32)).with_normals().normals
    assert normals is not None
    return replace(mesh, normals=normals[index])


def placed(cameras: Sequence[Camera], suffix: str, up: str = "auto", scale: float = 1.0) -> tuple[Similarity, str]:
    """file_from_source: scale, and the turn that brings the scene's up to the file's; and both in words.

    cameras  in the source
    up       "y", "z", "keep", or "auto" for what the format expects
    """
    up = UPS.get(suffix, "keep") if up == "auto" else up
    turn, words = torch.eye(3, dtype=torch.float64), "axes of the source"
    if up != "keep":
        # Photos are mostly taken upright: up is the source axis nearest to the cameras' mean up.
        mean = -torch.stack([c.world_from_camera[:3, 1] for c in cameras]).mean(0)
        axis = int(mean.abs().argmax())
        up_source = torch.nn.functional.one_hot(torch.tensor(axis), 3).double() * (1 if mean[axis] > 0 else -1)
        turn = quarter_turn(up_source, AXES[up])
        words = f"{up} up"
    return Similarity(scale, turn, torch.zeros(3)), words


def quarter_turn(a: Tensor, b: Tensor) -> Tensor:
    """The quarter turn (or half turn, or none) [3, 3] that brings axis a to axis b."""
    if float(a @ b) > 0.5:
        return torch.eye(3, dtype=torch.float64)
    axis = torch.linalg.cross(a, b)
    if float(a @ b) < -0.5:  # half a turn around any other axis
        axis = torch.roll(b, 1)
        return 2 * torch.outer(axis, axis) - torch.eye(3, dtype=torch.float64)
    k = torch.zeros(3, 3, dtype=torch.float64)
    k[0, 1], k[0, 2], k[1, 2] = -axis[2], axis[1], -axis[0]
    k = k - k.T
    return torch.eye(3, dtype=torch.float64) + k + k @ k
