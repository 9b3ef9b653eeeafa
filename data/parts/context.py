"""Context of one read: the caller's wishes, and the warnings collected on the way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

# progress(stage, done, total): stage is a short readable phrase, total may be 0 when it is not known
Progress = Callable[[str, int, int], None]

_MAX_NAMES = 8


@dataclass
class Context:
    """Travels through a reader.

    images      folder where the images are, when the caller named it apart from the poses
    work_dir    folder for what is expensive to make (structure from motion, video frames); None: the user's cache
    warnings    one readable sentence each; ends up in ``Capture.warnings``
    """

    progress: Progress | None = None
    work_dir: Path | None = None
    images: Path | None = None
    warnings: list[str] = field(default_factory=list)

    def report(self, stage: str, done: int = 0, total: int = 0) -> None:
        if self.progress is not None:
            self.progress(stage, done, total)

    def warn(self, sentence: str) -> None:
        if sentence not in self.warnings:
            self.warnings.append(sentence)


def listing(names: list[str]) -> str:
    """Names in one line, shortened after a few: ``a, b, c and 12 more``."""
    head = ", ".join(names[:_MAX_NAMES])
    return head if len(names) <= _MAX_NAMES else f"{head} and {len(names) - _MAX_NAMES} more"


def plural(count: int, noun: str) -> str:
    """``1 photo``, ``2 photos``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
