"""A box, moved and turned with a gizmo: what is outside is neither shown nor exported."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from recon.viewer.crop import Crop, can_crop, level
from recon.viewer.stream import quaternion_from_rotation, rotation_from_quaternion

if TYPE_CHECKING:
    from recon.viewer.server import Viewer

ORDER = 60


class Panel:
    def __init__(self, viewer: Viewer) -> None:
        self.viewer, page, gui, scene = viewer, viewer.page, viewer.server.gui, viewer.server.scene
        self.crop: Crop | None = None
        field = viewer.session.shown.field
        if not can_crop(field) and page.mesh is None:
            with gui.add_folder("Crop", expand_by_default=False, order=55):
                gui.add_markdown("This kind of scene cannot be cropped.")
            return
        reach = max(float((page.start.centre - page.centre).norm()), 0.1)
        with gui.add_folder("Crop", expand_by_default=False, order=55):
            self.on = gui.add_checkbox("Crop to a box", False, hint="Pictures and exports hold only what is inside")
            self.size = gui.add_vector3("Size", (reach, reach, reach), min=(1e-3,) * 3, step=0.01)
        self.gizmo = scene.add_transform_controls(
            "/crop", scale=0.35 * reach, position=page.centre.numpy(), visible=False, depth_test=False,
            wxyz=quaternion_from_rotation(level(page.up)))
        self.box = scene.add_line_segments("/crop/box", _edges(), (255, 210, 60), thickness=1.5,
                                           thickness_units="screen", scale=(reach, reach, reach))
        for control in (self.on, self.size, self.gizmo):
            control.on_update(viewer.guard(self._changed))

    def _changed(self, _: Any) -> None:
        size = np.maximum(np.array(self.size.value, np.float64), 1e-3)
        self.gizmo.visible = self.on.value
        self.box.scale = tuple(size.tolist())
        self.crop = None
        if self.on.value:
            self.crop = Crop(torch.as_tensor(np.array(self.gizmo.position, np.float64)),
                             rotation_from_quaternion(self.gizmo.wxyz), torch.as_tensor(size))
        for watcher in list(self.viewer.watchers.values()):
            watcher.crop = self.crop
        for panel in self.viewer.panels:
            if hasattr(panel, "cropped"):
                panel.cropped(self.crop)
        self.viewer.refresh()

    def connect(self, watcher: Any) -> None:
        watcher.crop = self.crop


def _edges() -> np.ndarray:
    """[12, 2, 3] edges of the unit cube around the origin."""
    corners = np.stack(np.meshgrid([-0.5, 0.5], [-0.5, 0.5], [-0.5, 0.5], indexing="ij"), -1).reshape(-1, 3)
    pairs = [(a, b) for a in range(8) for b in range(a) if np.abs(corners[a] - corners[b]).sum() == 1.0]
    return corners[np.array(pairs)]
