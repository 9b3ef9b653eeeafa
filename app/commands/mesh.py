"""recon mesh: the surface of a scene as triangles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from recon.app import command_line
from recon.app.command_line import flag, option
from recon.errors import InputError

if TYPE_CHECKING:
    from recon.mesh.check import MeshReport
    from recon.types import Mesh

FACES = 60_000  # of a mesh with a texture: unwrapping takes long, and the texture holds the detail


@dataclass(frozen=True)
class Arguments:
    """Turn a run into a mesh for Blender, games, printing: .glb, .obj, .usdz, .ply or .stl.

    Examples:
      recon mesh runs/fox-gaussians-01 fox.glb
      recon mesh runs/fox-gaussians-01 fox.obj --resolution 384 --box -1,-1,0,1,1,2
      recon mesh runs/fox-gaussians-01 fox.glb --texture 2048 --faces 40000

    Runs with a distance (neus, volsdf) give their own surface. Of others, depth as seen from the cameras of the photos
    is fused into a grid, and the surface taken from there, with colours.
    """

    # run folder
    run: tyro.conf.Positional[Annotated[str, option("RUN")]]

    # the file to write: out.glb, out.obj, out.usdz, out.ply or out.stl
    out: tyro.conf.Positional[Annotated[str, option("OUT")]]

    # grid cells along the longest side of the box; detail costs memory and time
    resolution: Annotated[int, option("N", "256, less where memory is short")] = 256

    # what to mesh, in coordinates of the source: x0,y0,z0,x1,y1,z1
    box: Annotated[str | None, option("NUMBERS", "around what the photos show")] = None

    # parts smaller than this share of the largest part's surface are dropped; 1 keeps the largest alone
    smallest_part: Annotated[float, option("SHARE", "0.001")] = 0.001

    # holes of no more area than a round one of so many edges are closed; 0 leaves them
    fill_holes: Annotated[int, option("N", "60")] = 60

    # cut the object out by the masks of the photos: object, off, or auto (as in the fit)
    masks: Annotated[Literal["auto", "object", "off"], option("HOW", "auto")] = "auto"

    # a texture of so many texels along a side, in place of colours of vertices; needs the extra "mesh"
    texture: Annotated[int, option("N", "0, no texture")] = 0

    # what the texture shows: photos, fit (its pictures of them), or auto: photos unless it corrected their exposure
    colours: Annotated[Literal["auto", "photos", "fit"], option("WHAT", "auto")] = "auto"

    # at most about so many faces; needs the extra "mesh"
    faces: Annotated[int | None, option("N", "all; 60,000 with a texture")] = None

    # the axis that points up in the file: y, z, or keep (coordinates of the source)
    up: Annotated[Literal["auto", "keep", "y", "z"], option("AXIS", "as the format expects")] = "auto"

    # multiplies all lengths in the file
    scale: Annotated[float, option("X", "1")] = 1.0

    # look for faces that cut each other and say how many
    check: Annotated[bool, flag()] = False

    # how: flexicubes and marching_cubes need a run with a distance (neus, volsdf), tsdf fuses depth
    mesher: Annotated[Literal["auto", "flexicubes", "marching_cubes", "tsdf"], option("HOW", "auto")] = "auto"

    # close the surface everywhere, also where nothing was seen; says how much of it is guessed
    watertight: Annotated[bool, flag()] = False

    # surface that no two photos show, which runs with a distance make up (neus, volsdf): keep or drop; auto keeps it
    # of masked objects, smoothed
    unseen: Annotated[Literal["auto", "keep", "drop"], option("WHAT", "auto")] = "auto"

    # replace OUT where it exists
    overwrite: Annotated[bool, flag()] = False


def run(argv: Sequence[str]) -> int:
    arguments = command_line.parse(Arguments, argv, prog="recon mesh")
    out = _checked_out(arguments)
    from recon.app.api import load
    from recon.app.meshing import placed, welded
    from recon.app.sizes import format_bytes
    from recon.export import write_mesh
    from recon.mesh.check import check

    scene = load(arguments.run)
    if scene.saved is None:
        raise InputError("is a splat file, which does not hold the cameras that depth is taken from", file=scene.path,
                         fix="Give the folder of a run.")
    mesh, notes = _surface(scene, arguments)
    report = check(welded(mesh), intersections=arguments.check)
    similarity, where = placed(scene.cameras, out.suffix.lower(), arguments.up, arguments.scale)
    notes += write_mesh(out, mesh.transformed(similarity))
    for note in (*scene.warnings, *notes):
        print(f"Note        {note}")
    print(f"Meshed      {out}   {_described(report, arguments.check)}, {where}, {format_bytes(out.stat().st_size)}")
    return 0


def _checked_out(arguments: Arguments) -> Path:
    """The file to write; everything that can be wrong with the command line is said before the work begins."""
    from recon.app.atomic import check_writable
    from recon.export import mesh_suffixes

    out = Path(arguments.out).expanduser()
    if out.suffix.lower() not in mesh_suffixes("write"):
        raise InputError(f'"{out.suffix or out.name}" is not a mesh format that can be written',
                         fix=f"Name the file with one of: {', '.join(mesh_suffixes('write'))}")
    if out.exists() and not arguments.overwrite:
        raise InputError("already exists", file=out, fix="Add --overwrite, or choose another name.")
    if not 16 <= arguments.resolution <= 2048:
        raise InputError(f"--resolution {arguments.resolution} is out of range", fix="Give 16 to 2048.")
    if arguments.texture != 0 and not 64 <= arguments.texture <= 8192:
        raise InputError(f"--texture {arguments.texture} is out of range", fix="Give 64 to 8192, or 0 for none.")
    if arguments.faces is not None and not 100 <= arguments.faces <= 100_000_000:
        raise InputError(f"--faces {arguments.faces} is out of range", fix="Give 100 or more.")
    if arguments.texture and out.suffix.lower() in (".ply", ".stl"):
        raise InputError(f"{out.suffix} files hold no texture", fix="Name the file .glb, .obj or .usdz.")
    if arguments.colours != "auto" and not arguments.texture:
        raise InputError("--colours is for a texture", fix="Add --texture 2048, or leave it out.")
    if not 0 <= arguments.smallest_part <= 1:
        raise InputError(f"--smallest_part {arguments.smallest_part:g} is out of range", fix="Give 0 to 1.")
    if not 1e-9 <= arguments.scale <= 1e9:
        raise InputError(f"--scale {arguments.scale:g} is out of range", fix="Give a positive number.")
    _box(arguments.box)
    check_writable(out.parent)
    return out


def _box(text: str | None) -> Any:
    if text is None:
        return None
    import torch

    try:
        numbers = [float(x) for x in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != 6 or not all(abs(n) < 1e30 for n in numbers) or any(
            a >= b for a, b in zip(numbers[:3], numbers[3:])):
        raise InputError(f'--box "{text}" is not a box', fix="Give six numbers, low corner first: -1,-1,0,1,1,2")
    return torch.tensor(numbers, dtype=torch.float64).reshape(2, 3)


def _surface(scene: Any, arguments: Arguments) -> tuple[Mesh, tuple[str, ...]]:
    """The mesh in the coordinates of the source, and what is to be said about it."""
    import torch

    from recon.app import meshing, object_masks, run_photos

    cameras = [v.camera for v in scene.saved.subset("train")] or [v.camera for v in scene.saved.views]

    def render(camera: Any) -> Any:
        with torch.no_grad():
            return scene.renderer.render(scene.field, camera, want=meshing.WANTED, background=scene.background)

    faces = arguments.faces if arguments.faces is not None else FACES * (arguments.texture > 0)
    how = meshing.Meshing(arguments.resolution, _box(arguments.box), arguments.smallest_part, arguments.fill_holes,
                          faces, arguments.texture, arguments.mesher, arguments.watertight,
                          arguments.unseen)
    masks = object_masks.wanted(scene, arguments.masks, cameras)
    photos, said = run_photos.wanted(scene, arguments.colours, masks) if arguments.texture else (None, ())
    mesh, notes = meshing.surface(object_masks.cut_out(render, masks), cameras, scene.saved.world_from_source,
                                  has_alpha=scene.saved.has_alpha or bool(masks), meshing=how,
                                  field=scene.surface_field, photos=photos)
    return mesh, notes + said


def _described(report: MeshReport, looked: bool) -> str:
    text = str(report)
    return f"{text}, no self-intersections" if looked and not report.self_intersections else text
