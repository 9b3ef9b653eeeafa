"""From a browser's camera to requests, and from rendered pictures to the browser.

Each browser is a Watcher. Colouring and compressing happen on the one thread of Stream, never on the fit's; there too
only the newest picture of a watcher counts, so a slow link drops frames instead of piling them up.
"""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recon.fit.session import Look, Picture, Session
from recon.types import Camera
from recon.viewer.crop import Crop, Frozen
from recon.viewer.expense import Expense
from recon.viewer.page import Page
from recon.viewer.reproject import nearest, over, seen_by

CHANNELS = ("rgb", "depth", "normal", "opacity", "error")
PHOTOS_KEPT = 4
MOST_POSTED = 16
ERRORS = (0.0, 0.25)  # mean absolute differences at the ends of the colours, as in the program's comparisons


class Watcher:
    """One browser: how it wants to see the scene, and where it stands.

    channel   one of CHANNELS
    ramp      name of the colours of depth and error, None = the usual ones
    range     (near, far) of depth in the world, or (low, high) of the error, None = what suits
    photo     index of the photo shown beside the render, None = none;  split  0..1: how much of the width it takes
    pixels    of a full picture, at most
    """

    def __init__(self, client: Any, session: Session, page: Page, stream: Stream) -> None:
        self.client, self.session, self.page, self.stream = client, session, page, stream
        self.channel, self.split, self.pixels = "rgb", 0.0, 520_000
        self.ramp: str | None = None
        self.range: tuple[float, float] | None = None
        self.photo: int | None = None
        self.crop: Crop | None = None
        self.time: float | None = None  # of a scene that moves
        self._posted: OrderedDict[Look, float] = OrderedDict()  # when; those that have no picture yet
        self.frames = 0
        self.latency_s = 0.0  # from a movement to its first picture sent, smoothed
        self.last: Picture | None = None
        self.gone = False
        self.local = False  # the browser draws for itself

    @property
    def id(self) -> int:
        return self.client.client_id

    def camera(self) -> Camera:
        """The browser's camera at the size of a full picture. viser's axes are ours: x right, y down, z forward."""
        c = self.client.camera
        pose = torch.eye(4, dtype=torch.float64)
        pose[:3, :3] = rotation_from_quaternion(c.wxyz)
        pose[:3, 3] = torch.as_tensor(np.array(c.position, np.float64))
        if not bool(torch.isfinite(pose).all()):
            raise ValueError("the browser sent a camera that is not finite")
        return pinhole(int(c.image_width), int(c.image_height), self.pixels, float(c.fov), pose)

    def post(self) -> None:
        """Asks for pictures from where the browser stands now."""
        if self.gone or self.local:
            return
        posted = time.perf_counter()
        want = ["rgb"]
        if self.channel in ("depth", "error") or (self.photo is not None and self.split > 0):
            want.append("depth")
        if self.channel in ("normal", "opacity"):
            want.append(self.channel)
        look = Look(self.camera(), tuple(want), self._receive, self.edit())
        self._posted[look] = posted
        while len(self._posted) > MOST_POSTED:  # the older ones were never drawn
            self._posted.popitem(last=False)
        self.session.look(self.id, look)

    def edit(self) -> Callable[[Any], Any] | None:
        """What is drawn in place of the field: one moment of it, what is inside the crop box, or None for all of it."""
        moment, crop = self.time, self.crop
        if moment is None:
            return None if crop is None else crop.edit

        def edited(field: Any) -> Any:
            still = Frozen(field.gaussians(moment))
            return still if crop is None else crop.edit(still)

        return edited

    def _receive(self, picture: Picture) -> None:
        self.stream.offer(self, picture)

    def send(self, pixels: np.ndarray, picture: Picture) -> None:
        """Hands a finished picture to the browser."""
        self.client.scene.set_background_image(pixels, format="jpeg", jpeg_quality=85 if picture.full else 60)
        self.last = picture
        self.frames += 1
        posted = self._posted.pop(picture.look, None)
        if posted is not None:
            took = time.perf_counter() - posted
            self.latency_s = took if self.latency_s == 0.0 else 0.8 * self.latency_s + 0.2 * took


