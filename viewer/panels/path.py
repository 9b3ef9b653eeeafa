"""A camera path: key views, preview, and the video."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from recon.errors import InputError
from recon.fit.session import Picture
from recon.types import Camera
from recon.viewer import downloads
from recon.viewer.path import along, to_json
from recon.viewer.server import fly

if TYPE_CHECKING:
    from recon.viewer.server import Viewer
    from recon.viewer.stream import Watcher

ORDER = 65
FPS = 30
VIDEO_PIXELS = 960 * 540


class Panel:
    def __init__(self, viewer: Viewer) -> None:
        self.viewer, gui = viewer, viewer.server.gui
        self.keys: list[Camera] = []
        self.line: Any = None
        with gui.add_folder("Camera path", expand_by_default=False, order=60):
            self.words = gui.add_markdown("Stand somewhere and add the view.")
            add = gui.add_button("Add this view")
            remove = gui.add_button("Remove the last", color="gray")
            self.seconds = gui.add_slider("Seconds", 1.0, 60.0, 0.5, 6.0)
            self.closed = gui.add_checkbox("Back to the start", False)
            preview = gui.add_button("Preview", color="gray")
            save = gui.add_button("Save the path", color="gray", hint="For recon render --cameras")
            video = gui.add_button("Render mp4", visible=viewer.page.write_video is not None)
            self.bar = gui.add_progress_bar(0.0, visible=False)
        for button, call in ((add, self._add), (remove, self._remove), (preview, self._preview), (save, self._save),
                             (video, self._video)):
            button.on_click(viewer.guard(call))
        self.closed.on_update(viewer.guard(lambda _: self._draw()))

    def _add(self, event: Any) -> None:
        self.keys.append(self.viewer.watcher(event).camera())
        self._draw()

    def _remove(self, _: Any) -> None:
        if self.keys:
            self.keys.pop()
        self._draw()

    def _draw(self) -> None:
        """The path as a line in the scene."""
        self.words.content = f"{len(self.keys)} views" if self.keys else "Stand somewhere and add the view."
        if self.line is not None:
            self.line.remove()
            self.line = None
        if len(self.keys) > 1:
            centres = np.stack([c.centre.numpy() for c in self._path(20 * len(self.keys))])
            self.line = self.viewer.server.scene.add_line_segments(
                "/path", np.stack([centres[:-1], centres[1:]], 1), (120, 255, 160), thickness=2.0,
                thickness_units="screen")

    def _path(self, frames: int) -> list[Camera]:
        if len(self.keys) < 2:
            raise InputError("a path needs two views or more", fix="Move, and add another one.")
        return along(self.keys, max(frames, 2), bool(self.closed.value))

    def _frames(self) -> int:
        return round(float(self.seconds.value) * FPS)

    def _preview(self, event: Any) -> None:
        client = self.viewer.watcher(event).client
        cameras = self._path(round(float(self.seconds.value) * 10))
        fly(client, cameras[0])
        for camera in cameras:
            fly(client, camera, 0.05)
            time.sleep(0.05)

    def _save(self, event: Any) -> None:
        text = to_json(self._path(self._frames()), FPS, self.viewer.page.world_from_source)
        event.client.send_file_download("camera_path.json", text.encode(), save_immediately=True)

    def _video(self, event: Any) -> None:
        """Renders between the steps of the fit, a picture at a time, so it goes on meanwhile."""
        viewer, watcher = self.viewer, self.viewer.watcher(event)
        write = viewer.page.write_video
        assert write is not None
        cameras = self._path(self._frames())
        self.bar.visible = True
        name = downloads.file_name(viewer.page.title, "_path.mp4")
        try:
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder) / name
                write(file, self._pictures(watcher, cameras), FPS)
                content = file.read_bytes()
        finally:
            self.bar.visible = False
        event.client.send_file_download(name, content, save_immediately=True)

    def _pictures(self, watcher: Watcher, cameras: list[Camera]) -> Iterator[np.ndarray]:
        session, look = self.viewer.session, None if watcher.last is None else watcher.last.look
        if look is None:
            raise InputError("there is no picture yet")
        factor = min(1.0, (VIDEO_PIXELS / (cameras[0].width * cameras[0].height)) ** 0.5)
        width, height = (max(2, int(n * factor) // 2 * 2) for n in cameras[0].size)
        for i, camera in enumerate(cameras):
            if watcher.gone:
                raise InputError("the browser that wanted the video has gone")
            small = replace(camera.scaled(width, height), intrinsics=_square(camera, width, height))
            render = session.ask(partial(session.shown.draw, small, look.want, look.edit)).result(60)
            self.bar.value = 100.0 * (i + 1) / len(cameras)
            yield watcher.stream.painted(watcher, Picture(look, small, render, session.step, True, 0.0))


def _square(camera: Camera, width: int, height: int) -> torch.Tensor:
    """Square pixels although the even size has lost a row or column."""
    focal = float(camera.intrinsics[1]) * height / camera.height
    return torch.tensor([focal, focal, width / 2, height / 2], dtype=torch.float64)
