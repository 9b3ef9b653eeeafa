"""What every splat reader returns, and the checks and conversions that all splat formats share."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recon.errors import InputError
from recon.types import Gaussians

SH_C0 = 0.28209479177387814
COEFFICIENTS = (1, 4, 9, 16)  # per channel, for degree 0..3
MAX_LOGIT = 12.0  # stands for opacity 0 or 1, whose logits are infinite
MAX_LOG_SCALE = 20.0


@dataclass(frozen=True)
class SplatFile:
    """A splat file as read.

    gaussians   in the frame of the file's numbers; formats with a frame of their own (.spz) are turned to RDF
                (x right, y down, z forward), which is what PLY files of the field hold
    warnings    what was left out, repaired or guessed, one readable sentence each
    format      the file's kind in words, for example "INRIA PLY, SH degree 3"
    meta        what else the file says: "comments" (tuple of str), "up" ("x", "y", "z" or three numbers), "columns"
                (unknown ones that were left out), "version", "frame", "origin" (three numbers that were subtracted)
    """

    gaussians: Gaussians
    warnings: tuple[str, ...]
    format: str
    meta: dict[str, Any] = field(default_factory=dict)


class SplatBuilder:
    """Collects blocks of splats into float32 arrays of a known capacity, leaving out rows that are not finite."""

    def __init__(self, capacity: int, coefficients: int) -> None:
        """``coefficients`` per channel (1, 4, 9 or 16); memory is touched only as rows come in."""
        self.means = np.empty((capacity, 3), np.float32)
        self.log_scales = np.empty((capacity, 3), np.float32)
        self.quaternions = np.empty((capacity, 4), np.float32)
        self.logits = np.empty(capacity, np.float32)
        self.sh = np.empty((capacity, coefficients, 3), np.float32)
        self.count = 0
        self.dropped = 0

    def add(
        self, means: np.ndarray, log_scales: np.ndarray, quaternions: np.ndarray, logits: np.ndarray, sh: np.ndarray
    ) -> None:
        """Appends rows: [m, 3], [m, 3], [m, 4] w x y z of any length, [m], [m, coefficients, 3].

        Infinite logits and scales are clamped (they mean opaque, clear, or flat); NaN anywhere, or infinite positions,
        rotations or colours, drop the row.
        """
        with np.errstate(all="ignore"):
            means, sh = means.astype(np.float32), sh.astype(np.float32, copy=False)
            good = np.isfinite(means).all(1) & ~np.isnan(log_scales).any(1) & np.isfinite(quaternions).all(1)
            good &= ~np.isnan(logits) & np.isfinite(sh).all((1, 2))
        if not good.all():
            self.dropped += int(len(good) - good.sum())
            means, log_scales, quaternions = means[good], log_scales[good], quaternions[good]
            logits, sh = logits[good], sh[good]
        rows = slice(self.count, self.count + len(means))
        self.means[rows] = means
        self.log_scales[rows] = np.clip(log_scales, -MAX_LOG_SCALE, MAX_LOG_SCALE)
        self.quaternions[rows] = unit_quaternions(quaternions)
        self.logits[rows] = np.where(np.isinf(logits), np.copysign(MAX_LOGIT, logits), logits)
        self.sh[rows] = sh
        self.count += len(means)

    def finish(
        self, path: str | Path, format: str, *, antialiased: bool = False, warnings: tuple[str, ...] = (),
        meta: dict[str, Any] | None = None,
    ) -> SplatFile:
        """The result; raises ``InputError`` when every single row had to be dropped."""
        n = self.count
        if self.dropped and not n:
            raise InputError(f"all {self.dropped:,} splats hold NaN or infinite values", file=path,
                             fix="Export the scene again from an earlier checkpoint.")
        if self.dropped:
            all_rows = n + self.dropped
            warnings += (f"{self.dropped:,} of {all_rows:,} splats hold NaN or infinite values and were left out",)
        arrays = (self.means, self.log_scales, self.quaternions, self.logits, self.sh)
        means, log_scales, quaternions, logits, sh = (torch.from_numpy(a[:n]) for a in arrays)
        gaussians = Gaussians(means, log_scales, quaternions, logits, sh, antialiased)
        return SplatFile(gaussians, warnings, format, meta or {})


def unit_quaternions(q: np.ndarray) -> np.ndarray:
    """Rows [n, 4] -> float64 unit rows; rows that are (almost) zero become the identity 1, 0, 0, 0."""
    q = q.astype(np.float64)
    largest = np.abs(q).max(axis=1, keepdims=True, initial=0.0)
    none = largest < 1e-12
    q = q / np.where(none, 1.0, largest)
    q = q / np.maximum(np.linalg.norm(q, axis=1, keepdims=True), 0.5)
    return np.where(none, [1.0, 0.0, 0.0, 0.0], q)


def logit(opacity: np.ndarray) -> np.ndarray:
    """Opacity 0..1 -> logit; 0 and 1 give -inf and +inf, which ``SplatBuilder.add`` clamps."""
    with np.errstate(divide="ignore"):
        p = opacity.astype(np.float64)
        return np.log(p) - np.log1p(-p)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Logit -> opacity in float64, without overflow."""
    return 0.5 * (1.0 + np.tanh(0.5 * logits.astype(np.float64)))


