"""The photos where they were taken: click to fly there, photo beside render, thumbnails."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from recon.viewer.patrol import Patrol
from recon.viewer.reproject import over
from recon.viewer.server import fly
from recon.viewer.stream import quaternion_from_rotation, vertical_fov

if TYPE_CHECKING:
    from recon.viewer.server import News, Viewer
    from recon.viewer.stream import Watcher

ORDER = 50
MOST_FRUSTUMS = 400
COLOURS = {"train": (120, 170, 255), "test": (255, 190, 90)}
UNKNOWN = (90, 90, 90)
THUMBNAIL = 96


class Panel:
    def __init__(self, viewer: Viewer) -> None:
        self.viewer, page, scene = viewer, viewer.page, viewer.server.scene
        self.controls: dict[int, Any] = {}
        self.handles: dict[int, Any] = {}
        self._thumbnails = False
        if not page.views:
            return
        views = page.views
        centres = torch.stack([v.camera.centre for v in views])
        gaps = torch.cdist(centres, centres).fill_diagonal_(torch.inf).min(dim=1).values
        size = min(max(0.3 * float(gaps.median()), 0.01), 0.06)
        every = -(-len(views) // MOST_FRUSTUMS)
        for index in range(0, len(views), every):
            view = views[index]
            camera = view.camera
            handle = scene.add_camera_frustum(
                f"/photos/{index}", fov=vertical_fov(camera), aspect=camera.width / camera.height, scale=size,
                color=COLOURS[view.split], thickness=1.0, thickness_units="screen",
                wxyz=quaternion_from_rotation(camera.world_from_camera[:3, :3]), position=camera.centre.numpy())
            handle.on_click(viewer.guard(lambda event, i=index: self._go(viewer.watcher(event), i)))
            self.handles[index] = handle
        with viewer.server.gui.add_folder("Photos", expand_by_default=False, order=50) as self.folder:
            self.visible = viewer.server.gui.add_checkbox("Show where they were taken", True)
            self.pictures = viewer.server.gui.add_checkbox("With pictures", False)
            self.by_error = viewer.server.gui.add_checkbox(
                "Coloured by error", False, hint="Dark: the render agrees with the photo; bright: it does not")
        self.patrol = Patrol(viewer, list(self.handles))
        self.visible.on_update(viewer.guard(self._visibility))
        self.pictures.on_update(viewer.guard(self._visibility))
        self.by_error.on_update(viewer.guard(self._recolour))

    def tick(self, news: News) -> None:
        if self.handles and self.by_error.value:
            self.patrol.go_on()
            self._recolour(None)

    def _recolour(self, _: Any) -> None:
        errors = self.patrol.errors if self.by_error.value else {}
        ramp, name = self.viewer.page.paint.ramp, self.viewer.page.paint.errors
        low, high = min(errors.values(), default=0.0), max(errors.values(), default=1.0)
        for index, handle in self.handles.items():
            colour = COLOURS[self.viewer.page.views[index].split]
            if index in errors:  # from a fifth of the ramp on: black could not be seen
                share = 0.2 + 0.8 * (errors[index] - low) / max(high - low, 1e-9)
                red, green, blue = (round(255 * float(c)) for c in ramp(np.array(share), name))
                colour = red, green, blue
            elif self.by_error.value:
                colour = UNKNOWN
            if tuple(handle.color) != colour:
                handle.color = colour

    def connect(self, watcher: Watcher) -> None:
        views = self.viewer.page.views
        if not views:
            return
        gui = watcher.client.gui
        names = tuple(f"{i + 1}. {v.name}" for i, v in enumerate(views))
        with gui.add_folder("Photo beside render", expand_by_default=False, order=51):
            choice = gui.add_dropdown("Photo", ("none", *names), initial_value="none")
            split = gui.add_slider("Photo | render", 0.0, 1.0, 0.01, 0.5)
        watcher.split = 0.5
        self.controls[watcher.id] = choice

        def chosen(event: Any) -> None:
            index = names.index(choice.value) if choice.value in names else None
            changed = index != watcher.photo
            watcher.photo = index
            if index is not None and changed:
                fly(watcher.client, views[index].camera)
            watcher.post()

        def moved(_: Any) -> None:
            watcher.split = float(split.value)
            watcher.post()

        choice.on_update(self.viewer.guard(chosen))
        split.on_update(self.viewer.guard(moved))

    def disconnect(self, watcher: Watcher) -> None:
        self.controls.pop(watcher.id, None)

    def _go(self, watcher: Watcher, index: int) -> None:
        """A click on a frustum flies there; choosing in the list also shows the photo."""
        fly(watcher.client, self.viewer.page.views[index].camera)

    def _visibility(self, _: Any) -> None:
        for handle in self.handles.values():
            handle.visible = self.visible.value
        if self.pictures.value and not self._thumbnails:
            self._thumbnails = True
            threading.Thread(target=self._load, name="recon-thumbnails", daemon=True).start()
        elif not self.pictures.value:
            self._thumbnails = False
            for handle in self.handles.values():
                handle.image = None

    def _load(self) -> None:
        for index, handle in self.handles.items():
            if not self._thumbnails:
                return
            try:
                rgb = over(self.viewer.page.views[index].photo(), self.viewer.session.shown.background)
            except Exception as error:
                self.viewer.session.warn(f"photo {self.viewer.page.views[index].name}: {error}")
                continue
            step = max(1, max(rgb.shape[1:]) // THUMBNAIL)
            handle.image = np.ascontiguousarray(rgb[:, ::step, ::step].permute(1, 2, 0).numpy())
