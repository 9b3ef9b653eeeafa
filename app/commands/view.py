"""recon view: a scene in the browser."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from recon.app import command_line
from recon.app.command_line import flag, option


@dataclass(frozen=True)
class Arguments:
    """Look at a run, a splat file, a mesh or the photos of a scene in the browser.

    Examples:
      recon view runs/fox-gaussians-01
      recon view garden.spz
      recon view statue.glb
      recon fit photos/ --view          to watch while fitting

    The page is for this machine only. With --host it can be opened from elsewhere; its address then holds a token.
    """

    # run folder, splat file or mesh made by any program, or a scene (its points and where the photos were taken)
    source: tyro.conf.Positional[Annotated[str, option("RUN|FILE|SCENE")]]

    # port of the page, 0 for any that is free
    port: Annotated[int, option("N", "8080")] = 8080

    # address to listen on; 0.0.0.0 for all networks of this machine
    host: Annotated[str, option("ADDRESS", "127.0.0.1, this machine only")] = "127.0.0.1"

    # open the browser too
    open: Annotated[bool, flag()] = False


def run(argv: Sequence[str]) -> int:
    arguments = command_line.parse(Arguments, argv, prog="recon view")
    from recon.app import reporters, sources, viewing

    viewing.check_options(arguments.port, 0.2)
    reporter = reporters.make(quiet=False, json_lines=False)
    session, page = sources.open_source(Path(arguments.source).expanduser(), reporter)
    viewer = viewing.open_viewer(session, page, arguments.host, arguments.port, reporter)
    session.start()
    reporter.line("", "Ctrl-C ends it.")
    try:
        if arguments.open:
            import webbrowser

            webbrowser.open(viewer.url)
        viewing.sleep()
    except KeyboardInterrupt:
        print()
    finally:
        viewer.close()
        session.close()
    return 0
