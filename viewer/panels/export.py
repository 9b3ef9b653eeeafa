"""The big button: the scene, or the picture, as a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from recon.export import splat_suffixes
from recon.viewer import downloads

if TYPE_CHECKING:
    from recon.viewer.server import Viewer

ORDER = 30
FIRST = (".ply", ".spz", ".splat")


class Panel:
    def __init__(self, viewer: Viewer) -> None:
        self.viewer, gui = viewer, viewer.server.gui
        known = splat_suffixes("write")
        ordered = [s for s in FIRST if s in known] + [s for s in known if s not in FIRST]
        names = (*(s[1:] for s in ordered), "png")
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
        else:
            crop = next((p.crop for p in viewer.panels if hasattr(p, "crop")), None)
            frame = next((p.export_from_world for p in viewer.panels if hasattr(p, "export_from_world")), None)
            name, content, notes = downloads.splats(viewer.session, viewer.page, "." + kind, crop, frame)
        client.send_file_download(name, content, save_immediately=True)
        kept = f"; also in {viewer.page.folder}/exports/" if viewer.page.folder is not None and kind != "png" else ""
        client.add_notification(name, f"{len(content) / 1e6:.1f} MB{kept}" + "".join(f"\n{n}" for n in notes),
                                auto_close_seconds=8.0)
