"""The surface of a scene as triangles: its own, that of its distance, or depth of its cameras fused; cleaned, and
turned as a file format expects."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import torch

from recon.errors import InputError
from recon.mesh import tsdf
from recon.protocols import Meshed, Surfaced
from recon.types import Camera, Mesh, Similarity

if TYPE_CHECKING:
    from torch import Tensor

    from recon.app.run_photos import Photos
    from recon.types import Render

# The axis that points up, where the format or the programs that read it have one.
UPS = {".glb": "y", ".obj": "y", ".usdz": "y", ".stl": "z", ".html": "y"}
AXES = {name: torch.eye(3, dtype=torch.float64)[i] for i, name in enumerate("xyz")}
_STEEPEST = 2.0  # slope of a fitted distance
FIT_PIXELS = 12_000_000  # that a texture is fitted to at most: memory and time
WANTED = ("rgb", "depth", "opacity", "surface", "spread")  # the last two where the renderer has them


@dataclass(frozen=True)
class Meshing:
    """How to mesh.

    resolution     grid cells along the longest side of the box
    box            [2, 3] low and high corner in the source, or None: around what the cameras show
    smallest_part  parts smaller than this share of the largest part's surface are dropped
    fill_holes     holes of no more area than a round one of so many edges are closed
    faces          at most about so many faces; 0 keeps all
    texture        texels along a side of a texture; 0 for colours of vertices
    mesher         "flexicubes" and "marching_cubes" need a field with a distance, "tsdf" fuses depth; "auto" takes the
                   first that the field allows
    watertight     close what is still open
    unseen         of fields with a distance, what no two cameras saw: "keep" or "drop"; "auto" keeps it of masked
                   objects, smoothed, for outlines bound it, and drops it elsewhere; watertight keeps it too
    """

    resolution: int = 256
    box: Tensor | None = None
    smallest_part: float = 0.001
    fill_holes: int = 60
    faces: int = 0
    texture: int = 0
    mesher: Literal["auto", "flexicubes", "marching_cubes", "tsdf"] = "auto"
    watertight: bool = False
    unseen: Literal["auto", "keep", "drop"] = "auto"


def surface(render: Callable[[Camera], Render], cameras: Sequence[Camera], world_from_source: Similarity, *,
            has_alpha: bool, meshing: Meshing, field: Any = None, photos: Photos | None = None
            ) -> tuple[Mesh, tuple[str, ...]]:
    """The mesh in the coordinates of the source, and what is to be said about it.

    ``render`` draws the channels ``WANTED``; ``cameras`` are in the world; ``field`` may offer a distance; ``photos``
    of cameras are what a texture shows, where there are some.
    Raises InputError where there is no surface.
    """
    from recon.mesh.clean import part_sheets
    from recon.mesh.simplify import simplify

    notes: tuple[str, ...]
    box = None
    if meshing.box is not None:
        corners = torch.cartesian_prod(*meshing.box.T)  # a box of the source may lie turned in the frame of the fit
        moved = world_from_source.points(corners)
        box = torch.stack([moved.amin(0), moved.amax(0)])
    by_distance = isinstance(field, Surfaced) and meshing.mesher != "tsdf"
    if meshing.mesher not in ("auto", "tsdf") and not by_distance:
        raise InputError(f"--mesher {meshing.mesher} needs a run with a distance, and this one has none",
                         fix="Leave it out; or fit such a run: recon fit SCENE --method neus")
    if isinstance(field, Meshed) and meshing.mesher != "tsdf":
        mesh, notes = part_sheets(field.mesh()), ()
    elif by_distance:
        mesh, notes = _of_distance(field, box, meshing)
        mesh, said = _without_fringe(mesh, cameras, has_alpha, meshing)
        notes += said
    else:
        mesh, notes = _of_depth(render, cameras, box, has_alpha, meshing)
    mesh, said = _tidy(mesh, meshing)
    notes += said
    if meshing.watertight:
        mesh, said = _closed(mesh, meshing)
        notes += said
    if 0 < meshing.faces < len(mesh):
        fewer = simplify(mesh, meshing.faces)  # narrow tunnels and flaps have collapsed to crumbs and slits
        longer = (len(mesh) / len(fewer)) ** 0.5  # are edges now
        mesh, _ = _tidy(fewer, replace(meshing, fill_holes=round(meshing.fill_holes / longer)))
    if meshing.texture:
        mesh = _textured(mesh, render, cameras, meshing.texture, photos)
    return _smooth_normals(mesh.transformed(world_from_source.inverse())), notes


def _of_distance(field: Any, box: Tensor | None, meshing: Meshing) -> tuple[Mesh, tuple[str, ...]]:
    """The zero set of a field's distance, closed at the border of its box, with colours."""
    from recon.mesh import flexicubes, marching_cubes
    from recon.mesh.clean import drop_cavities
    from recon.mesh.grid import Grid

    low, high = field.surface_box
    if box is not None:
        low, high = torch.maximum(low, box[0]), torch.minimum(high, box[1])
        if not bool((low < high).all()):
            raise InputError("--box lies outside of what this run knows", fix="Leave it out, or give another.")

    def distance(x: Tensor) -> Tensor:
        inside = ((x > low) & (x < high)).all(1)
        value = field.distance(x)
        return torch.where(inside, value, value.abs().clamp_min(1e-4))

    mesher = marching_cubes if meshing.mesher == "marching_cubes" else flexicubes
    with torch.no_grad():
        grid = Grid.around(low, high, meshing.resolution)
        # fitted distances are a little steeper than true ones in places
        mesh = mesher.mesh_distance(distance, grid, values=grid.sample_distances(distance, slope=_STEEPEST))
        mesh, hollows = drop_cavities(mesh)
        colours = torch.cat([field.colour(x) for x in mesh.vertices.split(1 << 18)]).clamp(0, 1)
    notes = (f"{hollows:,} hollow{'s' if hollows > 1 else ''} inside dropped",) if hollows else ()
    return replace(mesh, colours=colours), notes


