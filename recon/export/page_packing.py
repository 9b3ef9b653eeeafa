"""Splats packed small for a web page: bytes that ``web/unpack.js`` turns back into numbers.

Splats are sorted along a Morton curve and quantised, the ranges taken over chunks of 256 neighbours:

    position      3 x 16 bit between the chunk's lowest and highest corner
    log-scale     3 x 8 bit between the chunk's lowest and highest value per axis
    base colour   3 x 8 bit likewise (0.5 + SH_C0 * sh_0, which may leave 0..1)
    rotation      32 bit: 2 bits name the largest component, three times 10 bits are the others in units of 1/sqrt(2)
    opacity       8 bit, (byte / 255)^2, so that faint splats keep their difference
    sh 1..3       the Karhunen-Loeve transform of the scene's own 9, 24 or 45 coefficients, each component rounded to
                  a multiple of one step; components that round to zero everywhere are left out

One step for all components is the optimal allocation of bits for an orthonormal transform (reverse water-filling);
the variable length comes from deflate. The step is the finest for which the page stays within its budget.

Layout, little-endian, then zlib-deflated:

    float32 ranges[chunks][9][2]     low, high of x y z, log-scale 1 2 3, red green blue
    float32 basis[components][3 k]   rows of the transform; coefficient index = 3 (k - 1) + channel, k from 1
    uint8   planes[...][n]           x y z low byte; x y z high byte; log-scale 1 2 3; rotation byte 0..3; r g b;
                                     opacity; then for every component its low byte and, where it is "wide", its high
                                     byte: the zigzag number 0, -1, 1, -2, ...

Measured on fitted scenes the transform needs half the bytes of coefficients that are rounded one by one.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from recon.export.splat_file import SH_C0, SplatArrays, sigmoid, to_byte, unit_quaternions

CHUNK = 256
FINEST_STEP, COARSEST_STEP = 0.01, 0.5
# Bytes of deflated spherical harmonics: per splat, and what small scenes may use in any case. With the 17 bytes of
# everything else and base64 this keeps 500,000 splats under 20 MB.
SH_BYTES_PER_SPLAT, SH_BYTES_FREE = 10.0, 2_000_000
_DEFLATE_LOSS = 1.2  # deflate against the entropy of the codes, measured 1.12 to 1.2
_ROWS = 1 << 16


@dataclass(frozen=True)
class PackedSplats:
    """``data`` is deflated; ``layout`` is what the page has to know to read it (plain JSON values)."""

    data: bytes
    layout: dict[str, Any]


def pack(arrays: SplatArrays) -> PackedSplats:
    """Packs n > 0 splats; opacities and spherical harmonics as in ``Gaussians``, degree 0 to 3."""
    arrays = arrays.rows(morton_order(arrays.means))
    values = np.concatenate([arrays.means, arrays.log_scales, 0.5 + SH_C0 * arrays.sh[:, 0]], 1).astype(np.float64)
    ranges, share = _within_chunks(values)
    position = np.rint(share[:, :3] * 65535).astype(np.uint16)
    rotation = _smallest_three(unit_quaternions(arrays.quaternions))
    opacity = to_byte(np.sqrt(sigmoid(arrays.logits)) * 255)
    planes = [*(position & 255).T, *(position >> 8).T, *(share[:, 3:6] * 255).T, *(rotation >> (8 * i) & 255
              for i in range(4)), *(share[:, 6:] * 255).T, opacity]
    basis, codes, step = _transform(arrays.sh[:, 1:].reshape(len(arrays), -1))
    wide = [bool(len(c) and c.max() > 255) for c in codes]
    for code, is_wide in zip(codes, wide, strict=True):
        planes += [code & 255, code >> 8] if is_wide else [code]

    squeeze = zlib.compressobj(6)
    parts = [squeeze.compress(ranges.astype("<f4").tobytes()), squeeze.compress(basis.astype("<f4").tobytes())]
    parts += [squeeze.compress(np.rint(plane).astype(np.uint8).tobytes()) for plane in planes]
    layout = {
        "count": len(arrays), "chunk": CHUNK, "coefficients": basis.shape[1], "components": len(basis), "step": step,
        "wide": [int(w) for w in wide],
    }
    return PackedSplats(b"".join([*parts, squeeze.flush()]), layout)


def morton_order(means: np.ndarray) -> np.ndarray:
    """Order [n] of rows along a Morton curve through their ranks, so that far outliers cost no resolution."""
    ranks = np.empty(means.shape, np.uint64)
    for axis in range(3):
        ranks[np.argsort(means[:, axis], kind="stable"), axis] = np.arange(len(means), dtype=np.uint64)
    cells = ranks * np.uint64(1024) // np.uint64(max(len(means), 1))
    key = np.zeros(len(means), np.uint64)
    for bit in range(10):
        for axis in range(3):
            key |= (cells[:, axis] >> np.uint64(bit) & np.uint64(1)) << np.uint64(3 * bit + axis)
    return np.argsort(key, kind="stable")


def _within_chunks(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows [n, c] -> (ranges [chunks, c, 2] float32, place of each value in its range 0..1 [n, c])."""
    starts = np.arange(0, len(values), CHUNK)
    low = np.minimum.reduceat(values, starts).astype(np.float32)
    high = np.maximum.reduceat(values, starts).astype(np.float32)
    chunk = np.arange(len(values)) // CHUNK
    lowest = low.astype(np.float64)
    span = np.maximum(high - lowest, 1e-30)
    share = np.clip((values - lowest[chunk]) / span[chunk], 0, 1)
    return np.stack([low, high], -1), share


