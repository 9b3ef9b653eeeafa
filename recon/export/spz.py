"""Niantic's .spz: quantised splats, about 20 bytes each before compression. Reads versions 1 to 4, writes 3 or 4.

Versions 1 to 3 are one gzip stream around a 16-byte header and six arrays; version 4 has a plain 32-byte header and one
zstd frame per array. Numbers in the file are right, up, back (RUB) unless an extension record names another frame;
they are turned to and from right, down, forward (RDF), the frame of PLY files and of our scenes. Files made by
Niantic's own PLY converter keep the PLY's numbers without saying so: those come out turned by 180 degrees about x.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from recon.errors import InputError
from recon.export import spz_container
from recon.export.splat_file import (
    COEFFICIENTS,
    MAX_LOG_SCALE,
    SplatArrays,
    SplatBuilder,
    SplatFile,
    arrays_to_write,
    logit,
    sigmoid,
    to_byte,
    unit_quaternions,
)
from recon.export.spz_container import ANTIALIASED, FRAME_RECORD, Content
from recon.formats.files import atomic_output, open_input
from recon.types import Gaussians, Similarity

# Values 1 to 16 of the frame record.
FRAMES = (
    "LDB", "RDB", "LUB", "RUB", "LDF", "RDF", "LUF", "RUF",
    "LFD", "RFD", "LFU", "RFU", "LBD", "RBD", "LBU", "RBU",
)  # fmt: skip
COLOUR_SCALE = 0.15  # dc = (byte / 255 - 0.5) / 0.15
ROWS = 1 << 16
_AXES = {"R": (1, 0, 0), "L": (-1, 0, 0), "D": (0, 1, 0), "U": (0, -1, 0), "F": (0, 0, 1), "B": (0, 0, -1)}


def rdf_from(frame: str) -> Similarity:
    """The turn (a mirror for left-handed frames) from a frame such as "RUB" to RDF; letters say where X, Y, Z point."""
    return Similarity(rotation=torch.tensor([_AXES[c] for c in frame], dtype=torch.float64).T)


def read_splats(path: str | Path) -> SplatFile:
    """Reads .spz versions 1 to 4. Raises ``InputError``; sizes are checked against the file's before unpacking."""
    with open_input(path) as file:
        content = spz_container.unpack(file.read(), path)
    degree = min(content.degree, 3)
    builder = SplatBuilder(content.count, COEFFICIENTS[degree])
    for start in range(0, content.count, ROWS):
        _decode(content, slice(start, min(start + ROWS, content.count)), builder, degree)
    warnings: tuple[str, ...] = ()
    if content.degree > 3:
        warnings = ("spherical harmonics of degree 4 were cut to degree 3",)
    record = content.extensions.get(FRAME_RECORD, b"")
    code = struct.unpack("<I", record)[0] if len(record) == 4 else 0
    frame = FRAMES[code - 1] if 1 <= code <= len(FRAMES) else "RUB"
    meta = {"version": content.version, "frame": frame, "frame_is_stated": 1 <= code <= len(FRAMES), "comments": ()}
    kind = f"SPZ version {content.version}, SH degree {content.degree}"
    read = builder.finish(path, kind, antialiased=bool(content.flags & ANTIALIASED), warnings=warnings, meta=meta)
    return replace(read, gaussians=_in_frame(read.gaussians, rdf_from(frame)))


def _in_frame(gaussians: Gaussians, turn: Similarity) -> Gaussians:
    """``transformed``, except that where axes only flip, the local axes of every splat flip too.

    That describes the same splats, and an unturned one stays unturned: quaternions come back as they were written.
    """
    moved = gaussians.transformed(turn)
    a, b, c = turn.rotation.diagonal().tolist()
    if abs(a * b * c) != 1.0:
        return moved
    signs = torch.tensor([1.0, b * c, a * c, a * b], dtype=gaussians.quaternions.dtype)
    return replace(moved, quaternions=gaussians.quaternions * signs)


