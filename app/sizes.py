"""Sizes as people write them: 4GB, 3m, 1h30m, 540x960, 1/2; and the same for output."""

from __future__ import annotations

import math
import re

from recon.errors import InputError

_BYTES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
_SECONDS = {"d": 86_400.0, "h": 3_600.0, "m": 60.0, "min": 60.0, "s": 1.0, "": 1.0}
AUTO_PIXELS_PER_CORE = 260_000  # 540 x 960 for two cores: a step stays near 50 ms


def parse_bytes(text: str, option: str = "--memory") -> int:
    """"4GB" -> 4_000_000_000. Units kB MB GB TB (powers of 1000) and KiB MiB GiB TiB; no unit means bytes."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]i?)?b?\s*", text.lower())
    value = float(match[1]) * _BYTES[match[2] or ""] if match else math.nan
    if not math.isfinite(value) or value < 1:
        raise InputError(f'{option} "{text}" is not a size', fix="Write it like 4GB or 1500MB.")
    return int(value)


def parse_seconds(text: str, option: str = "--time") -> float:
    """"3m" -> 180.0; also 90s, 1h30m, 2.5m, 1:30 (minutes:seconds), 1:02:03; no unit means seconds."""
    clean = text.lower().replace(" ", "")
    total = 0.0
    if re.fullmatch(r"\d+(:\d{1,2}){1,2}", clean):
        for part in clean.split(":"):
            total = total * 60 + int(part)
    elif re.fullmatch(r"(\d+(\.\d+)?(d|h|min|m|s|$))+", clean):
        for number, unit in re.findall(r"(\d+(?:\.\d+)?)(d|h|min|m|s|$)", clean):
            total += float(number) * _SECONDS[unit]
    if not math.isfinite(total) or total <= 0:
        raise InputError(f'{option} "{text}" is not a duration', fix="Write it like 3m, 90s or 1h30m.")
    return total


def parse_resolution(text: str, option: str = "--resolution") -> tuple[int, int] | float | None:
    """"540x960" -> (540, 960), a box that photos are scaled down into; "1/2" or "0.5" -> 0.5; "auto" -> None."""
    clean = text.lower().replace(" ", "").replace("×", "x")
    if clean == "auto":
        return None
    if clean == "full":
        return 1.0
    if match := re.fullmatch(r"(\d{1,6})x(\d{1,6})", clean):
        size = int(match[1]), int(match[2])
        if min(size) >= 16:
            return size
        raise InputError(f"{option} {text} is too small", fix="Photos need at least 16x16 pixels.")
    if match := re.fullmatch(r"(\d{1,4})/(\d{1,4})", clean):
        factor = int(match[1]) / int(match[2]) if int(match[2]) else math.nan
    else:
        try:
            factor = float(clean)
        except ValueError:
            factor = math.nan
    if not 0 < factor <= 1:
        raise InputError(f'{option} "{text}" is not a size', fix="Write it like 540x960, 1/2 or auto.")
    return factor


def fitted(width: int, height: int, box: tuple[int, int]) -> tuple[int, int]:
    """The size of a ``width`` x ``height`` photo scaled down into ``box``, turned to the photo's orientation."""
    if (width > height) != (box[0] > box[1]):
        box = box[1], box[0]
    factor = min(1.0, box[0] / width, box[1] / height)
    return max(1, round(width * factor)), max(1, round(height * factor))


def auto_factor(width: int, height: int, cores: int) -> float:
    """Downscale factor (at most 1) at which this machine fits comfortably: about 0.26 MP per core, at most 2 MP."""
    budget = min(AUTO_PIXELS_PER_CORE * max(1, cores), 2_000_000)
    return min(1.0, math.sqrt(budget / (width * height)))


def format_bytes(n: float) -> str:
    """1_234_567_890 -> "1.2 GB"."""
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if n >= 0.9995 * size:
            return f"{n / size:.1f} {unit}" if n < 99.5 * size else f"{n / size:.0f} {unit}"
    return f"{n:.0f} B"


def format_seconds(seconds: float) -> str:
    """75 -> "1:15", 3_700 -> "1:01:40"."""
    if not math.isfinite(seconds):
        return "–"
    s = max(0, round(seconds))
    return f"{s // 3600}:{s % 3600 // 60:02d}:{s % 60:02d}" if s >= 3600 else f"{s // 60}:{s % 60:02d}"


def format_about(seconds: float) -> str:
    """A duration in words: "about 40 s", "about 1.5 min", "about 8 min", "about 1.5 h"."""
    if seconds < 60:
        return f"about {max(1, round(seconds))} s"
    if seconds < 300:
        return f"about {round(seconds / 30) / 2:g} min"
    if seconds < 5400:
        return f"about {round(seconds / 60)} min"
    return f"about {seconds / 3600:.1f} h"


def format_count(n: int) -> str:
    """142_300 -> "142k"; small numbers in full."""
    if n < 10_000:
        return f"{n:,}"
    return f"{n / 1e3:.0f}k" if n < 999_500 else f"{n / 1e6:.2f}M"
