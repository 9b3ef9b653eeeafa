"""The big button: the scene, or the picture, as a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from recon.export import DECLARE_UP, splat_suffixes
from recon.viewer import downloads
from recon.viewer.panels.mesh import content_of

if TYPE_CHECKING:
    from recon.types import Similarity
    from recon.viewer.crop import Crop
    from recon.viewer.server import Viewer
    from recon.viewer.stream import Watcher

ORDER = 30
FIRST = (".ply", ".spz", ".splat", ".html")
MESHES = (".glb", ".obj", ".stl")


class Panel:
    def __init__(self, viewer: Viewer) -> None:
        self.viewer, gui = viewer, viewer.server.gui
        known = splat_suffixes("write") if hasattr(viewer.session.shown.field, "gaussians") else ()
        ordered = [s for s in FIRST if s in known] + [s for s in known if s not in FIRST]
        meshes: tuple[str, ...] = MESHES if viewer.page.mesh is not None or viewer.page.make_mesh is not None else ()
        self.pages_of_meshes = not known  # else a page holds the splats, and the mesh where there is one
        if meshes and self.pages_of_meshes:
            meshes = (*meshes, ".html")
        self.splats = {s[1:] if s not in meshes else f"{s[1:]} (splats)": s for s in ordered}  # by name in the list
        names = (*self.splats, *(s[1:] for s in meshes), "png")
        self.format = gui.add_dropdown("Format", names, initial_value=names[0], order=21)
        self.button = gui.add_button("Export", color="blue", order=20,
                                     hint="Sends the scene, or what you see as png, to this browser (X)")
        self.button.on_click(viewer.guard(self._export))
        gui.add_command("Export", hotkey="X").on_trigger(viewer.guard(self._export))

    def _export(self, event: Any) -> None:
        viewer, client = self.viewer, event.client
        chosen = str(self.format.value)
        splats = chosen in self.splats
        suffix = self.splats[chosen] if splats else f".{chosen}"
        crop = next((p.crop for p in viewer.panels if hasattr(p, "crop")), None)
        frame = next((p.export_from_world for p in viewer.panels if hasattr(p, "export_from_world")), None)
        export_from_world = frame or viewer.page.world_from_source.inverse()
        notes: tuple[str, ...] = ()
        if suffix == ".png":
            name, content = downloads.picture(viewer.watcher(event))
        elif not splats:
            name, content = self._mesh(suffix, crop, export_from_world)
        else:
            extras = self._page(viewer.watcher(event), crop, export_from_world) if suffix == ".html" else {}
            if suffix in DECLARE_UP:
                export_from_world = viewer.page.mesh_frame(suffix, export_from_world)
            name, content, notes = downloads.splats(viewer.session, viewer.page, suffix, crop, export_from_world,
                                                    **extras)
        client.send_file_download(name, content, save_immediately=True)
        kept = f"; also in {viewer.page.folder}/exports/" if viewer.page.folder is not None and splats else ""
        client.add_notification(name, f"{len(content) / 1e6:.1f} MB{kept}" + "".join(f"\n{n}" for n in notes),
                                auto_close_seconds=8.0)

    def _mesh(self, suffix: str, crop: Crop | None, export_from_world: Similarity) -> tuple[str, bytes]:
        viewer = self.viewer
        panel = next(p for p in viewer.panels if hasattr(p, "make"))
        mesh = panel.get() if crop is None else crop.mesh(panel.get())
        name = downloads.file_name(viewer.page.title, suffix)
        return name, content_of(suffix, mesh.transformed(viewer.page.mesh_frame(suffix, export_from_world)))

    def _page(self, watcher: Watcher, crop: Crop | None, export_from_world: Similarity) -> dict[str, Any]:
        """What a page to share holds besides the splats: it opens where this browser stands."""
        viewer, shown = self.viewer, self.viewer.session.shown
        up = next((p.up for p in viewer.panels if hasattr(p, "up")), viewer.page.up).double()
        mesh = next((p.mesh for p in viewer.panels if hasattr(p, "make")), None)
        return {
            "cameras": [export_from_world.camera(v.camera) for v in viewer.page.views],
            "start": export_from_world.camera(watcher.camera()), "up": (export_from_world.rotation @ up).tolist(),
            "background": shown.background.tolist(), "title": viewer.page.title,
            "near": getattr(shown.renderer, "near", 0.02) * export_from_world.scale,
            "mesh": None if mesh is None else (crop.mesh(mesh) if crop else mesh).transformed(export_from_world),
        }
