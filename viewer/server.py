"""Viewer: serves the page of one session to any number of browsers."""

from __future__ import annotations

import contextlib
import functools
import io
import secrets
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from recon.errors import InputError
from recon.fit.events import Changed, Evaluated, Event, Finished, Progress, Started, Warned
from recon.fit.session import Session
from recon.viewer import panels
from recon.viewer.faults import CUT, Faults
from recon.viewer.gate import LOCAL, STAMP, Gate
from recon.viewer.greeting import Greeting
from recon.viewer.page import Page
from recon.viewer.stream import Stream, Watcher, quaternion_from_rotation, vertical_fov

TICK_S = 0.3


class News:
    """What panels show: the newest event of each kind, and all that make curves and lists."""

    def __init__(self) -> None:
        self.started: Started | None = None
        self.progress: Progress | None = None
        self.evaluated: Evaluated | None = None
        self.finished: Finished | None = None
        self.failed: BaseException | None = None
        self.losses: list[tuple[int, float]] = []
        self.psnrs: list[tuple[int, float]] = []
        self.changes: list[Changed] = []
        self.warnings: list[str] = []
        self.count = 0

    def take(self, events: list[Event]) -> None:
        for event in events:
            self.count += 1
            if isinstance(event, Progress):
                self.progress = event
                self.losses.append((event.step, event.loss))
            elif isinstance(event, Evaluated):
                self.evaluated = event
                self.psnrs.append((event.step, event.psnr))
            elif isinstance(event, Changed):
                self.changes.append(event)
            elif isinstance(event, Warned):
                self.warnings.append(event.message)
            elif isinstance(event, Started):
                self.started = event
            elif isinstance(event, Finished):
                self.finished = event


