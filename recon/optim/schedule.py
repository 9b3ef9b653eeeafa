"""Schedule: a value that changes over a fit. A weight or rate in a preset is always a Schedule, never a bare number."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """From ``start`` to ``end`` between two shares of the fit; log-linear where both are positive."""

    start: float
    # the value at the end; the same as start where left out
    end: float | None = None
    # share of the fit at which the change begins and ends
    begin: float = 0.0
    until: float = 1.0

    def at(self, share: float) -> float:
        """The value when ``share`` (0..1) of the fit is done."""
        if self.end is None or self.end == self.start:
            return self.start
        span = max(self.until - self.begin, 1e-9)
        t = min(max((share - self.begin) / span, 0.0), 1.0)
        if self.start > 0 and self.end > 0:
            return math.exp((1 - t) * math.log(self.start) + t * math.log(self.end))
        return (1 - t) * self.start + t * self.end
