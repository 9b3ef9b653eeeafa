"""Reading a JSON file so that a damaged one is explained, and taking numbers out of it safely."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

from recon.errors import InputError

_LARGEST_BYTES = 1 << 30


def read_json(file: Path) -> dict[str, Any]:
    """The object in ``file``. Raises ``InputError`` that says where a damaged file breaks off."""
    try:
        if file.stat().st_size > _LARGEST_BYTES:
            raise InputError("is larger than 1 GB: not a camera file", file=file)
        text = file.read_text(encoding="utf-8-sig", errors="replace")
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", file=file) from None
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise _explained(file, text, error) from None
    except (RecursionError, ValueError):
        raise InputError("is not a camera file: nested too deeply or with impossible numbers", file=file) from None
    if not isinstance(data, dict):
        raise InputError("holds no object with frames", file=file)
    return data


def number(value: object) -> float | None:
    """A finite number, or None if it is anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        out = float(value)
    except OverflowError:
        return None
    return out if math.isfinite(out) else None


def _explained(file: Path, text: str, error: json.JSONDecodeError) -> InputError:
    fix = "Copy it again, or let recon find the poses from the photos: --poses photos"
    if not text.strip():
        return InputError("is empty", file=file, fix=fix)
    starts = [m.start() for m in re.finditer(r'"file_path"', text[: error.pos])]
    frame = len(starts)
    where = f"in the middle of frame {frame} " if frame else ""
    # At the end of the text, or in a string that never ends: cut off. Elsewhere: damaged.
    if error.pos >= len(text.rstrip()) - 1 or "Unterminated" in error.msg:
        line = text.rstrip().count("\n") + 1
        return InputError(f"ends {where or 'too early '}(line {line})", file=file, fix=f"It looks truncated. {fix}")
    near = f" (frame {frame})" if frame else ""
    return InputError(f"is damaged at line {error.lineno}, column {error.colno}{near}", file=file, fix=fix)
