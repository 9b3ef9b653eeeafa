"""Up and scale: which way is up, and how long something is. Two clicks on the scene and a length give the scale."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from recon.errors import InputError
from recon.types import Similarity
from recon.viewer.crop import level

if TYPE_CHECKING:
    from recon.viewer.server import Viewer
    from recon.viewer.stream import Watcher

ORDER = 68


class Panel:
    def __init__(self, viewer: Viewer) -> None:
        self.viewer, gui = viewer, viewer.server.gui
        self.up = viewer.page.up.double()
        self.points: list[Tensor] = []
        self.marks: list[Any] = []
        self.listening: dict[int, Any] = {}
        with gui.add_folder("Up and scale", expand_by_default=False, order=65):
            turn = gui.add_button("Up is up in this view", color="gray")
            self.measure = gui.add_button("Click two points", color="gray")
            self.words = gui.add_markdown("")
            self.length = gui.add_number("Their distance", 1.0, min=1e-9, step=0.01, visible=False,
                                         hint="In the unit the exported file shall have, metres say")
            self.use = gui.add_checkbox("Exports use up and scale", False,
                                        hint="z up and your unit, in place of the source's coordinates")
        turn.on_click(viewer.guard(self._turn))
        self.measure.on_click(viewer.guard(self._begin))
        self.length.on_update(viewer.guard(lambda _: self._show()))

    def disconnect(self, watcher: Watcher) -> None:
        self.listening.pop(watcher.id, None)

    @property
    def export_from_world(self) -> Similarity | None:
        """What exports apply in place of going back to the source; None while that is not wanted."""
        if not self.use.value:
            return None
        scale = float(self.length.value) / self.distance if len(self.points) == 2 and self.distance > 0 else \
            1.0 / self.viewer.page.world_from_source.scale
        return Similarity(scale, level(self.up).T.contiguous())

    @property
    def distance(self) -> float:
        """Between the two points, in the world."""
        return float((self.points[0] - self.points[1]).norm()) if len(self.points) == 2 else 0.0

    def _turn(self, event: Any) -> None:
        self.up = -self.viewer.watcher(event).camera().world_from_camera[:3, 1]
        self.viewer.server.scene.set_up_direction(self.up.numpy())
        event.client.camera.up_direction = self.up.numpy()

    def _begin(self, event: Any) -> None:
        """The next two clicks of this browser are points."""
        watcher = self.viewer.watcher(event)
        scene = watcher.client.scene
        if watcher.id in self.listening:
            scene.remove_click_callback(self.listening.pop(watcher.id))
        self._clear()
        self.words.content = "Click the first point."

        def clicked(click: Any) -> None:
            self.points.append(self.hit(watcher, click.screen_pos))
            self._mark()
            if len(self.points) == 2:
                scene.remove_click_callback(self.listening.pop(watcher.id))
            self._show()

        self.listening[watcher.id] = self.viewer.guard(clicked)
        scene.on_click()(self.listening[watcher.id])

    def hit(self, watcher: Watcher, screen: tuple[float, float]) -> Tensor:
        """[3] where the scene is under a place of the screen (0..1 from the upper left). InputError where it is empty.

        The median depth of a few pixels around it, where they are opaque.
        """
        session, camera = self.viewer.session, watcher.camera()
        x, y = (min(max(int(s * n), 4), n - 5) for s, n in zip(screen, camera.size, strict=True))
        patch = camera.cropped(x - 3, y - 3, 7, 7)
        render = session.ask(lambda: session.shown.draw(patch, ("rgb", "depth", "opacity"))).result(30)
        depth, opacity = render.depth, render.opacity
        assert depth is not None
        assert opacity is not None
        solid = depth[opacity > 0.3]
        if len(solid) < 5:
            raise InputError("there is nothing under this point", fix="Click on something solid.")
        pixel = torch.tensor([3.5, 3.5], dtype=torch.float64)
        origin, direction = patch.rays(pixel)
        return origin + direction * (float(solid.median()) / float(direction @ patch.forward))

    def _clear(self) -> None:
        self.points.clear()
        for mark in self.marks:
            mark.remove()
        self.marks.clear()

    def _mark(self) -> None:
        scene, reach = self.viewer.server.scene, float((self.viewer.page.start.centre - self.viewer.page.centre).norm())
        self.marks.append(scene.add_icosphere(f"/scale/{len(self.points)}", 0.008 * reach, (255, 80, 80),
                                              position=self.points[-1].numpy(), cast_shadow=False))
        if len(self.points) == 2:
            line = np.stack([p.numpy() for p in self.points])[None]
            self.marks.append(scene.add_line_segments("/scale/line", line, (255, 80, 80), thickness=2.0,
                                                      thickness_units="screen"))

    def _show(self) -> None:
        done = len(self.points) == 2
        self.length.visible = done
        if done:
            source = self.distance / self.viewer.page.world_from_source.scale
            self.words.content = f"{source:.4g} in the source's units"
        else:
            self.words.content = "Click the second point."
