"""recon methods: what there is, and every setting of it."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from recon.app import catalogue, command_line
from recon.app.command_line import option


@dataclass(frozen=True)
class Arguments:
    """List the methods, or show every setting of one.

    Examples:
      recon methods
      recon methods gaussians --preset quality
    """

    # the method to explain
    name: tyro.conf.Positional[Annotated[str | None, option("NAME")]] = None

    # whose defaults to show
    preset: Annotated[str, option("NAME", "balanced")] = catalogue.DEFAULT_PRESET


def run(argv: Sequence[str]) -> int:
    arguments = command_line.parse(Arguments, argv, prog="recon methods")
    if arguments.name is None:
        for name in catalogue.names():
            about = catalogue.method(name)
            print(f"{name:<18}{about.title}")
            if about.reference:
                print(textwrap.indent(textwrap.fill(about.reference, max(40, _columns() - 18)), " " * 18))
        print("\nEvery setting of one: recon methods NAME")
        return 0
    from recon.app.settings import describe

    about = catalogue.method(arguments.name)
    system = catalogue.load(arguments.name, arguments.preset)
    print(f"{about.name}: {about.text}\n")
    print(f"Presets: {', '.join(catalogue.presets(arguments.name))}. Settings of preset {arguments.preset}, to be "
          f"given as\n  recon fit SCENE --method {about.name} --name value\n")
    rows = list(describe(system))
    names = max(len(row.name) for row in rows) + 2
    defaults = min(24, max(len(row.default) for row in rows) + 2)
    for row in rows:
        head = f"{'--' + row.name:<{names + 2}}{row.default:<{defaults}}"
        wide = max(20, _columns() - len(head))
        lines = textwrap.wrap(row.help, wide) or [""]
        print((head + lines[0]).rstrip())
        for line in lines[1:]:
            print(" " * (names + 2 + defaults) + line)
    return 0


def _columns() -> int:
    return min(120, shutil.get_terminal_size((120, 24)).columns)
