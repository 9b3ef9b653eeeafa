"""recon export: the scene as a file for other programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from recon.app import command_line
from recon.app.command_line import flag, option
from recon.errors import InputError


@dataclass(frozen=True)
class Arguments:
    """Write a run or a splat file as .ply, .spz, .glb ..., or as a web page to look at it; meshes likewise.

    Examples:
      recon export runs/fox-gaussians-01 fox.spz
      recon export old.ply small.splat
      recon export runs/fox-gaussians-01 fox.html
      recon export runs/fox-gaussians-01 fox.html --mesh surface.ply
      recon export statue.glb statue.html

    Coordinates are those of the source; the suffix names the format.
    """

    # run folder, or a splat file or mesh made by any program
    source: tyro.conf.Positional[Annotated[str, option("RUN|FILE")]]

    # the file to write: out.ply (everything, large), out.spz (small, keeps view-dependent colour), out.splat (no
    # view-dependent colour), out.glb or out.usdz (for programs that know Gaussians in glTF or USD; y up), out.html (one
    # page with a viewer inside, opens in any browser without a network)
    out: tyro.conf.Positional[Annotated[str, option("OUT")]]

    # for .html: a mesh of the same scene, made with recon mesh RUN FILE --up keep; a button switches to it
    mesh: Annotated[str | None, option("FILE")] = None

    # replace OUT where it exists
    overwrite: Annotated[bool, flag()] = False


def run(argv: Sequence[str]) -> int:
    arguments = command_line.parse(Arguments, argv, prog="recon export")
    from recon.app.sources import is_mesh
    from recon.export import mesh_suffixes, splat_suffixes

    source, out = Path(arguments.source).expanduser(), Path(arguments.out).expanduser()
    meshed = is_mesh(source)
    known = mesh_suffixes("write") if meshed else splat_suffixes("write")
    if out.suffix.lower() not in known:
        raise InputError(f'"{out.suffix or out.name}" is not a format that can be written',
                         fix=f"Name the file with one of: {', '.join(known)}")
    if arguments.mesh is not None and (meshed or out.suffix.lower() != ".html"):
        raise InputError("--mesh is for a page with Gaussians and triangles",
                         fix="Use it with a run or splat file and OUT.html, or leave it out.")
    if out.exists() and not arguments.overwrite:
        raise InputError("already exists", file=out, fix="Add --overwrite, or choose another name.")
    warnings, count = _export_mesh(source, out) if meshed else _export_splats(arguments, out)
    from recon.app.sizes import format_bytes

    for warning in warnings:
        print(f"Note        {warning}")
    print(f"Exported    {out}   {count}, {format_bytes(out.stat().st_size)}")
    return 0


def _export_splats(arguments: Arguments, out: Path) -> tuple[tuple[str, ...], str]:
    from recon.app.api import load
    from recon.export import read_mesh

    scene = load(arguments.source)
    mesh = None if arguments.mesh is None else read_mesh(arguments.mesh)
    return (*scene.warnings, *scene.export(out, mesh=mesh)), f"{len(scene.gaussians):,} Gaussians"


def _export_mesh(source: Path, out: Path) -> tuple[tuple[str, ...], str]:
    """One mesh format to another; up stays up where both formats say which axis it is."""
    import torch

    from recon.app.meshing import AXES, UPS, quarter_turn
    from recon.export import read_mesh, write_mesh
    from recon.types import Similarity

    mesh = read_mesh(source)
    before, after = UPS.get(source.suffix.lower()), UPS.get(out.suffix.lower())
    if before and after:
        mesh = mesh.transformed(Similarity(1.0, quarter_turn(AXES[before], AXES[after]), torch.zeros(3)))
    return write_mesh(out, mesh), f"{len(mesh):,} triangles"
