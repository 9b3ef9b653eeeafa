"""What a fit says while it runs. The loop yields these; programs, notebooks and viewers only read them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Event:
    """``step`` is the number of finished optimisation steps; ``seconds`` the fitting time so far (resumes added up)."""

    step: int
    seconds: float


@dataclass(frozen=True)
class Started(Event):
    """The fit is about to make its first step. ``total_steps`` is the plan; ``resumed`` when it went on from a save."""

    total_steps: int
    num_primitives: int
    resumed: bool = False


@dataclass(frozen=True)
class Progress(Event):
    """A short status, a few times per second.

    loss            smoothed training loss
    psnr            last held-out PSNR in dB, or None before the first evaluation
    steps_per_s     recent speed
    seconds_left    estimate until the planned end
    memory_bytes    resident memory of this process
    resolution      (width, height) of the photos compared with in this step
    """

    total_steps: int
    loss: float
    psnr: float | None
    num_primitives: int
    steps_per_s: float
    seconds_left: float
    memory_bytes: int
    resolution: tuple[int, int]


@dataclass(frozen=True)
class Changed(Event):
    """A strategy changed the structure: what it did, in a few words, and the new count."""

    what: str
    num_primitives: int


@dataclass(frozen=True)
class Evaluated(Event):
    """Quality on the held-out views (or on training views where none are held out: ``split`` says which)."""

    split: str
    psnr: float
    ssim: float
    views: dict[str, dict[str, float]] = field(default_factory=dict)
    final: bool = False


@dataclass(frozen=True)
class Warned(Event):
    """Something worth knowing that does not stop the fit."""

    message: str


@dataclass(frozen=True)
class Saved(Event):
    """A checkpoint is complete on disk."""

    path: Path


@dataclass(frozen=True)
class Finished(Event):
    """The plan is done, or the fit was asked to stop (``stopped`` = True; it was saved and can go on)."""

    stopped: bool
    num_primitives: int
    peak_memory_bytes: int
