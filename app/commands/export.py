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
    """Write a run or a splat file as .ply, .splat or .spz, or as a web page to look at it.

    Examples:
      recon export runs/fox-gaussians-01 fox.spz
      recon export old.ply small.splat
      recon export runs/fox-gaussians-01 fox.html

    Coordinates are those of the source; the suffix names the format.
    """

    # run folder, or a splat file made by any program
    source: tyro.conf.Positional[Annotated[str, option("RUN|FILE")]]

    # the file to write: out.ply (everything, large), out.spz (small, keeps view-dependent colour), out.splat (no
    # view-dependent colour), out.html (one page with a viewer inside, opens in any browser without a network)
    out: tyro.conf.Positional[Annotated[str, option("OUT")]]

    # replace OUT where it exists
    overwrite: Annotated[bool, flag()] = False


def run(argv: Sequence[str]) -> int:
    arguments = command_line.parse(Arguments, argv, prog="recon export")
    from recon.app.api import load
    from recon.app.sizes import format_bytes
    from recon.export import splat_suffixes

    out = Path(arguments.out).expanduser()
    if out.suffix.lower() not in splat_suffixes("write"):
        raise InputError(f'"{out.suffix or out.name}" is not a format that can be written',
                         fix=f"Name the file with one of: {', '.join(splat_suffixes('write'))}")
    if out.exists() and not arguments.overwrite:
        raise InputError("already exists", file=out, fix="Add --overwrite, or choose another name.")
    scene = load(arguments.source)
    warnings = (*scene.warnings, *scene.export(out))
    for warning in warnings:
        print(f"Note        {warning}")
    print(f"Exported    {out}   {len(scene.gaussians):,} Gaussians, {format_bytes(out.stat().st_size)}")
    return 0
