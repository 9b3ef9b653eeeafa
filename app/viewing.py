"""The viewer beside a fit: its options, its start and its end."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING

from recon.app.reporters import Reporter
from recon.errors import InputError

if TYPE_CHECKING:
    from recon.app.fitting import FitJob
    from recon.fit.events import Finished
    from recon.fit.session import Session
    from recon.viewer.page import Page
    from recon.viewer.server import Viewer


def check_options(port: int, share: float) -> None:
    if not 0 <= port < 65536:
        raise InputError(f"--port {port} is out of range", fix="Give 1 to 65535, or 0 for any free one.")
    if not 0.01 <= share <= 0.9:
        raise InputError(f"--view-share {share:g} is out of range", fix="Give 0.01 to 0.9, a part of the time.")


def open_viewer(session: Session, page: Page, host: str, port: int, report: Reporter) -> Viewer:
    """Starts the page and says where it is."""
    from recon.viewer.server import Viewer

    viewer = Viewer(session, page, host, port)
    report.line("View", viewer.url)
    if not viewer.local:
        report.warn(f"the page listens on {host}: whoever has this address, token included, sees the scene and can "
                    "stop the fit; the connection is not encrypted")
    return viewer


def follow_with_view(job: FitJob, host: str, port: int, share: float) -> Finished:
    """``fitting.follow`` with a page. At the end the page stays for as long as a browser is open on it."""
    from recon.app.fitting import follow
    from recon.app.pages import page_of_job
    from recon.fit.session import Session

    session = Session.of_fit(job.fit, job.events, share)
    viewer = open_viewer(session, page_of_job(job), host, port, job.reporter)
    try:
        session.start()
        finished = follow(job, session.events())
        if viewer.watchers and not job.stopped:
            job.reporter.line("View", "The page stays until it is closed; Ctrl-C ends it too.")
            try:
                viewer.wait_until_alone()
            except KeyboardInterrupt:
                print(file=sys.stderr)
        return finished
    finally:
        viewer.close()
        session.close()  # also where the fit failed: its thread must not run on while the program ends


def sleep() -> None:
    """Until Ctrl-C."""
    forever = threading.Event()
    while not forever.wait(3600):
        pass
