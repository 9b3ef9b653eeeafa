"""Checkpoints: complete or absent, the last two kept, so that a fit killed at any moment can go on.

step_N.pt holds what decides how the fit goes on, and nothing else: equal fits write equal bytes. What differs from run
to run (seconds, memory) is beside it in step_N.json, and may be lost.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import torch

from recon.errors import InputError

_NAME = re.compile(r"step_(\d+)\.pt$")


def save(folder: Path, step: int, state: dict[str, Any], costs: dict[str, float], keep: int = 2) -> Path:
    """Writes ``state`` (plain values and tensors) to folder/step_N.pt through a temporary file and a rename.

    ``costs`` are numbers for the record, such as the seconds spent so far.

    Raises OSError when the disk is full or read-only; what was saved before stays.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"step_{step:07d}.pt"
    temporary = target.with_suffix(".tmp")
    try:
        with open(temporary, "wb") as f:
            try:
                torch.save(state, f)
            except RuntimeError as error:  # torch reports a failed write as its own error
                raise OSError(f"could not write {temporary}: {error}") from error
            f.flush()
            os.fsync(f.fileno())
        os.replace(temporary, target)
        target.with_suffix(".json").write_text(json.dumps(costs))
    finally:
        temporary.unlink(missing_ok=True)
    for old in _saved(folder)[:-keep]:
        old.unlink(missing_ok=True)
        old.with_suffix(".json").unlink(missing_ok=True)
    return target


def load_costs(folder: Path, step: int) -> dict[str, float]:
    """The numbers saved with the checkpoint of a step; empty when they were lost."""
    try:
        return {k: float(v) for k, v in json.loads((folder / f"step_{step:07d}.json").read_text()).items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def load_latest(folder: Path) -> tuple[dict[str, Any] | None, list[str]]:
    """The newest readable checkpoint (None when there is none) and warnings about unreadable ones."""
    warnings: list[str] = []
    for path in reversed(_saved(folder)):
        try:
            return torch.load(path, map_location="cpu", weights_only=True), warnings
        except Exception as error:  # any damage: torch raises many kinds
            warnings.append(f"{path.name} could not be read ({type(error).__name__}); going back to the one before")
    if warnings:
        raise InputError("no checkpoint could be read", file=folder, fix="Start again without --resume.")
    return None, warnings


def _saved(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted((p for p in folder.iterdir() if _NAME.match(p.name)), key=lambda p: int(_NAME.match(p.name)[1]))  # type: ignore[index]
