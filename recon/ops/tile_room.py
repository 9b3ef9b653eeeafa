"""Room for tile lists on a GPU, so that no step waits until the host knows how long they are.

Lists are made with a capacity. A picture with more entries than that counts for nothing: its records are marked as not
drawn, so that neither parameters, moments nor statistics change, and the same holds for every picture after it. The
host learns of it a step late, makes the room larger and makes those steps again. What is lost is time, never a bit.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from recon.ops import cuda

MARGIN = 1.25  # room for each entry that was needed so far
MOST = 2**31 - 1
_UNIT = 4096  # capacities are multiples of it, so that the allocator sees few sizes
_RADIUS = 11  # column of a record; 0 means not drawn
_open = threading.local()


class TileRoom:
    """How many tile entries the pictures of a fit may have. ``size`` 0: unknown, so the first picture is waited for."""

    def __init__(self) -> None:
        self.size = 0
        self.grown = 0  # how often a step had to be made again
        self._rows = self._known = 0  # _known: the most entries of these rows that the host knows of
        self._needed: Tensor | None = None  # [1] int32 on the device: the most entries since the host last looked
        self._sent: Callable[[], float] | None = None

    @contextmanager
    def opened(self, rows: int) -> Iterator[None]:
        """Pictures of ``rows`` Gaussians that are drawn inside take their lists from here; only one step's."""
        if rows != self._rows:  # which they do only after the host has waited, see ``lost``
            if self._rows and self._known:
                self.size = _rounded(self._known * MARGIN * rows / self._rows)
            self._rows, self._sent, self._known = rows, None, 0
            if self._needed is not None:
                self._needed.zero_()
        _open.room = self
        try:
            yield
        finally:
            _open.room = None

    def needed(self) -> int:
        """The most entries since the host last had to wait; waits for the GPU. 0 where nothing was drawn there."""
        return 0 if self._needed is None else _checked(cuda.start_copy(self._needed)())

    def take(self, begin: Tensor) -> int:
        """Capacity for the lists of a picture; ``begin[-1]`` [rows + 1] is the number of its entries."""
        count = begin[-1:]
        if self.size == 0:
            self.size = _rounded(_checked(int(count)) * MARGIN)
        count = torch.where(count < 0, MOST, count)
        self._needed = count.clone() if self._needed is None else torch.maximum(self._needed, count)
        return self.size

    def seal(self, records: Tensor) -> None:
        """Marks all records [n, 12] as not drawn if there was too little room since the host last looked."""
        assert self._needed is not None, "take comes first"
        records[:, _RADIUS].mul_(self._needed <= self.size)

    def lost(self, *, wait: bool) -> int:
        """To be called after each step: how many of the last steps counted for nothing and are to be made again.

        That is known of the step before this one; with ``wait``, which waits for the GPU, of this one too.
        """
        if self._needed is None:
            return 0
        before, self._sent = self._sent, cuda.start_copy(self._needed)
        known = 0 if before is None else _checked(before())
        lost = 2 if known > self.size else 0
        if wait and not lost:
            known = _checked(self._sent())
            lost = 1 if known > self.size else 0
        if lost:
            known = _checked(self._sent())
        if wait or lost:
            self._sent = None
        self._grow(known)
        return lost

    def unsettled(self) -> int:
        """Between steps: waits for the GPU; 1 if the last step counted for nothing and is to be made again, else 0."""
        if self._sent is None:
            return 0
        known, self._sent = _checked(self._sent()), None
        lost = int(known > self.size)
        self._grow(known)
        return lost

    def _grow(self, known: int) -> None:
        """``size`` changes only when no picture is under way that was compared with it."""
        self._known = known
        if known > self.size and self._needed is not None:
            self.grown += 1
            self.size = _rounded(known * MARGIN)
            self._needed.zero_()


def current() -> TileRoom | None:
    """The room that pictures are to take their lists from, if one is open on this thread."""
    room: TileRoom | None = getattr(_open, "room", None)
    return room


def _rounded(entries: float) -> int:
    return max(-(-int(entries) // _UNIT), 1) * _UNIT


def _checked(entries: float) -> int:
    if not 0 <= entries < MOST:
        raise ValueError("more than 2^31 tile entries in one picture")
    return int(entries)