def _decode(content: Content, rows: slice, builder: SplatBuilder, degree: int) -> None:
    n, k = rows.stop - rows.start, COEFFICIENTS[degree]
    positions, alphas, colours, scales, rotations, harmonics = (stream[rows] for stream in content.streams)
    sh = np.zeros((n, k, 3), np.float32)
    sh[:, 0] = (colours / 255.0 - 0.5) / COLOUR_SCALE
    if degree:
        sh[:, 1:] = (harmonics.reshape(n, -1, 3)[:, :k - 1].astype(np.float32) - 128) / 128
    builder.add(
        _positions(positions, content.version, content.fractional_bits),
        scales / 16.0 - 10.0,
        _rotations_of_three_bytes(rotations) if content.version < 3 else _rotations_of_four_bytes(rotations),
        logit(alphas[:, 0] / 255.0), sh)


def _positions(stored: np.ndarray, version: int, fractional_bits: int) -> np.ndarray:
    """[n, 6 or 9] bytes -> [n, 3]: half floats (version 1), else 24-bit fixed point."""
    if version == 1:
        return np.ascontiguousarray(stored).view("<f2").astype(np.float32)
    b = stored.reshape(-1, 3, 3).astype(np.int32)
    fixed = b[..., 0] | b[..., 1] << 8 | b[..., 2] << 16
    fixed -= (fixed & 0x800000) << 1  # sign
    return np.ldexp(fixed.astype(np.float64), -fractional_bits)


def _rotations_of_three_bytes(stored: np.ndarray) -> np.ndarray:
    """Versions 1 and 2: x, y, z; w is positive and makes the length one."""
    xyz = stored / 127.5 - 1.0
    w = np.sqrt(np.maximum(0.0, 1.0 - (xyz**2).sum(1)))
    return np.concatenate([w[:, None], xyz], axis=1)


def _rotations_of_four_bytes(stored: np.ndarray) -> np.ndarray:
    """Versions 3 and 4: the three smallest of x, y, z, w as sign and 9 bits, last first from the low end."""
    word = np.ascontiguousarray(stored).view("<u4")[:, 0].astype(np.int64)
    largest = word >> 30
    xyzw = np.zeros((len(word), 4))
    for i in (3, 2, 1, 0):
        rows = largest != i
        value = (word & 511) / 511.0 * np.sqrt(0.5)
        xyzw[:, i] = np.where(rows, np.where(word & 512, -value, value), 0.0)
        word = np.where(rows, word >> 10, word)
    rest = np.sqrt(np.maximum(0.0, 1.0 - (xyzw**2).sum(1)))
    xyzw[np.arange(len(xyzw)), largest] = rest
    return np.roll(xyzw, 1, axis=1)


def write_splats(
    path: str | Path, gaussians: Gaussians, *, comments: tuple[str, ...] = (), version: int = 4
) -> tuple[str, ...]:
    """Writes .spz version 4 (default) or 3, in the frame RUB; version 4 says so in an extension record.

    Positions have 12 fractional bits (range +-2048), fewer where the scene is larger. Returns warnings; comments are
    not kept.
    """
    if version not in (3, 4):
        raise InputError(f"SPZ version {version} cannot be written", file=path, fix="Use version 3 or 4.")
    if len(gaussians) == 0:
        raise InputError("there are no splats to write", file=path, fix="An .spz file cannot be empty; use .ply.")
    arrays, warnings = arrays_to_write(_in_frame(gaussians, rdf_from("RUB").inverse()))
    if len(arrays) == 0:
        raise InputError("all splats hold NaN or infinite values", file=path, fix="Export an earlier checkpoint.")
    bits, arrays, note = _fit_range(arrays)
    parts = [_encode(arrays.rows(slice(s, s + ROWS)), bits) for s in range(0, len(arrays), ROWS)]
    whole = tuple(np.concatenate([p[i] for p in parts]) for i in range(6))
    frame = {FRAME_RECORD: struct.pack("<I", FRAMES.index("RUB") + 1)} if version == 4 else {}
    content = Content(
        version, len(arrays), round(arrays.sh.shape[1] ** 0.5) - 1, bits, ANTIALIASED if arrays.antialiased else 0,
        whole, frame)
    with atomic_output(path) as file:
        spz_container.pack(file, content)
    return warnings + note