class Viewer:
    """The running page. ``url`` is what a browser opens; ``close`` ends it.

    host, port   where it listens; any host but this machine's own names needs a token, which is made here
    Raises InputError without the package viser and for a port that cannot be used.
    """

    def __init__(self, session: Session, page: Page, host: str = "127.0.0.1", port: int = 8080) -> None:
        viser = _viser()
        self.session, self.page = session, page
        self.local = host in LOCAL
        self.token = None if self.local else secrets.token_urlsafe(16)
        self.watchers: dict[int, Watcher] = {}
        self.news = News()
        self.last_seen = time.monotonic()
        self._closed = threading.Event()
        self._stamp = secrets.token_urlsafe(24)
        self._sockets: dict[int, Any] = {}
        self.stream = Stream(session, page)
        with contextlib.redirect_stdout(io.StringIO()):  # it greets with a box
            self.server = viser.ViserServer("127.0.0.1", _free_port(), label=page.title, verbose=False)
        self.faults = Faults(self.server.get_port(), self.server.get_event_loop(), session.warn)
        self._secure()
        self.server.gui.configure_theme(dark_mode=True, show_logo=False, show_share_button=False,
                                        control_width="medium", brand_color=(64, 140, 255))
        self._place()
        self.panels = panels.build(self)
        self.server.on_client_connect(self._connect)
        self.server.on_client_disconnect(self._disconnect)
        self.greeting = Greeting(session, page, self.server.get_port(), self._drew)
        try:
            self.gate = Gate(host, port, self.server.get_port(), self._stamp, self.token,
                             protocol=f"viser-v{viser.__version__}", refused=session.warn, answer=self.greeting.answer)
        except InputError:
            self.stream.close()
            self.faults.close()
            self.server.stop()
            raise
        self._ticker = threading.Thread(target=self._tick, name="recon-page", daemon=True)
        self._ticker.start()

    @property
    def tick_s(self) -> float:
        """Seconds between two calls of the panels' ``tick``."""
        return TICK_S

    @property
    def url(self) -> str:
        """Address for a browser on this machine or, with another host, for one elsewhere."""
        host = self.gate.host
        if host in ("0.0.0.0", "::"):
            host = _own_address()
        shown = f"[{host}]" if ":" in host else host
        return f"http://{shown}:{self.gate.port}/" + (f"?token={self.token}" if self.token else "")

    def close(self) -> None:
        self._closed.set()
        self.greeting.close()
        self.gate.close()
        self.stream.close()
        for client in list(self.watchers):
            self._forget(client)
        with contextlib.redirect_stdout(io.StringIO()):  # it says good-bye too
            self.server.stop()
        self.faults.close()

    def wait_until_alone(self, seconds: float = 5.0) -> None:
        """Returns when no browser has been there for that long (a reloaded page comes back within a second)."""
        while self.watchers or time.monotonic() - self.last_seen < seconds:
            if self._closed.wait(0.2):
                return

    def guard(self, call: Callable[..., Any]) -> Callable[..., None]:
        """``call`` for a button: what it raises becomes a warning in the page (and a note where it was pressed)."""

        @functools.wraps(call)
        def guarded(event: Any = None) -> None:
            try:
                call(event)
            except Exception as error:
                text = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
                self.session.warn(text)
                client = getattr(event, "client", None)
                if client is not None:
                    with contextlib.suppress(Exception):
                        client.add_notification("That did not work", text, color="red", auto_close_seconds=8.0)

        return guarded

    def watcher(self, event: Any) -> Watcher:
        """Who pressed a button. Raises InputError when it has just gone."""
        found = self.watchers.get(-1 if event.client_id is None else event.client_id)
        if found is None:
            raise InputError("this browser is not connected any more")
        return found

    def refresh(self) -> None:
        """Everybody gets a new picture, because something that all see was changed."""
        for watcher in list(self.watchers.values()):
            self.guard(lambda _, w=watcher: w.post())(None)

    # ------------------------------------------------------------ inside

    def _secure(self) -> None:
        """Nobody passes by the gate, and a browser cannot ask for a public tunnel to this machine."""
        self.server.request_share_url = lambda *a, **k: None
        inner = getattr(self.server, "_websock_server", None)
        live = getattr(inner, "_live_connections", None)
        if inner is None or live is None:
            return

        async def check(connection: Any) -> None:
            socket_ = self._sockets[connection.client_id] = live.get(connection.client_id)
            if socket_ is not None and socket_.request.headers.get(STAMP) != self._stamp:
                await socket_.close(1008, "not through the gate")

        inner._client_connect_cb.insert(0, check)

    def _place(self) -> None:
        """Up, and where a new browser stands."""
        page, first = self.page, self.server.initial_camera
        self.server.scene.set_up_direction(page.up.numpy())
        first.position = page.start.centre.numpy()
        ahead = page.start.forward
        distance = max(float((page.centre - page.start.centre) @ ahead), 0.05)
        first.look_at = (page.start.centre + distance * ahead).numpy()
        first.up = page.up.numpy()
        first.fov = vertical_fov(page.start)
        first.near, first.far = 0.01, 1000.0

    def _connect(self, client: Any) -> None:
        def begin(_: Any) -> None:
            watcher = Watcher(client, self.session, self.page, self.stream)
            self.watchers[client.client_id] = watcher
            for panel in self.panels:
                if hasattr(panel, "connect"):
                    panel.connect(watcher)

            @client.camera.on_update
            async def moved(_: Any) -> None:
                self.guard(lambda _: watcher.post())(None)

            watcher.post()
            self._show_news()

        self.guard(begin)(None)

    def _drew(self, client: int, seconds: float) -> None:
        watcher = self.watchers.get(client)
        for panel in self.panels:
            if watcher is not None and hasattr(panel, "drew"):
                self.guard(lambda _, p=panel: p.drew(watcher, seconds))(None)

    def _disconnect(self, client: Any) -> None:
        watcher = self._forget(client.client_id)
        if getattr(self._sockets.pop(client.client_id, None), "close_code", None) in CUT and not self._closed.is_set():
            self.session.warn("the connection to a browser broke off; the page connects again by itself")
        self.last_seen = time.monotonic()
        for panel in self.panels:
            if watcher is not None and hasattr(panel, "disconnect"):
                self.guard(lambda _, p=panel: p.disconnect(watcher))(None)

    def _forget(self, client: int) -> Watcher | None:
        watcher = self.watchers.pop(client, None)
        if watcher is not None:
            watcher.gone = True
        self.session.leave(client)
        return watcher

    def _tick(self) -> None:
        while not self._closed.wait(TICK_S):
            if self.watchers:
                self.last_seen = time.monotonic()
                self._show_news()

    def _show_news(self) -> None:
        self.news.take(self.session.since(self.news.count))
        self.news.failed = self.session.error
        for panel in self.panels:
            if hasattr(panel, "tick"):
                self.guard(lambda _, p=panel: p.tick(self.news))(None)


def fly(client: Any, camera: Any, seconds: float = 0.5) -> None:
    """Moves a browser's camera to ``camera`` (ours), smoothly."""
    import numpy as np

    target = camera.world_from_camera
    begin_position, end_position = np.array(client.camera.position), target[:3, 3].numpy()
    begin, end = np.array(client.camera.wxyz), quaternion_from_rotation(target[:3, :3])
    end = end if begin @ end >= 0 else -end
    begin_fov, end_fov = float(client.camera.fov), vertical_fov(camera)
    frames = max(int(seconds * 15), 1)
    for i in range(1, frames + 1):
        t = i / frames
        t = t * t * (3 - 2 * t)
        turned = (1 - t) * begin + t * end
        with client.atomic():
            client.camera.position = begin_position + t * (end_position - begin_position)
            client.camera.wxyz = turned / max(float(np.linalg.norm(turned)), 1e-9)
            client.camera.fov = begin_fov + t * (end_fov - begin_fov)
        client.flush()
        time.sleep(seconds / frames)


def _viser() -> Any:
    try:
        import viser
    except ImportError:
        raise InputError("the viewer needs the package viser",
                         fix="Install it: pip install 'recon-scene[view]'") from None
    return viser


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _own_address() -> str:
    """This machine's address in its network, without sending anything."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("10.255.255.255", 1))
            return probe.getsockname()[0]
        except OSError:
            return "127.0.0.1"
