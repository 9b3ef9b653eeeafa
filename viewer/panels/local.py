"""Who draws: this computer, or each browser for itself (slow links, smooth turning of finished scenes)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from recon.errors import InputError
from recon.viewer.downloads import snapshot

if TYPE_CHECKING:
    from recon.types import Gaussians
    from recon.viewer.crop import Crop
    from recon.viewer.server import News, Viewer
    from recon.viewer.stream import Watcher

ORDER = 45
HERE, THERE = "this computer", "your browser"
REFRESH_S = 10.0  # between two copies of a scene that is being fitted
CROPPED_S = 1.0  # between two copies while the crop box moves
FAINTEST = 2 / 255  # opacity below which a browser is not bothered with a Gaussian
MOST = 1_000_000  # Gaussians that are sent
EASY = 100_000  # until a browser has shown that it is quick
QUICK_S, SLOW_S = 0.1, 1.0  # of a frame
SH_C0 = 0.28209479177387814


class Panel:
    def __init__(self, viewer: Viewer) -> None:
        self.viewer = viewer
        self.handles: dict[int, Any] = {}
        self.controls: dict[int, Any] = {}
        self.most: dict[int, int] = {}  # Gaussians that a browser gets
        self.sent: dict[int, tuple[float, int, Crop | None]] = {}  # when, of which step, how it was cropped

    def connect(self, watcher: Watcher) -> None:
        if not hasattr(self.viewer.session.shown.field, "gaussians"):
            return
        who = watcher.client.gui.add_dropdown(
            "Drawn by", (HERE, THERE), initial_value=HERE, order=36,
            hint="Your browser turns the scene smoothly, without view-dependent colour; channels need this computer. "
                 f"Without a graphics card it shows the {EASY:,} Gaussians that matter most")
        self.controls[watcher.id] = who

        def chosen(_: Any) -> None:
            if who.value == THERE:
                self.most.setdefault(watcher.id, EASY)
                self._send(watcher)
                watcher.local = True
                self.viewer.session.leave(watcher.id)
                behind = self.viewer.session.shown.background.clamp(0, 1).mul(255).round().to(torch.uint8)
                watcher.client.scene.set_background_image(behind.expand(4, 4, 3).numpy(), format="png")
            else:
                self._remove(watcher)
                watcher.local = False
                watcher.post()

        who.on_update(self.viewer.guard(chosen))

    def drew(self, watcher: Watcher, seconds: float) -> None:
        """Its browser takes that long for a frame: what it has not got yet is sent where that is quick; where it is so
        slow that its user could not even change who draws, this computer draws again."""
        who = self.controls.get(watcher.id)
        if who is None or not watcher.local:
            return
        if seconds < QUICK_S and self.most.get(watcher.id, MOST) < MOST:
            self.most[watcher.id] = MOST
            self._send(watcher)
        elif seconds > SLOW_S:
            who.value = HERE
            watcher.client.add_notification(
                "Drawn by this computer again", f"Your browser took {seconds:.1f} s for a picture.", color="yellow",
                auto_close_seconds=15.0)

    def disconnect(self, watcher: Watcher) -> None:
        self.controls.pop(watcher.id, None)
        self.most.pop(watcher.id, None)
        self.handles.pop(watcher.id, None)
        self.sent.pop(watcher.id, None)

    def tick(self, news: News) -> None:
        """While the scene changes, new copies are sent now and then; when the crop box has moved, sooner."""
        session = self.viewer.session
        for watcher in list(self.viewer.watchers.values()):
            if not watcher.local or watcher.id not in self.sent:
                continue
            when, step, crop = self.sent[watcher.id]
            wait = CROPPED_S if crop is not watcher.crop else REFRESH_S
            if (step != session.step or crop is not watcher.crop) and time.monotonic() - when > wait:
                self._send(watcher)

    def _send(self, watcher: Watcher) -> None:
        session = self.viewer.session
        step = session.step
        whole = session.ask(lambda: snapshot(session.shown.field)).result(60)
        crop = watcher.crop
        shown = whole if crop is None else crop.gaussians(whole)
        if len(shown) == 0:
            raise InputError("there are no Gaussians to draw")
        new = watcher.client.scene.add_gaussian_splats("/splats", **for_browser(shown, self.most.get(watcher.id, MOST)))
        self.handles[watcher.id], self.sent[watcher.id] = new, (time.monotonic(), step, crop)

    def _remove(self, watcher: Watcher) -> None:
        handle = self.handles.pop(watcher.id, None)
        self.sent.pop(watcher.id, None)
        if handle is not None:
            handle.remove()


def for_browser(g: Gaussians, most: int = MOST) -> dict[str, np.ndarray]:
    """Of at most so many: centres [n, 3], covariances [n, 3, 3], colours [n, 3] uint8 without view dependence, and
    opacities [n, 1]."""
    opacity = torch.sigmoid(g.logits)
    rows = opacity >= FAINTEST
    if int(rows.sum()) > most:  # the faintest and smallest are missed least
        weight = opacity.log() + 2 * g.log_scales.sum(1) / 3
        rows = torch.zeros_like(rows).index_fill_(0, weight.topk(most).indices, True)
    g, opacity = g.select(rows), opacity[rows]
    q = torch.nn.functional.normalize(g.quaternions, dim=1)
    w, x, y, z = q.unbind(1)
    turn = torch.stack([
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ], dim=1).view(-1, 3, 3)
    root = turn * g.log_scales.exp()[:, None, :]
    colour = ((0.5 + SH_C0 * g.sh[:, 0]).clamp(0, 1) * 255).round().to(torch.uint8)
    return {"centers": g.means.numpy(), "covariances": (root @ root.transpose(1, 2)).numpy(), "rgbs": colour.numpy(),
            "opacities": opacity[:, None].numpy()}