def log_of(scale: np.ndarray) -> np.ndarray:
    """Linear scale -> logarithm; 0 becomes -inf (a flat splat), the sign is ignored."""
    with np.errstate(divide="ignore"):
        return np.log(np.abs(scale.astype(np.float64)))


def to_byte(x: np.ndarray) -> np.ndarray:
    """Rounds to the nearest of 0..255."""
    return np.clip(np.rint(x), 0, 255).astype(np.uint8)


@dataclass(frozen=True)
class SplatArrays:
    """``Gaussians`` as float32 numpy arrays on the CPU, finite, shaped as there."""

    means: np.ndarray
    log_scales: np.ndarray
    quaternions: np.ndarray
    logits: np.ndarray
    sh: np.ndarray
    antialiased: bool

    def __len__(self) -> int:
        return len(self.means)

    def rows(self, rows: slice | np.ndarray) -> SplatArrays:
        return replace(
            self, means=self.means[rows], log_scales=self.log_scales[rows], quaternions=self.quaternions[rows],
            logits=self.logits[rows], sh=self.sh[rows])


def arrays_to_write(gaussians: Gaussians) -> tuple[SplatArrays, tuple[str, ...]]:
    """Checks what is about to be written: (finite arrays, warnings). Rows with NaN or Inf are left out and counted."""
    n, k = len(gaussians), gaussians.sh.shape[1] if gaussians.sh.ndim == 3 else 0
    shapes = {"means": (n, 3), "log_scales": (n, 3), "quaternions": (n, 4), "logits": (n,), "sh": (n, k, 3)}
    for name, shape in shapes.items():
        if tuple(getattr(gaussians, name).shape) != shape or k not in COEFFICIENTS:
            raise ValueError(f"{name} has the shape {list(getattr(gaussians, name).shape)}, expected {list(shape)}")
    whole = SplatArrays(
        **{name: getattr(gaussians, name).detach().cpu().float().numpy() for name in shapes},
        antialiased=gaussians.antialiased)
    good = np.isfinite(whole.means).all(1) & ~np.isnan(whole.log_scales).any(1) & ~np.isnan(whole.logits)
    good &= np.isfinite(whole.quaternions).all(1) & np.isfinite(whole.sh).all((1, 2))
    warnings: tuple[str, ...] = ()
    if not good.all():
        warnings = (f"{n - int(good.sum()):,} of {n:,} splats hold NaN or infinite values and were not written",)
        whole = whole.rows(good)
    logits = np.where(np.isinf(whole.logits), np.copysign(np.float32(MAX_LOGIT), whole.logits), whole.logits)
    log_scales = np.clip(whole.log_scales, -MAX_LOG_SCALE, MAX_LOG_SCALE)
    return replace(whole, logits=logits, log_scales=log_scales), warnings

