"""The big button: the scene, or the picture, as a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from recon.errors import InputError
from recon.export import splat_suffixes
from recon.viewer import downloads
from recon.viewer.panels.mesh import content_of

if TYPE_CHECKING:
    from recon.viewer.server import Viewer

ORDER = 30
FIRST = (".ply", ".spz", ".splat", ".html")
MESHES = (".glb", ".obj", ".stl")


class Panel:
    def __init__(self, viewer: Viewer) -> None:
        self.viewer, gui = viewer, viewer.server.gui
        known = splat_suffixes("write") if hasattr(viewer.session.shown.field, "gaussians") else ()
        ordered = [s for s in FIRST if s in known] + [s for s in known if s not in FIRST]
        meshes = MESHES if viewer.page.mesh is not None or viewer.page.make_mesh is not None else ()
        names = (*(s[1:] for s in (*ordered, *meshes)), "png")
        self.format = gui.add_dropdown("Format", names, initial_value=names[0], order=21)
        self.button = gui.add_button("Export", color="blue", order=20,
                                     hint="Sends the scene, or what you see as png, to this browser (E)")
        self.button.on_click(viewer.guard(self._export))
        gui.add_command("Export", hotkey="E").on_trigger(viewer.guard(self._export))

    def _export(self, event: Any) -> None:
        viewer, client = self.viewer, event.client
        kind = str(self.format.value)
        if kind == "png":
            name, content = downloads.picture(viewer.watcher(event))
            notes: tuple[str, ...] = ()
        elif "." + kind in MESHES:
            name, content, notes = self._mesh("." + kind)
        else:
            crop = next((p.crop for p in viewer.panels if hasattr(p, "crop")), None)
            frame = next((p.export_from_world for p in viewer.panels if hasattr(p, "export_from_world")), None)
            name, content, notes = downloads.splats(viewer.session, viewer.page, "." + kind, crop, frame)
        client.send_file_download(name, content, save_immediately=True)
        stays = viewer.page.folder is not None and "." + kind in splat_suffixes("write")
        kept = f"; also in {viewer.page.folder}/exports/" if stays else ""
        client.add_notification(name, f"{len(content) / 1e6:.1f} MB{kept}" + "".join(f"\n{n}" for n in notes),
                                auto_close_seconds=8.0)

    def _mesh(self, suffix: str) -> tuple[str, bytes, tuple[str, ...]]:
        viewer = self.viewer
        panel = next(p for p in viewer.panels if hasattr(p, "make"))
        crop = next((p.crop for p in viewer.panels if hasattr(p, "crop")), None)
        frame = next((p.export_from_world for p in viewer.panels if hasattr(p, "export_from_world")), None)
        mesh = panel.get()
        if crop is not None:
            mesh = mesh.select(crop.inside(mesh.corners.reshape(-1, 3)).view(-1, 3).all(1))
            if len(mesh) == 0:
                raise InputError("nothing is inside the crop box", fix="Make it larger, or switch it off.")
        name = downloads.file_name(viewer.page.title, suffix)
        file_from_world = viewer.page.mesh_frame(suffix, frame or viewer.page.world_from_source.inverse())
        return name, content_of(suffix, mesh.transformed(file_from_world)), ()
