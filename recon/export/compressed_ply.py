"""Compressed splat PLY (read only): 256 splats share a chunk of ranges, each splat is four packed 32-bit words.

Layout as SuperSplat and splat-transform write it. Handed over to by ``ply``; not a suffix of its own.
"""

from __future__ import annotations

import re

import numpy as np

from recon.errors import InputError
from recon.export.splat_file import COEFFICIENTS, SH_C0, SplatBuilder, logit
from recon.formats.ply import DAMAGED, PlyReader, matrix
from recon.formats.ply_header import Header

CHUNK = 256
_PACKED = ("packed_position", "packed_rotation", "packed_scale", "packed_color")
_RANGES = tuple(f"{end}_{prefix}{axis}" for prefix in ("", "scale_") for end in ("min", "max") for axis in "xyz")
_COLOUR_RANGES = tuple(f"{end}_{name}" for end in ("min", "max") for name in "rgb")


def is_compressed(header: Header) -> bool:
    vertex = header.element("vertex")
    return header.element("chunk") is not None and vertex is not None and "packed_position" in vertex.names


def read(ply: PlyReader) -> tuple[SplatBuilder, str, list[str]]:
    """(splats, kind in words, notes) of a compressed file; raises ``InputError``."""
    vertex, chunk, harmonics = (ply.header.element(n) for n in ("vertex", "chunk", "sh"))
    assert vertex is not None
    assert chunk is not None
    for element, needed in ((vertex, _PACKED), (chunk, _RANGES)):
        if missing := [n for n in needed if n not in element.names]:
            raise InputError(f"compressed PLY without {', '.join(missing)}", file=ply.path, fix="Export it again.")
    if any(vertex.type_of(n) not in ("u4", "i4") for n in _PACKED):
        raise InputError("compressed PLY whose packed columns are not uint", file=ply.path, fix="Export it again.")
    has_colours = set(_COLOUR_RANGES) <= set(chunk.names)
    names = _RANGES + (_COLOUR_RANGES if has_colours else ())
    chunks = [matrix(rows, names) for rows in ply.blocks("chunk")]
    ranges = np.concatenate(chunks).astype(np.float64) if chunks else np.empty((0, len(names)))

    notes: list[str] = []
    per_channel, degree = 0, 0
    if harmonics is not None and harmonics.count:
        total = sum(bool(re.fullmatch(r"f_rest_\d+", n)) for n in harmonics.names)
        whole = total % 3 == 0 and all(f"f_rest_{i}" in harmonics.names for i in range(total))
        per_channel = total // 3 if whole else 0
        degree = max(d for d in range(4) if COEFFICIENTS[d] - 1 <= per_channel)
        if not whole or per_channel > COEFFICIENTS[degree] - 1:
            notes.append(f"{total} f_rest columns were cut to spherical harmonics of degree {degree}")
    k = COEFFICIENTS[degree]
    rest = tuple(f"f_rest_{c * per_channel + i}" for c in range(3) for i in range(k - 1))

    builder = SplatBuilder(ply.capacity("vertex"), k)
    if vertex.count > len(ranges) * CHUNK:
        raise InputError(f"{len(ranges):,} chunks are too few for {vertex.count:,} splats", file=ply.path, fix=DAMAGED)
    colours = _coefficients(ply, rest) if rest else None
    first = 0
    for rows in ply.blocks("vertex", block_bytes=1 << 20):
        n = len(rows)
        of_row = ranges[(first + np.arange(n)) // CHUNK]
        sh = np.zeros((n, k, 3), np.float32)
        rgba = _bits(rows["packed_color"], (8, 8, 8, 8))
        rgb = _between(of_row[:, 12:15], of_row[:, 15:18], rgba[:, :3]) if has_colours else rgba[:, :3]
        sh[:, 0] = (rgb - 0.5) / SH_C0
        if colours is not None:
            if first + n > len(colours):
                raise InputError(f"only {len(colours):,} splats have harmonics", file=ply.path, fix=DAMAGED)
            stored = colours[first:first + n].astype(np.float32)
            sh[:, 1:] = (((stored + 0.5) / 256 - 0.5) * 8).reshape(n, 3, k - 1).transpose(0, 2, 1)
        builder.add(
            _between(of_row[:, 0:3], of_row[:, 3:6], _bits(rows["packed_position"], (11, 10, 11))),
            _between(of_row[:, 6:9], of_row[:, 9:12], _bits(rows["packed_scale"], (11, 10, 11))),
            _rotations(rows["packed_rotation"]), logit(rgba[:, 3]), sh)
        first += n
    return builder, f"compressed PLY, SH degree {degree}", notes


def _coefficients(ply: PlyReader, rest: tuple[str, ...]) -> np.ndarray:
    """The ``sh`` element as bytes [rows, 3 K], channel by channel."""
    parts = [matrix(rows, rest).astype(np.uint8) for rows in ply.blocks("sh", block_bytes=1 << 20)]
    return np.concatenate(parts) if parts else np.empty((0, len(rest)), np.uint8)


def _bits(words: np.ndarray, widths: tuple[int, ...]) -> np.ndarray:
    """[n] words -> [n, fields] float64 in 0..1; the first field sits in the highest bits."""
    words = words.astype(np.int64) & 0xFFFFFFFF
    shift, out = 32, []
    for width in widths:
        shift -= width
        out.append(((words >> shift) & ((1 << width) - 1)) / ((1 << width) - 1))
    return np.stack(out, axis=1)


def _between(low: np.ndarray, high: np.ndarray, u: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):  # NaN or huge ranges: such rows are dropped later
        return low + (high - low) * u


def _rotations(words: np.ndarray) -> np.ndarray:
    """Two bits name the largest of w, x, y, z; the others follow in order with 10 bits each."""
    largest = (words.astype(np.int64) & 0xFFFFFFFF) >> 30
    others = (_bits(words, (2, 10, 10, 10))[:, 1:] - 0.5) * np.sqrt(2)
    q = np.empty((len(words), 4))
    last = np.sqrt(np.maximum(0.0, 1.0 - (others**2).sum(1)))
    for i in range(4):
        rows = largest == i
        q[rows, i] = last[rows]
        q[np.ix_(rows, [j for j in range(4) if j != i])] = others[rows]
    return q
