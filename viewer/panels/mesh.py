"""The surface as triangles: made on demand, shown over the picture or alone, and exported."""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from recon.errors import InputError
from recon.export import write_mesh
from recon.viewer.crop import Frozen
from recon.viewer.downloads import snapshot

if TYPE_CHECKING:
    from collections.abc import Callable

    from recon.types import Camera, Mesh, Render
    from recon.viewer.crop import Crop
    from recon.viewer.server import News, Viewer

ORDER = 58
WANTED = ("rgb", "depth", "opacity", "surface", "spread")  # the last two where the renderer has them


class Panel:
    def __init__(self, viewer: Viewer) -> None:
        self.viewer, page, gui = viewer, viewer.page, viewer.server.gui
        self.mesh: Mesh | None = None
        self.handle: Any = None
        self._cut_by: Crop | None = None
        self._cut_anew = False
        self._making = threading.Lock()
        self.possible = page.mesh is not None or page.make_mesh is not None
        if not self.possible:
            return
        with gui.add_folder("Mesh", expand_by_default=page.mesh is not None, order=57):
            self.words = gui.add_markdown("")
            self.make = gui.add_button("Make a mesh", visible=page.make_mesh is not None,
                                       hint="Fuses what the photos' cameras see; the fit is slower meanwhile")
            self.visible = gui.add_checkbox("Show the mesh", True, visible=False)
            self.wireframe = gui.add_checkbox("Edges only", False, visible=False)
        self.make.on_click(viewer.guard(lambda _: self.get(anew=True)))
        self.visible.on_update(viewer.guard(lambda _: self._draw()))
        self.wireframe.on_update(viewer.guard(lambda _: self._draw()))
        if page.mesh is not None:
            self._show(page.mesh, ())

    def get(self, anew: bool = False) -> Mesh:
        """The mesh in the world; it is made where there is none yet. Raises InputError where none can be made."""
        if self.mesh is not None and not anew:
            return self.mesh
        page, session = self.viewer.page, self.viewer.session
        if page.make_mesh is None:
            raise InputError("this scene has no cameras that depth could be taken from")
        if not self._making.acquire(blocking=False):
            raise InputError("a mesh is being made already", fix="Wait for it.")
        try:
            self.words.content = "Taking depth from the cameras …"
            edit = self._still()

            def render(camera: Camera) -> Render:
                return session.ask(lambda: session.shown.draw(camera, WANTED, edit)).result(60)

            with torch.no_grad():
                mesh, notes = page.make_mesh(render)
            self._show(mesh, notes)
            return mesh
        except BaseException:
            self.words.content = "No mesh was made."
            raise
        finally:
            self._making.release()

    def _still(self) -> Callable[[Any], Any] | None:
        """What is drawn for all cameras: a copy where there are Gaussians, else the field, which must not change."""
        session = self.viewer.session
        if hasattr(session.shown.field, "gaussians"):
            frozen = session.ask(lambda: Frozen(snapshot(session.shown.field))).result(60)
            return lambda _: frozen
        if session.fit is not None and session.running and not session.paused:
            raise InputError("this scene changes while it is meshed", fix="Pause the fit first.")
        return None

    def _show(self, mesh: Mesh, notes: tuple[str, ...]) -> None:
        self.mesh = mesh
        self.words.content = "  \n".join((f"{len(mesh):,} triangles, {len(mesh.vertices):,} vertices", *notes))
        self.visible.visible = self.wireframe.visible = True
        self._draw()

    def cropped(self, crop: Crop | None) -> None:
        """Called when the crop box changes. What is shown is cut at the next tick, not at every movement."""
        self._cut_by, self._cut_anew = crop, True

    def tick(self, news: News) -> None:
        if self._cut_anew:
            self._cut_anew = False
            self._draw()

    def _draw(self) -> None:
        if self.mesh is None:
            return
        scene = self.viewer.server.scene
        if self.handle is not None:
            self.handle.remove()
            self.handle = None
        if not self.visible.value:
            return
        try:
            shown = self.mesh if self._cut_by is None else self._cut_by.mesh(self.mesh)
        except InputError:  # nothing is inside
            return
        if self.wireframe.value or (shown.colours is None and shown.texture is None):
            self.handle = scene.add_mesh_simple(
                "/mesh", shown.vertices.numpy(), shown.faces.numpy(), color=(180, 190, 205),
                wireframe=self.wireframe.value, side="double", cast_shadow=False, receive_shadow=False)
        else:
            self.handle = scene.add_glb("/mesh", content_of(".glb", shown), cast_shadow=False, receive_shadow=False)


def content_of(suffix: str, mesh: Mesh) -> bytes:
    """The mesh as a file of that kind."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"mesh{suffix}"
        write_mesh(path, mesh)
        return path.read_bytes()
