"""How a fit is shown: a live bar on a terminal, plain lines in a pipe, JSON lines, or nothing but the result."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from recon.app.sizes import format_bytes, format_count, format_seconds

if TYPE_CHECKING:
    from recon.fit.events import Event, Progress

LABEL = 12  # width of the first column


class Reporter(Protocol):
    """Where the program's words go. ``line`` is one labelled row, ``event`` whatever the fit yields."""

    def line(self, label: str, text: str) -> None: ...

    def step(self, label: str, text: str, share: float | None) -> None:
        """Progress of what comes before the fit (finding poses); ``share`` in 0..1 where it is known."""
        ...

    def warn(self, text: str) -> None: ...

    def event(self, event: Event) -> None: ...

    def close(self) -> None: ...


def status(event: Progress) -> str:
    """The words behind the bar: counts, speed, quality, memory, time left."""
    quality = f"PSNR {event.psnr:.1f} (held out)  " if event.psnr is not None else ""
    speed = f"{event.steps_per_s:.0f}" if event.steps_per_s >= 10 else f"{event.steps_per_s:.1f}"
    return (f"{event.step:,}/{event.total_steps:,}  {speed} it/s  {quality}"
            f"{format_count(event.num_primitives)} primitives  {format_bytes(event.memory_bytes)}  "
            f"{format_seconds(event.seconds_left)} left")


class LineReporter:
    """One plain line every few seconds; for pipes, CI logs and editors."""

    def __init__(self, every_s: float = 5.0, out: TextIO | None = None) -> None:
        self.every_s, self.out, self._next, self._last = every_s, out or sys.stdout, 0.0, ""

    def line(self, label: str, text: str) -> None:
        print(f"{label:<{LABEL}}{text}", file=self.out, flush=True)

    def step(self, label: str, text: str, share: float | None) -> None:
        now = time.monotonic()
        if self._last != label:  # what is over in two seconds needs no words
            self._last, self._next = label, now + 2.0
        elif now >= self._next:
            self._next = now + self.every_s
            self.line(label, text if share is None else f"{text}  {share:.0%}")

    def warn(self, text: str) -> None:
        self.line("Note", text)

    def event(self, event: Event) -> None:
        from recon.fit import events

        if isinstance(event, events.Progress):
            now = time.monotonic()
            if now >= self._next or event.step == event.total_steps:
                self._next = now + self.every_s
                self.line("Fitting", f"{event.step / max(1, event.total_steps):4.0%}  {status(event)}")
        elif isinstance(event, events.Warned):
            self.warn(event.message)

    def close(self) -> None:
        self.out.flush()


class QuietReporter(LineReporter):
    """Nothing but warnings, on stderr."""

    def line(self, label: str, text: str) -> None:
        pass

    def step(self, label: str, text: str, share: float | None) -> None:
        pass

    def warn(self, text: str) -> None:
        print(f"note: {text}", file=sys.stderr, flush=True)


class JsonReporter(LineReporter):
    """Every event as one JSON object per line on stdout; lines for people become {"event": "line", ...}."""

    def _put(self, value: dict[str, Any]) -> None:
        print(json.dumps(value), file=self.out, flush=True)

    def line(self, label: str, text: str) -> None:
        self._put({"event": "line", "label": label, "text": text})

    def step(self, label: str, text: str, share: float | None) -> None:
        now = time.monotonic()
        if now >= self._next or share == 1.0:
            self._next = now + 0.5
            self._put({"event": "preparing", "label": label, "text": text, "share": share})

    def warn(self, text: str) -> None:
        self._put({"event": "warned", "message": text})

    def event(self, event: Event) -> None:
        from recon.app.run_folder import event_to_plain

        self._put(event_to_plain(event))


class LiveReporter(LineReporter):
    """A bar that is redrawn in place on a terminal; finished lines stay above it."""

    def __init__(self) -> None:
        from rich.console import Console

        super().__init__()
        self.console = Console(highlight=False)
        self._bar: Any = None
        self._task: Any = None

    def line(self, label: str, text: str) -> None:
        from rich.markup import escape

        self.console.print(f"[bold]{label:<{LABEL}}[/bold]{escape(text)}", soft_wrap=True)

    def warn(self, text: str) -> None:
        from rich.markup import escape

        self.console.print(f"[yellow]{'Note':<{LABEL}}[/yellow]{escape(text)}", soft_wrap=True)

    def step(self, label: str, text: str, share: float | None) -> None:
        self._show(label, share, text)
        if share == 1.0:
            self._end()

    def event(self, event: Event) -> None:
        from recon.fit import events

        if isinstance(event, events.Progress):
            share = event.step / max(1, event.total_steps)
            self._show("Fitting", share, f"{share:4.0%}  {status(event)}")
        elif isinstance(event, events.Warned):
            self.warn(event.message)
        elif isinstance(event, events.Finished):
            self._end()

    def _show(self, label: str, share: float | None, text: str) -> None:
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as Bar

        if self._bar is None:
            self._bar = Bar(TextColumn("[bold]{task.description}[/bold]"), BarColumn(bar_width=24),
                            TextColumn("{task.fields[text]}", markup=False), console=self.console,
                            refresh_per_second=5)
            self._task = self._bar.add_task(f"{label:<{LABEL - 1}}", total=None, text=text)
            self._bar.start()
        self._bar.update(self._task, description=f"{label:<{LABEL - 1}}", total=None if share is None else 1.0,
                         completed=share or 0.0, text=text)

    def _end(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def close(self) -> None:
        self._end()


def make(*, quiet: bool, json_lines: bool) -> Reporter:
    """The reporter that suits the flags and the terminal."""
    from recon.app.machine import is_terminal

    if json_lines:
        return JsonReporter()
    if quiet:
        return QuietReporter()
    return LiveReporter() if is_terminal() else LineReporter()
