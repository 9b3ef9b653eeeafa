"""Room for lists on a GPU, so that no step waits until the host knows how long they are.

Lists (tile entries of a picture, samples of rays, samples that weigh something) are made with a capacity. A step with
more entries than that counts for nothing: neither parameters, moments nor statistics change, and the same holds for
every step after it. The host learns of it a step late, makes the room larger and makes those steps again. What is lost
is time, never a bit.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from recon.ops import cuda

MARGIN = 1.25  # room for each entry that was needed so far
WINDOW = 20  # steps that show how much is needed: after so many a list with much more room than that loses it
MOST = 2**31 - 1
_UNIT = 4096  # capacities are multiples of it, so that the allocator sees few sizes
_open = threading.local()


class Room:
    """How many entries the lists of a fit's steps may have, list by list; one without a size yet is waited for."""

    def __init__(self) -> None:
        self.sizes: dict[str, int] = {}
        self.grown = 0  # how often a step had to be made again
        self._rows = self._steps = 0  # _steps: that ``_needed`` is of
        self._seen: dict[str, int] = {}  # what was needed when the host last had to wait
        self._needed: dict[str, Tensor] = {}  # [1] int32 on the device: the most entries of some last steps
        self._sent: Callable[[], float] | None = None

    @contextmanager
    def opened(self, rows: int = 1) -> Iterator[None]:
        """Lists that are made inside, only one step's, take their capacity from here; of ``rows`` Gaussians, whose
        number tells how much more is needed than before."""
        if rows != self._rows:  # which they do only after the host has waited, see ``lost``
            for name, known in self._seen.items():
                if known:
                    self.sizes[name] = _rounded(known * MARGIN * rows / self._rows)
            self._forget()
            self._rows, self._sent, self._seen = rows, None, {}
        with within(self):
            yield

    def needed(self, name: str) -> int:
        """The most entries of some last steps; waits for the GPU. 0 where no such list was made there."""
        return self._known().get(name, 0)

    def take(self, name: str, count: Tensor) -> int:
        """Capacity of a list that is to have ``count`` [1] int32 entries."""
        name = getattr(_open, "owner", "") + name
        if not self.sizes.get(name):
            self.sizes[name] = _rounded(_checked(int(count)) * MARGIN)
        count = torch.where(count < 0, MOST, count)
        before = self._needed.get(name)
        self._needed[name] = count.clone() if before is None else torch.maximum(before, count)
        return self.sizes[name]

    def enough(self) -> Tensor | None:
        """[1] bool: whether all lists had room since the host last looked; None where none was made."""
        return None if not self._needed else self._missing() <= 0

    def lost(self, *, wait: bool) -> int:
        """To be called after each step: how many of the last steps counted for nothing and are to be made again.

        That is known of the step before this one; with ``wait``, which waits for the GPU, of this one too.
        """
        if not self._needed:
            return 0
        self._steps += 1
        before, self._sent = self._sent, cuda.start_copy(self._missing())
        lost = 2 if before is not None and before() > 0 else 0
        if wait and not lost:
            lost = 1 if self._sent() > 0 else 0
        if wait or lost:
            self._sent = None
            self._look(grow=lost > 0)
        return lost

    def unsettled(self) -> int:
        """Between steps: waits for the GPU; 1 if the last step counted for nothing and is to be made again, else 0."""
        if self._sent is None:
            return 0
        lost, self._sent = int(self._sent() > 0), None
        self._look(grow=lost > 0)
        return lost

    def _missing(self) -> Tensor:
        """[1] int32: how many entries the list that lacks most lacks; 0 or less where there was room."""
        lacking = [needed - self.sizes[name] for name, needed in self._needed.items()]
        return lacking[0] if len(lacking) == 1 else torch.stack(lacking).amax(0)

    def _known(self) -> dict[str, int]:
        """What was needed, list by list; waits for the GPU."""
        if not self._needed:
            return {}
        found = torch.cat(list(self._needed.values())).tolist()
        return {name: _checked(entries) for name, entries in zip(self._needed, found, strict=True)}

    def _look(self, grow: bool) -> None:
        """Waits. Sizes change only here and in ``opened``: when no list is under way that was compared with them."""
        self._seen, telling = self._known(), self._steps >= WINDOW
        self.grown += grow
        factor = 1.0  # lists that are made of a list that was cut off may need as much more as that one
        for name, known in self._seen.items():
            wanted, size = _rounded(known * MARGIN), self.sizes[name]
            if known > size or factor > 1.0:
                self.sizes[name] = max(wanted, _rounded(size * factor))
                factor = max(factor, wanted / size) if known > size else factor
            elif telling and wanted < 0.8 * size:
                self.sizes[name] = wanted
        if grow or telling:
            self._forget()

    def _forget(self) -> None:
        self._steps = 0
        for needed in self._needed.values():
            needed.zero_()


def current() -> Room | None:
    """The room that lists are to take their capacity from, if one is open on this thread."""
    room: Room | None = getattr(_open, "room", None)
    return room


@contextmanager
def within(room: Room | None) -> Iterator[None]:
    """Lists that are made inside take their capacity from ``room``; without one they have their true lengths."""
    before, _open.room = current(), room
    try:
        yield
    finally:
        _open.room = before


@contextmanager
def lists_of(owner: str) -> Iterator[None]:
    """Lists that are made inside have sizes of their own: the same names elsewhere say nothing about them."""
    _open.owner = f"{owner}: "
    try:
        yield
    finally:
        _open.owner = ""


def _rounded(entries: float) -> int:
    return max(-(-int(entries) // _UNIT), 1) * _UNIT


def _checked(entries: int) -> int:
    if not 0 <= entries < MOST:
        raise ValueError("more than 2^31 entries in one list")
    return entries
