"""The .splat format: 32 bytes per splat, no header, no spherical harmonics.

Record, little-endian: float32 x y z; float32 linear scale x y z; uint8 red green blue opacity; uint8 rotation w x y z
with value (byte - 128) / 128. Splats are customarily sorted by size times opacity, so that a viewer that streams the
file shows the important ones first.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from recon.errors import InputError
from recon.export.splat_file import (
    SH_C0,
    SplatBuilder,
    SplatFile,
    arrays_to_write,
    log_of,
    logit,
    sigmoid,
    to_byte,
    unit_quaternions,
)
from recon.formats.files import atomic_output, file_size, open_input
from recon.types import Gaussians

RECORD = np.dtype([("xyz", "<f4", 3), ("scale", "<f4", 3), ("rgba", "u1", 4), ("wxyz", "u1", 4)])
ROWS = 1 << 17


def read_splats(path: str | Path) -> SplatFile:
    """Reads a .splat file (degree 0). Raises ``InputError`` where its size is no multiple of 32 bytes."""
    with open_input(path) as file:
        size = file_size(file)
        if size == 0:
            raise InputError("the file is empty (0 bytes)", file=path, fix="Export or download it again.")
        if size % RECORD.itemsize:
            raise InputError(f"{size:,} bytes are no whole number of 32-byte splats", file=path,
                             fix="The file is cut off or is not a .splat file; export or download it again.")
        builder = SplatBuilder(size // RECORD.itemsize, 1)
        while builder.count + builder.dropped < size // RECORD.itemsize:
            data = file.read(ROWS * RECORD.itemsize)
            if not data:  # the file shrank while it was read
                break
            rows = np.frombuffer(data, RECORD, count=len(data) // RECORD.itemsize)
            rgba = rows["rgba"] / 255.0
            quaternions = (rows["wxyz"].astype(np.float64) - 128) / 128
            sh = ((rgba[:, None, :3] - 0.5) / SH_C0).astype(np.float32)
            builder.add(rows["xyz"], log_of(rows["scale"]), quaternions, logit(rgba[:, 3]), sh)
    return builder.finish(path, ".splat")


def write_splats(path: str | Path, gaussians: Gaussians, *, comments: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Writes a .splat file, largest and most opaque splats first. Returns what it cannot hold."""
    arrays, warnings = arrays_to_write(gaussians)
    if len(arrays) == 0:
        raise InputError("there are no splats to write", file=path, fix="A .splat file cannot be empty; use .ply.")
    if arrays.sh.shape[1] > 1:
        warnings += (".splat holds no view-dependent colour: only the base colour was written",)
    if arrays.antialiased:
        warnings += (".splat cannot say that the scene is anti-aliased",)
    opacity = sigmoid(arrays.logits)
    order = np.argsort(-opacity * np.exp(arrays.log_scales.sum(1, dtype=np.float64)), kind="stable")
    with atomic_output(path) as file:
        for start in range(0, len(order), ROWS):
            part = arrays.rows(order[start:start + ROWS])
            rows = np.empty(len(part), RECORD)
            rows["xyz"] = part.means
            rows["scale"] = np.exp(part.log_scales)
            rows["rgba"][:, :3] = to_byte((0.5 + SH_C0 * part.sh[:, 0].astype(np.float64)) * 255)
            rows["rgba"][:, 3] = to_byte(sigmoid(part.logits) * 255)
            rows["wxyz"] = np.clip(np.floor(128 * unit_quaternions(part.quaternions) + 128), 0, 255)
            file.write(rows.tobytes())
    return warnings