def _tidy(mesh: Mesh, meshing: Meshing) -> tuple[Mesh, tuple[str, ...]]:
    """Without small parts and small holes, and what was done."""
    from recon.mesh.clean import drop_small_parts
    from recon.mesh.holes import fill_holes

    notes: tuple[str, ...] = ()
    mesh, dropped = drop_small_parts(mesh, meshing.smallest_part)
    if dropped:
        notes += (f"{dropped:,} small part{'s' if dropped > 1 else ''} dropped",)
    if meshing.fill_holes > 0:
        mesh, filled = fill_holes(mesh, meshing.fill_holes)
        if filled:
            notes += (f"{filled:,} small hole{'s' if filled > 1 else ''} closed",)
    return mesh, notes


def _without_fringe(mesh: Mesh, cameras: Sequence[Camera], has_alpha: bool, meshing: Meshing
                    ) -> tuple[Mesh, tuple[str, ...]]:
    """What a fit made up where photos show nothing: smoothed where outlines bound it, else dropped."""
    from recon.mesh.visible import drop_unseen, smooth_unseen

    if meshing.unseen == "auto" and has_alpha:
        mesh, share = smooth_unseen(mesh, cameras)
        return mesh, (f"{share:.0%} of the surface smoothed, which no two photos show (--unseen drop leaves it out)",
                      ) if share >= 0.005 else ()
    if meshing.unseen == "keep" or (meshing.unseen == "auto" and meshing.watertight):
        return mesh, ()
    mesh, share = drop_unseen(mesh, cameras)
    return mesh, (f"{share:.0%} of the surface dropped, which no two photos show (--unseen keep leaves it)",
                  ) if share else ()


def _closed(mesh: Mesh, meshing: Meshing) -> tuple[Mesh, tuple[str, ...]]:
    """A watertight mesh, with the colours of the nearest vertices; or the mesh as it was and why not."""
    from recon.mesh.check import check
    from recon.mesh.clean import drop_small_parts
    from recon.mesh.poisson import closed_over
    from recon.ops.knn import nearest
    from recon.ops.triangles import Triangles

    if check(mesh).watertight:
        return mesh, ()
    whole, _ = drop_small_parts(closed_over(mesh, min(meshing.resolution, 256)), meshing.smallest_part)
    report = check(whole)
    if not report.watertight:
        return mesh, (f"it could not be made watertight: {report}",)
    if mesh.colours is not None:
        _, index = nearest(whole.vertices, mesh.vertices.contiguous())
        whole = replace(whole, colours=mesh.colours[index[:, 0].long()])
    away = whole.vertices - Triangles(mesh.vertices.contiguous(), mesh.faces).closest(whole.vertices)[0]
    cell = float((mesh.vertices.amax(0) - mesh.vertices.amin(0)).max()) / min(meshing.resolution, 256)
    guessed = float((away.norm(dim=1) > 2 * cell).double().mean())
    return whole, (f"closed by Poisson reconstruction: {guessed:.0%} of it is guessed, where there was no surface",)


def _of_depth(render: Callable[[Camera], Render], cameras: Sequence[Camera], box: Tensor | None, has_alpha: bool,
              meshing: Meshing) -> tuple[Mesh, tuple[str, ...]]:
    """Depth pictures fused to a surface that is open where nothing was seen."""
    import psutil

    from recon.mesh.grid import Grid

    low, high = tsdf.box_of_views(cameras, render) if box is None else box
    wanted = tsdf.TsdfSettings(resolution=meshing.resolution)
    if has_alpha:  # empty pixels clear away what floats, so that even unclear ones can be believed: fewer holes
        wanted = replace(wanted, empty=0.3, spread=0.15, views=1e-3)
    settings = tsdf.fit_to_memory(wanted, low, high, 0.5 * psutil.virtual_memory().available)
    notes: tuple[str, ...] = ()
    if settings.resolution < wanted.resolution:
        notes += (f"memory is short: resolution {settings.resolution} instead of {wanted.resolution}",)
    volume = tsdf.fuse(cameras, render, Grid.around(low, high, settings.resolution), settings)
    return tsdf.extract(volume, settings.views), notes


def _textured(mesh: Mesh, render: Callable[[Camera], Render], cameras: Sequence[Camera], size: int,
              photos: Photos | None) -> Mesh:
    """The mesh with a texture of what the cameras took, or else of what the fit shows them."""
    from recon.mesh.texture import Baking, bake, unwrap
    from recon.mesh.texture_fit import fit_texture

    pixels = sum(camera.width * camera.height for camera in cameras)
    every = -(-pixels // FIT_PIXELS)  # the fit looks at its views several times, so they are kept, and not all are
    kept: list[tuple[Camera, Tensor, Tensor | None]] = []

    def seen() -> Iterator[tuple[Camera, Tensor, Tensor | None]]:
        for index, camera in enumerate(cameras):
            taken = photos(camera) if photos is not None else None
            if taken is None:
                shown = render(camera)
                taken = shown.rgb.clamp(0, 1), shown.channel("opacity")
            if index % every == 0:
                kept.append((camera, *taken))
            yield camera, *taken

    baked = bake(unwrap(mesh, size), seen(), Baking(size))
    return fit_texture(baked, lambda: kept)


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
        downs = [c.world_from_camera[:3, 1] for c in cameras] or [AXES["y"]]  # files without cameras: y down, mostly
        mean = -torch.stack(downs).mean(0)
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