class Stream:
    """The thread that paints. What goes wrong in it becomes a warning of the session."""

    def __init__(self, session: Session, page: Page) -> None:
        self.session, self.page = session, page
        self._waiting: OrderedDict[int, tuple[Watcher, Picture]] = OrderedDict()
        self._wake = threading.Condition()
        self._closed = False
        self._photos: OrderedDict[int, Tensor] = OrderedDict()
        self._expense = Expense()
        self._thread = threading.Thread(target=self._run, name="recon-stream", daemon=True)
        self._thread.start()

    def offer(self, watcher: Watcher, picture: Picture) -> None:
        with self._wake:
            self._waiting[watcher.id] = (watcher, picture)
            self._wake.notify()

    def close(self) -> None:
        with self._wake:
            self._closed = True
            self._wake.notify()
        self._thread.join(5.0)

    def _run(self) -> None:
        while True:
            with self._wake:
                while not self._waiting and not self._closed:
                    self._wake.wait()
                if self._closed:
                    return
                _, (watcher, picture) = self._waiting.popitem(last=False)
            if watcher.gone or watcher.local:
                continue
            try:
                watcher.send(self.painted(watcher, picture), picture)
            except Exception as error:
                self.session.warn(f"a picture could not be shown ({type(error).__name__}: {error})")
            self.session.looks.spend(self._expense.since())

    def painted(self, watcher: Watcher, picture: Picture) -> np.ndarray:
        """[height, width, 3] uint8 of what the watcher wants to see."""
        with torch.no_grad():
            render, paint = picture.render, self.page.paint
            if watcher.channel == "error":
                pixels = self._error(picture, watcher)
            elif watcher.channel == "depth" and render.depth is not None:
                pixels = paint.depth(render, watcher.range, watcher.ramp or paint.ramps[0])
            else:
                known = watcher.channel if getattr(render, watcher.channel, None) is not None else "rgb"
                pixels = paint.channel(render, known)
            if watcher.photo is not None and watcher.split > 0 and render.depth is not None:
                pixels = self._split(pixels, picture, watcher.photo, watcher.split)
        return pixels

    def photo(self, index: int) -> Tensor:
        """[3, height, width] uint8, the last few are kept."""
        if index not in self._photos:
            self._photos[index] = over(self.page.views[index].photo(), self.session.shown.background)
            while len(self._photos) > PHOTOS_KEPT:
                self._photos.popitem(last=False)
        self._photos.move_to_end(index)
        return self._photos[index]

    def _error(self, picture: Picture, watcher: Watcher) -> np.ndarray:
        """Difference to the nearest photo, carried over by depth; grey where that photo shows nothing."""
        render, views = picture.render, self.page.views
        if not views or render.depth is None:
            return self.page.paint.channel(render, "rgb")
        index = nearest(picture.camera, views)
        colours, valid = seen_by(picture.camera, render.depth, self.photo(index), views[index].camera)
        low, high = watcher.range or ERRORS
        difference = ((colours - render.rgb.clamp(0, 1)).abs().mean(-1) - low) / max(high - low, 1e-6)
        heat = self.page.paint.ramp(difference.numpy(), watcher.ramp or self.page.paint.errors)
        return (np.where(valid.numpy()[..., None], heat, 0.25) * 255 + 0.5).astype(np.uint8)

    def _split(self, pixels: np.ndarray, picture: Picture, index: int, split: float) -> np.ndarray:
        """The photo on the left, a white line, the render on the right."""
        assert picture.render.depth is not None
        camera = picture.camera
        edge = min(max(round(split * camera.width), 1), camera.width)
        left = camera.cropped(0, 0, edge, camera.height)
        colours, valid = seen_by(left, picture.render.depth[:, :edge], self.photo(index), self.page.views[index].camera)
        shown = torch.where(valid[..., None], colours, torch.full_like(colours, 0.25))
        out = pixels.copy()
        out[:, :edge] = (shown * 255 + 0.5).to(torch.uint8).numpy()
        out[:, edge - max(camera.width // 400, 1):edge] = 255
        return out


def pinhole(width: int, height: int, pixels: int, fov: float, world_from_camera: Tensor) -> Camera:
    """What a window of that size sees, in at most so many pixels. ``fov``: radians, from top to bottom."""
    width, height = max(width, 1), max(height, 1)
    factor = min(1.0, math.sqrt(pixels / (width * height)))
    width, height = max(round(width * factor), 1), max(round(height * factor), 1)
    focal = 0.5 * height / math.tan(0.5 * min(max(fov, 1e-3), 3.1))
    intrinsics = torch.tensor([focal, focal, width / 2, height / 2], dtype=torch.float64)
    return Camera(width, height, intrinsics, world_from_camera)


def vertical_fov(camera: Camera) -> float:
    """Radians."""
    return 2 * math.atan(0.5 * camera.height / float(camera.intrinsics[1]))


def rotation_from_quaternion(wxyz: Any) -> Tensor:
    """[4] w, x, y, z of any length -> [3, 3] rotation, float64."""
    w, x, y, z = (float(v) for v in np.asarray(wxyz, np.float64) / max(float(np.linalg.norm(wxyz)), 1e-12))
    return torch.tensor([
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ], dtype=torch.float64)


def quaternion_from_rotation(rotation: Tensor) -> np.ndarray:
    """[3, 3] rotation -> [4] unit w, x, y, z: the eigenvector of the largest eigenvalue (Bar-Itzhack 2000)."""
    r = rotation.double().numpy()
    k = np.array([
        [r[0, 0] + r[1, 1] + r[2, 2], 0, 0, 0],
        [r[2, 1] - r[1, 2], r[0, 0] - r[1, 1] - r[2, 2], 0, 0],
        [r[0, 2] - r[2, 0], r[0, 1] + r[1, 0], r[1, 1] - r[0, 0] - r[2, 2], 0],
        [r[1, 0] - r[0, 1], r[0, 2] + r[2, 0], r[1, 2] + r[2, 1], r[2, 2] - r[0, 0] - r[1, 1]],
    ])
    _, vectors = np.linalg.eigh(k)  # the lower triangle is read
    q = vectors[:, -1]
    return q if q[0] >= 0 else -q
