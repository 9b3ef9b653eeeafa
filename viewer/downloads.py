"""Files for the browser: splats in any format of ``recon.export``, and pictures.

File names are made here from the page's title and a known suffix; nothing that a browser sends becomes part of a path.
"""

from __future__ import annotations

import io
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recon.errors import InputError
from recon.export import splat_suffixes, write_splats
from recon.types import Gaussians, Similarity

if TYPE_CHECKING:
    from recon.fit.session import Session
    from recon.viewer.crop import Crop
    from recon.viewer.page import Page
    from recon.viewer.stream import Watcher


def file_name(title: str, suffix: str) -> str:
    """"photos/fox", ".ply" -> "fox.ply"; never a path."""
    stem = re.sub(r"[^\w.-]+", "_", title.rpartition("/")[2]).strip("._") or "scene"
    return stem[:80] + suffix


def splats(session: Session, page: Page, suffix: str, crop: Crop | None, export_from_world: Similarity | None = None,
           **options: Any) -> tuple[str, bytes, tuple[str, ...]]:
    """(file name, content, what the format cannot hold) of the scene as it is now, in the coordinates of the source
    or those of ``export_from_world``. ``options`` are those of the format.

    The copy is taken between two steps; writing does not hold the fit up. In a run folder the file is also kept, in
    ``exports/``. Raises InputError for an unknown suffix and where the crop box is empty.
    """
    if suffix not in splat_suffixes("write"):
        raise InputError(f'"{suffix}" is no format that can be written')
    whole = session.ask(lambda: snapshot(session.shown.field)).result(60)
    chosen = whole if crop is None else crop.gaussians(whole)
    if len(chosen) == 0:
        raise InputError("nothing is inside the crop box", fix="Make it larger, or switch it off.")
    name = file_name(page.title, suffix)
    moved = chosen.transformed(export_from_world or page.world_from_source.inverse())
    if page.folder is not None:
        path = page.folder / "exports" / name
        notes = write_splats(path, moved, **options)
        return name, path.read_bytes(), notes
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        notes = write_splats(path, moved, **options)
        return name, path.read_bytes(), notes


def snapshot(field: Any) -> Gaussians:
    """A copy of what the field shows now. Called on the session's thread."""
    g = field.gaussians()
    return Gaussians(**{n: t.detach().clone() for n, t in g.tensors.items()}, antialiased=g.antialiased)


def picture(watcher: Watcher) -> tuple[str, bytes]:
    """(file name, PNG) of what the watcher sees, drawn anew at the full size of its window."""
    from PIL import Image

    session = watcher.session
    shown, pixels = watcher.last, watcher.pixels
    watcher.pixels = 1 << 24
    try:
        camera = watcher.camera()
    finally:
        watcher.pixels = pixels
    if shown is None:
        raise InputError("there is no picture yet")
    look = shown.look
    render = session.ask(lambda: session.shown.draw(camera, look.want, look.edit)).result(60)
    from recon.fit.session import Picture

    out = io.BytesIO()
    painted = watcher.stream.painted(watcher, Picture(look, camera, render, session.step, True, 0.0))
    Image.fromarray(painted).save(out, format="PNG")
    return file_name(watcher.page.title, f"_{watcher.channel}.png"), out.getvalue()
