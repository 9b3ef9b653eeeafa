"""Times another program's training step by its command line, in turns with something of ours.

A program is run for few and for many steps; the difference leaves out its start, its reading and its saving.
"""

from __future__ import annotations

import shlex
import statistics
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass

from recon.errors import InputError

STEPS = "{steps}"


@dataclass(frozen=True)
class Race:
    """Milliseconds per step, one value a round; a round times the peer and then ours."""

    command: str
    peer_ms: list[float]
    ours_ms: list[float]

    @property
    def ratio(self) -> float:
        """How many times longer the peer's step takes, by the medians."""
        return statistics.median(self.peer_ms) / max(statistics.median(self.ours_ms), 1e-9)


def race(command: str, ours: Callable[[], float], *, few: int = 5, many: int = 25, rounds: int = 3,
         timeout_s: float = 1800.0) -> Race:
    """``command`` with "{steps}" where the number of steps goes; ``ours`` returns milliseconds of one step of ours."""
    if STEPS not in command:
        raise InputError(f"--peer {command!r} does not say where the number of steps goes",
                         fix=f"Write {STEPS} there, as in: --peer 'opensplat scene/ -n {STEPS}'.")
    peer_ms, ours_ms = [], []
    for _ in range(rounds):
        short, long = (_seconds(command.replace(STEPS, str(n)), timeout_s) for n in (few, many))
        peer_ms.append(max(long - short, 0.0) / (many - few) * 1e3)
        ours_ms.append(ours())
    return Race(command, peer_ms, ours_ms)


def _seconds(command: str, timeout_s: float) -> float:
    begin = time.perf_counter()
    try:
        words = shlex.split(command)
        done = subprocess.run(words, capture_output=True, text=True, timeout=timeout_s, errors="replace")
    except (OSError, ValueError, IndexError) as error:
        raise InputError(f"--peer cannot be run ({error})", fix="Check the command by running it alone.") from error
    except subprocess.TimeoutExpired as error:
        raise InputError(f"--peer takes more than {timeout_s:.0f} s: {command}", fix="Give it less work.") from error
    if done.returncode != 0:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["it said nothing"]
        raise InputError(f"--peer ended with exit code {done.returncode}: {last[0]}",
                         fix="Check the command by running it alone.")
    return time.perf_counter() - begin
