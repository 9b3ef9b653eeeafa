"""recon bench fits: a table of finished runs, and their quality over time."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import tyro

from recon.app import command_line
from recon.app.command_line import flag, option
from recon.errors import InputError


@dataclass(frozen=True)
class Arguments:
    """A table of finished runs side by side, and a plot of their quality over time.

    Example:
      recon bench fits runs/fox runs/lego --plot fits.svg
    """

    # run folders
    runs: tyro.conf.Positional[Annotated[list[str], option("RUN...")]]

    # also draw PSNR over minutes, one panel a scene
    plot: Annotated[str | None, option("FILE.svg", "none")] = None

    # print JSON, with the curves
    json: Annotated[bool, flag()] = False


def run(argv: Sequence[str]) -> int:
    arguments = command_line.parse(Arguments, argv, prog="recon bench fits")
    from recon.app import atomic, curves, run_table

    if arguments.plot is not None and Path(arguments.plot).suffix.lower() != ".svg":
        raise InputError("can only be written as SVG", file=arguments.plot, fix="Name it something.svg.")
    rows = [run_table.read(path) for path in arguments.runs]
    print(json.dumps([asdict(row) for row in rows], indent=1) if arguments.json else run_table.table(rows))
    if arguments.plot is not None:
        panels = run_table.panels(rows)
        if not panels:
            raise InputError("none of these runs was measured on its way", fix="Give runs with held-out views.")
        atomic.write_text(Path(arguments.plot), curves.svg(panels))
    return 0
