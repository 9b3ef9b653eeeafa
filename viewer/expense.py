"""What showing costs: processor time of every thread that is not the fit's."""

from __future__ import annotations

import threading
import time
from pathlib import Path

FITTING = ("MainThread", "recon-fit")
MOST_S = 0.1  # of one picture; what loading a page took is not held against its first pictures
_TASKS = Path("/proc/self/task")


class Expense:
    """Colouring and compressing happen on one thread, sending on two others, and all of them take time from a fit that
    uses every core. Where the system does not tell the time of other threads, only the caller's counts."""

    def __init__(self) -> None:
        self._seen: dict[int, float] = {}
        self.since()

    def since(self) -> float:
        """Seconds since the last call, at most MOST_S."""
        now = {t.native_id: _seconds(t) for t in threading.enumerate()
               if t.name not in FITTING and t.native_id is not None}
        spent = sum(s - self._seen.get(i, 0.0) for i, s in now.items())
        self._seen = now
        return min(max(spent, 0.0), MOST_S)


def _seconds(thread: threading.Thread) -> float:
    try:
        return int((_TASKS / str(thread.native_id) / "schedstat").read_text().split()[0]) * 1e-9
    except (OSError, ValueError, IndexError):  # it has ended, or this is not Linux
        return time.thread_time() if thread is threading.current_thread() else 0.0
