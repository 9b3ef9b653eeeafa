"""Looks: pictures of a scene for those who watch it, in small pieces that fit between two steps.

Every client has one slot with its latest request; a newer one replaces it, so nothing is ever rendered for a camera
that has already moved on. A request is answered quickly at a low resolution and, once it has settled, at full size in
bands. Nothing here starts a thread: ``serve`` does at most one piece of work on the caller's.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Hashable
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from recon.types import Camera, Render

SETTLE_S = 0.25  # a request this old is not a movement any more
BAND_S = 0.08  # longest piece of a full picture; a movement waits no longer than this
BURST_S = 0.04  # credit that may be saved up while nobody asks
DEBT_S = 0.3  # a movement may be answered before this much has been earned back; full pictures may not
SPENT = 0.65  # of the share; the rest is for what cannot be measured: cold caches, threads that wait for each other
LEAST_PIXELS = 12_000  # of a quick picture; less is not worth looking at ...
SLOWEST_S = 0.3  # ... unless so many take longer than this: a volume that is still fog is slow
PROBE_PIXELS = 800  # drawn once, to learn what pixels cost


class Artist(Protocol):
    """Makes pictures of what is shown: ``draw`` a whole one, ``in_bands`` a function of (top, height) for its rows."""

    def draw(self, camera: Camera, want: Collection[str], edit: Callable[[Any], Any] | None = None) -> Render: ...

    def in_bands(self, camera: Camera, want: Collection[str], edit: Callable[[Any], Any] | None = None
                 ) -> Callable[[int, int], Render]: ...


@dataclass(frozen=True, eq=False)
class Look:
    """What one client wants to see.

    camera    at the size the picture is wanted
    want      channels, see ``recon.types.render``
    deliver   called with each Picture on the fit's thread: it must be quick; what it raises becomes a warning
    edit      field -> what is drawn in its place (a cropped copy, say), or None
    """

    camera: Camera
    want: tuple[str, ...]
    deliver: Callable[[Picture], None]
    edit: Callable[[Any], Any] | None = None


@dataclass(frozen=True, eq=False)
class Picture:
    """An answer. ``render`` has the size of ``camera``; ``full`` when that is the size that was asked for.

    step      finished steps when it was drawn (of the last band)
    seconds   it took to draw, waiting not counted
    """

    look: Look
    camera: Camera
    render: Render
    step: int
    full: bool
    seconds: float


@dataclass(eq=False)
class _Slot:
    look: Look
    posted: float
    served: float = 0.0  # when it last had a piece
    quick_done: bool = False
    full_step: int | None = None  # step of the first band of the last complete full picture
    begun: int = 0  # step of the first band of the one in work
    bands: list[Render] = field(default_factory=list)
    band: Callable[[int, int], Render] | None = None  # draws rows of the one in work
    top: int = 0  # rows that are drawn
    seconds: float = 0.0
    failed: bool = False


class _Cost:
    """Seconds of a piece = a + b * pixels, by a line through the last pieces.

    Older ones fade, and b leans to half of the seconds, as far as the pieces were of one size. The first one is
    forgotten with the second: a cold start says little.
    """

    _FADE, _LEAN = 0.95, 0.03
    _GROWTH = 2.0  # beyond what the last piece alone suggests ...
    _STRETCH = 4.0  # ... or beyond the largest piece so far: until several sizes were drawn, the line is a guess

    def __init__(self) -> None:
        self._pieces = self._largest = 0
        self._rate = 0.0  # pixels per second of the last piece
        self._sums = [0.0] * 5  # of 1, x, y, x^2, x y

    @property
    def known(self) -> bool:
        return self._pieces > 0

    def learn(self, pixels: int, seconds: float) -> None:
        seconds = max(seconds, 1e-6)
        self._pieces += 1
        self._rate, self._largest = pixels / seconds, max(self._largest, pixels)
        new = (1.0, pixels, seconds, pixels * pixels, pixels * seconds)
        fade = self._FADE if self._pieces != 2 else 0.0
        self._sums = [fade * s + n for s, n in zip(self._sums, new, strict=True)]

    def line(self) -> tuple[float, float]:
        n, x, y, xx, xy = self._sums
        lean = self._LEAN * (x / n) ** 2
        b = ((xy - x * y / n) / n + lean * 0.5 * y / x) / (max(xx - x * x / n, 0.0) / n + lean)
        b = min(max(b, 0.02 * y / x), y / x)
        return (y - b * x) / n, b

    def pixels(self, seconds: float, hurry: bool = False) -> float:
        """How many suit so many seconds; 0 where nothing was drawn yet. Where the fixed part is larger than that, as
        many as cost the same again (``hurry``: a quarter of it): fewer would be uglier and hardly faster."""
        if not self.known:
            return 0.0
        a, b = self.line()
        most = max(self._GROWTH * self._rate * seconds, self._STRETCH * self._largest)
        return min(max(seconds - a, a * (0.25 if hurry else 1.0)) / b, most)


class Looks:
    """The slots, the credit of time, and the pieces.

    artist  how pictures are made: whole ones, and bands of one
    share   of the time that watching may cost while steps are made, 0..0.9
    warn    told in one sentence what went wrong; the client's request is then set aside until it asks anew
    """

    def __init__(self, artist: Artist, share: float, warn: Callable[[str], None],
                 clock: Callable[[], float] = time.perf_counter) -> None:
        self.artist, self.share, self.warn, self.clock = artist, share, warn, clock
        self._worked = time.process_time if clock is time.perf_counter else clock
        self._slots: dict[Hashable, _Slot] = {}
        self._lock = threading.Lock()
        self._credit = 0.0
        self._elsewhere: deque[float] = deque()
        self._cost = _Cost()

    def put(self, client: Hashable, look: Look) -> None:
        """The client's newest request; the older one is forgotten."""
        with self._lock:
            self._slots[client] = _Slot(look, self.clock())

    def drop(self, client: Hashable) -> None:
        with self._lock:
            self._slots.pop(client, None)

    def start(self) -> tuple[float, float]:
        """For ``since``."""
        return self.clock(), self._worked()

    def since(self, start: tuple[float, float]) -> float:
        """Seconds that work took, pictures or steps; not those in which the program was halted or others had the
        machine."""
        return min(self.clock() - start[0], self._worked() - start[1])

    @property
    def watched(self) -> bool:
        return bool(self._slots)

    def earn(self, seconds: float) -> None:
        """Steps were made for this long."""
        share = SPENT * min(max(self.share, 0.0), 0.9)
        self._credit = min(self._credit + seconds * share / (1.0 - share), BURST_S)

    def spend(self, seconds: float) -> None:
        """Watching also cost this much on another thread (colouring, compressing), which calls this."""
        self._elsewhere.append(seconds)

    def serve(self, step: int, free: bool) -> float | None:
        """Draws at most one piece. Returns seconds until there may be something to do: 0 = now, None = nothing is due.

        ``free`` while no steps are made (paused, finished): then time costs nothing.
        """
        now = self.clock()
        while self._elsewhere:
            self._credit -= self._elsewhere.popleft() * (not free)
        if not free and self._credit < -DEBT_S:
            return 0.0
        slot, wait = self._next(now, step)
        if slot is None:
            return wait
        if not free and self._credit < 0.0 and slot.quick_done:
            return 0.0
        start, probe = self.start(), not self._cost.known
        try:
            self._piece(slot, step, free)
        except Exception as error:
            slot.failed = True
            self.warn(f"a picture could not be made ({type(error).__name__}: {error})")
        slot.served = self.clock()
        if not free:
            took = self.since(start)
            self._credit -= min(took, DEBT_S) if probe else took  # of the first one most is the start of everything
        return 0.0

    def _next(self, now: float, step: int) -> tuple[_Slot | None, float | None]:
        """The piece that matters most: first pictures before full ones, then who waited longest."""
        wait: float | None = None
        best: tuple[tuple[bool, float], _Slot] | None = None
        with self._lock:
            for slot in self._slots.values():
                if slot.failed or slot.full_step == step:
                    continue
                left = slot.posted + SETTLE_S - now
                if slot.quick_done and left > 0:
                    wait = left if wait is None else min(wait, left)
                    continue
                key = (slot.quick_done, slot.served)
                if best is None or key < best[0]:
                    best = (key, slot)
        return (best[1], 0.0) if best is not None else (None, wait)

    def _piece(self, slot: _Slot, step: int, free: bool) -> None:
        look, camera = slot.look, slot.look.camera
        pixels = camera.width * camera.height
        if not slot.quick_done:
            target = 0.05 if free else min(max(0.1 * self.share, 0.01), 0.05)
            least = min(LEAST_PIXELS, self._cost.pixels(SLOWEST_S))
            hurry = not free and self._credit < 0.0  # a movement that goes on: more pictures, smaller ones
            suiting = self._cost.pixels(target * (0.5 if hurry else 1.0), hurry)
            small = quick_camera(camera, max(suiting, least, PROBE_PIXELS))
            start = self.start()
            render = self._whole(small, look)
            took = self.since(start)
            probe = not self._cost.known
            self._cost.learn(small.width * small.height, took)
            if probe and small.width * small.height < pixels:
                self._piece(slot, step, free)  # at once: the next step may be a long one
                return
            slot.quick_done = True
            if small.width * small.height >= pixels:
                slot.full_step = step
            self._deliver(slot, Picture(look, small, render, step, slot.full_step is not None, took))
            return
        if slot.top == 0:
            slot.begun = step
        rows = min(max(math.ceil(self._cost.pixels(BAND_S) / camera.width), 16), camera.height - slot.top)
        if camera.height - slot.top - rows < rows // 3:  # no sliver at the end
            rows = camera.height - slot.top
        start = self.start()
        with torch.no_grad():
            if slot.band is None or slot.top == 0:
                slot.band = self.artist.in_bands(camera, look.want, look.edit)
            slot.bands.append(_light(slot.band(slot.top, rows)))
        took = self.since(start)
        slot.top, slot.seconds = slot.top + rows, slot.seconds + took
        self._cost.learn(rows * camera.width, took)
        if slot.top == camera.height:
            picture = Picture(look, camera, joined(slot.bands), step, True, slot.seconds)
            slot.full_step, slot.bands, slot.top, slot.seconds = slot.begun, [], 0, 0.0
            slot.band = None
            self._deliver(slot, picture)

    def _whole(self, camera: Camera, look: Look) -> Render:
        with torch.no_grad():
            return _light(self.artist.draw(camera, look.want, look.edit))

    def _deliver(self, slot: _Slot, picture: Picture) -> None:
        with self._lock:
            current = any(s is slot for s in self._slots.values())
        if current:
            slot.look.deliver(picture)


def _light(r: Render) -> Render:
    """Without the trace, which would keep large buffers alive; in the processor's memory, where viewers read it."""
    depth, normal, opacity = (None if t is None else t.cpu() for t in (r.depth, r.normal, r.opacity))
    return Render(r.rgb.cpu(), depth, normal, opacity)


def quick_camera(camera: Camera, pixels: float) -> Camera:
    """``camera`` with at most about that many pixels."""
    factor = math.sqrt(pixels / (camera.width * camera.height))
    if factor >= 0.9:
        return camera
    return camera.scaled(max(round(camera.width * factor), 1), max(round(camera.height * factor), 1))


def joined(bands: list[Render]) -> Render:
    """Bands of one picture, top to bottom, as one."""
    if len(bands) == 1:
        return bands[0]

    def column(name: str) -> Tensor | None:
        parts = [getattr(b, name) for b in bands]
        return None if parts[0] is None else torch.cat(parts)

    return Render(torch.cat([b.rgb for b in bands]), column("depth"), column("normal"), column("opacity"))