def _smallest_three(q: np.ndarray) -> np.ndarray:
    """Unit quaternions [n, 4] w x y z -> uint32 [n]."""
    largest = np.abs(q).argmax(1)
    q = np.where(np.take_along_axis(q, largest[:, None], 1) < 0, -q, q)
    others = np.array([[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]])[largest]
    small = np.take_along_axis(q, others, 1) * np.sqrt(2)
    a, b, c = np.clip(np.rint((small + 1) * 511), 0, 1022).astype(np.uint32).T  # 511 is exactly zero
    return largest.astype(np.uint32) << 30 | a << 20 | b << 10 | c


def _transform(x: np.ndarray) -> tuple[np.ndarray, list[np.ndarray], float]:
    """Coefficients [n, d] -> (basis [components, d], zigzag codes uint16 [n] per component, step)."""
    n, d = x.shape
    if d == 0 or not np.any(x):
        return np.zeros((0, d)), [], FINEST_STEP
    second = np.zeros((d, d))
    for start in range(0, n, _ROWS):
        part = x[start:start + _ROWS].astype(np.float64)
        second += part.T @ part
    _, vectors = np.linalg.eigh(second / n)
    basis = vectors.T[::-1].astype(np.float32)
    y = x @ basis.T
    step = max(_fitting_step(y), float(np.abs(y).max()) / 32000)
    codes = []
    for column in y.T:
        signed = np.rint(column / step).astype(np.int32)
        codes.append((signed << 1 ^ signed >> 31).astype(np.uint16))
    used = [i for i, code in enumerate(codes) if code.any()]
    return basis[used], [codes[i] for i in used], step


def _fitting_step(y: np.ndarray) -> float:
    """The finest step whose codes fit the budget."""
    budget = max(SH_BYTES_PER_SPLAT * len(y), SH_BYTES_FREE) / _DEFLATE_LOSS
    sample = y[:: max(len(y) // 20_000, 1)]
    step = FINEST_STEP
    while step < COARSEST_STEP and _entropy_bytes(np.rint(sample / step)) * len(y) / len(sample) > budget:
        step *= 1.15
    return step


def _entropy_bytes(codes: np.ndarray) -> float:
    """Bytes for whole numbers [n, c], each column coded by its own frequencies."""
    bits = 0.0
    for column in codes.T:
        _, counts = np.unique(column, return_counts=True)
        bits -= float((counts * np.log2(counts / len(column))).sum())
    return bits / 8
