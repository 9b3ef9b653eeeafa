"""Session: a fit on its own thread that can be paused, stepped, stopped, asked and watched.

The session's thread alone owns the parameters; there is no lock around them. Others post requests, and between two
steps the thread looks whether there are any (one comparison when there are none). After the fit has ended the thread
goes on answering until the session is closed. The fit itself knows nothing of this: it calls ``between_steps``.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from recon.fit.events import Event, Warned
from recon.fit.looks import Look, Looks, Picture
from recon.types import Camera, Render

__all__ = ["Look", "Picture", "Session", "Showable"]

MOST_WARNINGS = 100  # different ones; a client that fails for ever must not fill the memory


@dataclass(frozen=True)
class Showable:
    """What can be drawn: a field, its renderer and the [3] colour behind it."""

    field: Any
    renderer: Any
    background: Tensor

    def draw(self, camera: Camera, want: Collection[str], edit: Callable[[Any], Any] | None = None) -> Render:
        shown = self.field if edit is None else edit(self.field)
        return self.renderer.render(shown, camera, background=self.background, want=want)

    def in_bands(self, camera: Camera, want: Collection[str], edit: Callable[[Any], Any] | None = None
                 ) -> Callable[[int, int], Render]:
        """(top, height) -> Render of those rows; all bands show the field as it is now where the renderer can."""
        if not hasattr(self.renderer, "in_bands"):
            return lambda top, height: self.draw(camera.cropped(0, top, camera.width, height), want, edit)
        shown = self.field if edit is None else edit(self.field)
        return self.renderer.in_bands(shown, camera, background=self.background, want=want)


class Session:
    """Runs ``fit`` (a ``recon.fit.loop.Fit``), or with None only shows what is there.

    shown    what is drawn
    events   makes the iterator that is run in place of ``fit.events()`` (a program that logs them, say)
    share    of the time that watching may cost while steps are made
    """

    def __init__(self, shown: Showable, fit: Any = None, *, events: Callable[[], Iterable[Event]] | None = None,
                 share: float = 0.2) -> None:
        self.shown, self.fit = shown, fit
        self._source = events or (fit.events if fit is not None else tuple)
        self.looks = Looks(shown, share, self.warn)
        self._history: list[Event] = []
        self._calls: list[tuple[Callable[[], Any], Future]] = []
        self._wake = threading.Condition()
        self._news = False  # something was posted since the thread last looked
        self._busy = False  # the one thing that is compared between two steps
        self._hold_at: int | None = None  # paused as soon as this many steps are finished
        self._closed = self._ended = False
        self._warned: set[str] = set()
        self._left_at: tuple[float, float] | None = None
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="recon-fit", daemon=True)
        if fit is not None:
            fit.between_steps = self._between_steps

    @staticmethod
    def of_fit(fit: Any, events: Callable[[], Iterable[Event]] | None = None, share: float = 0.2) -> Session:
        """The usual one: draws with the fit's own renderer over the background of its held-out views."""
        shown = Showable(fit.field, fit.system.renderer, fit.problem.observations.background)
        return Session(shown, fit, events=events, share=share)

    # ------------------------------------------------------------ control, from any thread

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Ends the thread; a fit that still runs is stopped and saved first. Waits for it."""
        self._closed = True
        self.stop()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join()

    def pause(self) -> None:
        """No further step is begun."""
        self._control(0)

    def resume(self) -> None:
        self._control(None)

    def one_step(self) -> None:
        """Makes one step and stays paused."""
        self._control(self.step + 1)

    def stop(self) -> None:
        """Ends the fit after the current step; it saves and finishes as usual."""
        if self.fit is not None:
            self.fit.request_stop()
        self._control(None)

    def _control(self, hold_at: int | None) -> None:
        with self._wake:
            self._hold_at = hold_at
            self._call_over()

    @property
    def step(self) -> int:
        return 0 if self.fit is None else self.fit.step

    @property
    def paused(self) -> bool:
        return self._holding() and not self._ended

    @property
    def running(self) -> bool:
        """Whether the fit has not ended yet."""
        return self._thread.is_alive() and not self._ended

    def ask(self, call: Callable[[], Any]) -> Future:
        """Runs ``call`` on the session's thread between two steps; the future has what it returns or raises."""
        future: Future = Future()
        with self._wake:
            if self._closed:
                future.cancel()
                return future
            self._calls.append((call, future))
            self._call_over()
        return future

    def look(self, client: Hashable, look: Look) -> None:
        """Shows ``look`` to ``client`` from now on, in place of what it looked at before; pictures follow the fit."""
        self.looks.put(client, look)
        with self._wake:
            self._call_over()

    def _call_over(self) -> None:
        """Makes the session's thread look, whatever it is doing. Called with the lock held."""
        self._busy = self._news = True
        self._wake.notify_all()

    def leave(self, client: Hashable) -> None:
        self.looks.drop(client)

    def warn(self, message: str) -> None:
        """Adds a Warned event, once per message."""
        if message in self._warned or len(self._warned) >= MOST_WARNINGS:
            return
        self._warned.add(message)
        self._record(Warned(self.step, 0.0 if self.fit is None else self.fit.seconds, message))

    # ------------------------------------------------------------ what happened, for any thread

    def since(self, index: int) -> list[Event]:
        """Events from number ``index`` on."""
        return self._history[index:]

    def events(self) -> Iterator[Event]:
        """All events, from the first; waits for new ones, ends with the fit and raises what ended it."""
        index = 0
        while True:
            with self._wake:
                while index >= len(self._history) and not self._ended:
                    self._wake.wait(0.5)  # a timeout lets Ctrl-C through on every system
                ended = self._ended and index >= len(self._history)
            if ended:
                break
            yield self._history[index]
            index += 1
        if self.error is not None:
            raise self.error

    def _record(self, event: Event) -> None:
        with self._wake:
            self._history.append(event)
            self._wake.notify_all()

    # ------------------------------------------------------------ the session's thread

    def _run(self) -> None:
        try:
            for event in self._source():
                self._record(event)
        except BaseException as error:
            self.error = error
        with self._wake:
            self._ended = True
            self._wake.notify_all()
        while not self._closed:
            self._serve_idle(lambda: not self._closed)
        self._answer()
        with self._wake:
            for _, future in self._calls:
                future.cancel()

    def _between_steps(self) -> None:
        """Called by the fit. With nobody there this is the whole cost of being watchable."""
        if self._busy:
            self._attend()

    def _attend(self) -> None:
        now = time.perf_counter()
        if self._left_at is not None:
            self.looks.earn(self.looks.since(self._left_at))
        self._answer()
        if self._holding():
            self._serve_idle(self._holding)
            self.fit.leave_out(time.perf_counter() - now)
        else:
            self.looks.serve(self.step, free=False)
        with self._wake:
            self._busy = self.looks.watched or bool(self._calls) or self._hold_at is not None
        self._left_at = self.looks.start()

    def _holding(self) -> bool:
        hold_at = self._hold_at
        return hold_at is not None and not self._closed and self.step >= hold_at and not self.fit_stopping

    @property
    def fit_stopping(self) -> bool:
        return self.fit is not None and self.fit.stopping

    def _serve_idle(self, go_on: Callable[[], bool]) -> None:
        """Answers and draws while no steps are made; sleeps when there is nothing to do."""
        while go_on():
            self._news = False
            self._answer()
            wait = self.looks.serve(self.step, free=True)
            if wait == 0.0:
                continue
            with self._wake:
                if go_on() and not self._news:
                    self._wake.wait(0.5 if wait is None else min(wait, 0.5))

    def _answer(self) -> None:
        while self._calls:
            with self._wake:
                call, future = self._calls.pop(0)
            if not future.set_running_or_notify_cancel():
                continue
            try:
                with torch.no_grad():
                    future.set_result(call())
            except Exception as error:
                future.set_exception(error)
