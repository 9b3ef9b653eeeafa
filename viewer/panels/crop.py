"""A box, moved and turned with a gizmo: what is outside is neither shown nor exported."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from recon.viewer.crop import Crop
from recon.viewer.stream import quaternion_from_rotation, rotation_from_quaternion

if TYPE_CHECKING:
    from recon.viewer.server import Viewer

ORDER = 60


class Panel:
    def __init__(self, viewer: Viewer) -> None:
        self.viewer, page, gui, scene = viewer, viewer.page, viewer.server.gui, viewer.server.scene
        self.crop: Crop | None = None
        reach = max(float((page.start.centre - page.centre).norm()), 0.1)
        with gui.add_folder("Crop", expand_by_default=False, order=55):
            self.on = gui.add_checkbox("Crop to a box", False, hint="Pictures and exports hold only what is inside")
            self.size = gui.add_vector3("Size", (reach, reach, reach), min=(1e-3,) * 3, step=0.01)
        self.gizmo = scene.add_transform_controls(
            "/crop", scale=0.35 * reach, position=page.centre.numpy(), visible=False, depth_test=False,
            wxyz=quaternion_from_rotation(_level(page.up)))
        self.box = scene.add_box("/crop/box", color=(255, 210, 60), dimensions=(reach, reach, reach), wireframe=True,
                                 cast_shadow=False, receive_shadow=False)
        for control in (self.on, self.size, self.gizmo):
            control.on_update(viewer.guard(self._changed))

    def _changed(self, _: Any) -> None:
        size = np.maximum(np.array(self.size.value, np.float64), 1e-3)
        self.gizmo.visible = self.on.value
        self.box.dimensions = tuple(size.tolist())
        self.crop = None
        if self.on.value:
            self.crop = Crop(torch.as_tensor(np.array(self.gizmo.position, np.float64)),
                             rotation_from_quaternion(self.gizmo.wxyz), torch.as_tensor(size))
        for watcher in list(self.viewer.watchers.values()):
            watcher.crop = self.crop
        self.viewer.refresh()

    def connect(self, watcher: Any) -> None:
        watcher.crop = self.crop


def _level(up: torch.Tensor) -> torch.Tensor:
    """[3, 3] rotation whose z axis is up."""
    z = up / up.norm()
    helper = torch.eye(3, dtype=torch.float64)[int(z.abs().argmin())]
    x = torch.linalg.cross(helper, z)
    x = x / x.norm()
    return torch.stack([x, torch.linalg.cross(z, x), z], dim=1)