@dataclass(frozen=True)
class _Range:
    """24 bits of fixed point reach up to +-``limit``."""

    bits: int

    @property
    def limit(self) -> float:
        return ((1 << 23) - 1) / float(1 << self.bits)


def _fit_range(arrays: SplatArrays) -> tuple[int, SplatArrays, tuple[str, ...]]:
    """(fractional bits, arrays that fit, warnings): 12 bits, fewer for large scenes, never fewer than 8.

    What lies beyond the range of 8 bits (+-32768) moves towards the origin and shrinks in proportion, so that it looks
    the same from around the origin.
    """
    far = np.abs(arrays.means.astype(np.float64)).max(axis=1)
    bits = next((b for b in (12, 11, 10, 9) if far.max() <= _Range(b).limit), 8)
    limit = _Range(bits).limit
    beyond = far > limit
    notes: tuple[str, ...] = ()
    if bits < 12:
        notes += (f"the scene is large: positions were rounded to steps of {2.0**-bits:g}",)
    if beyond.any():
        factor = np.where(beyond, limit / np.maximum(far, limit), 1.0)
        log_scales = np.clip(arrays.log_scales + np.log(factor)[:, None], -MAX_LOG_SCALE, MAX_LOG_SCALE)
        arrays = replace(arrays, means=(arrays.means * factor[:, None]), log_scales=log_scales)
        notes += (f"{int(beyond.sum()):,} splats farther out than {limit:.0f} were moved in and shrunk to match",)
    return bits, arrays, notes


def _encode(part: SplatArrays, bits: int) -> tuple[np.ndarray, ...]:
    """Byte arrays in the order of ``Content``: positions, alphas, colours, scales, rotations, harmonics."""
    limit = (1 << 23) - 1
    fixed = np.clip(np.rint(np.ldexp(part.means.astype(np.float64), bits)), -limit, limit).astype("<i4")
    positions = np.ascontiguousarray(fixed).view(np.uint8).reshape(-1, 3, 4)[..., :3].reshape(-1, 9)
    harmonics = np.rint(128.0 * part.sh[:, 1:].astype(np.float64)) + 128
    step = np.full(harmonics.shape[1], 16.0)
    step[:3] = 8.0  # band 1 is kept finer
    step = step[None, :, None]
    coarse = np.clip(np.floor((harmonics + step / 2) / step) * step, 0, 255).astype(np.uint8)
    return (
        positions, to_byte(sigmoid(part.logits) * 255),
        to_byte((part.sh[:, 0].astype(np.float64) * COLOUR_SCALE + 0.5) * 255), to_byte((part.log_scales + 10.0) * 16),
        _four_bytes_of_rotations(part.quaternions), coarse.reshape(len(part), -1),
    )  # fmt: skip


def _four_bytes_of_rotations(quaternions: np.ndarray) -> np.ndarray:
    xyzw = np.roll(unit_quaternions(quaternions), -1, axis=1)
    largest = np.abs(xyzw).argmax(axis=1)
    xyzw = xyzw * np.where(xyzw[np.arange(len(xyzw)), largest] < 0, -1.0, 1.0)[:, None]
    word = largest.astype(np.int64)
    for i in range(4):
        size = np.minimum(np.rint(np.abs(xyzw[:, i]) / np.sqrt(0.5) * 511), 511).astype(np.int64)
        word = np.where(largest != i, word << 10 | (xyzw[:, i] < 0).astype(np.int64) << 9 | size, word)
    return word.astype("<u4").view(np.uint8).reshape(-1, 4)
