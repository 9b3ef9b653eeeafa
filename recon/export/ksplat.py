"""The .ksplat format of the web viewer GaussianSplats3D, read only; compression levels 0 to 2, harmonics to degree 2.

A main header, section headers of 1024 bytes, then per section: lengths of partly filled buckets, bucket centres, and
records. Level 0 holds floats; levels 1 and 2 hold half floats and positions relative to the centre of a bucket. The
totals in the main header are often wrong, so only section headers are trusted, after comparing with the file's size.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recon.errors import InputError
from recon.export.splat_file import SH_C0, SplatBuilder, SplatFile, log_of, logit
from recon.formats.files import open_input

MAIN_HEADER, SECTION_HEADER = 4096, 1024
ROWS = 1 << 16
_DAMAGED = "The file is damaged or cut off; export or download it again."


@dataclass(frozen=True)
class _Section:
    splats: int
    records: int  # offset of the first record
    record: np.dtype
    degree: int
    bucket_size: int
    full_buckets: int
    partial_lengths: np.ndarray
    centres: np.ndarray  # [buckets, 3]
    step: float  # length of one position unit; 0 where positions are floats
    range: int


def read_splats(path: str | Path) -> SplatFile:
    """Reads a .ksplat file. Raises ``InputError``."""
    with open_input(path) as file:
        data = file.read()
    if len(data) < MAIN_HEADER:
        raise InputError("not a .ksplat file: shorter than its header", file=path, fix=_DAMAGED)
    major, minor, num_sections, level = struct.unpack_from("<BB2xI12xH", data)
    if (major, minor) != (0, 1) or level > 2:
        raise InputError(f"not a .ksplat file of version 0.1 (version {major}.{minor}, level {level})", file=path,
                         fix="Check the file's format.")
    low, high = struct.unpack_from("<ff", data, 36)
    if low == 0:
        low = -1.5
    if high == 0:
        high = 1.5
    offset = MAIN_HEADER + num_sections * SECTION_HEADER
    if offset > len(data):
        raise InputError(f"{num_sections:,} sections do not fit into {len(data):,} bytes", file=path, fix=_DAMAGED)
    sections: list[_Section] = []
    for i in range(num_sections):
        section, offset = _section(data, MAIN_HEADER + i * SECTION_HEADER, offset, level, path)
        sections.append(section)
    degree = max((s.degree for s in sections), default=0)
    builder = SplatBuilder(sum(s.splats for s in sections), (degree + 1) ** 2)
    for section in sections:
        for start in range(0, section.splats, ROWS):
            _decode(data, section, start, min(ROWS, section.splats - start), builder, (low, high))
    return builder.finish(path, f".ksplat level {level}, SH degree {degree}", meta={"version": "0.1", "comments": ()})


def _section(data: bytes, header: int, offset: int, level: int, path: str | Path) -> tuple[_Section, int]:
    """Reads a section header; returns the section and the offset of the next one's data."""
    splats, most, bucket_size, buckets = struct.unpack_from("<IIII", data, header)
    block_size, bucket_bytes = struct.unpack_from("<fH", data, header + 16)
    (span,) = struct.unpack_from("<I", data, header + 24)
    full, partial, degree = struct.unpack_from("<IIH", data, header + 32)
    if degree > 2:
        raise InputError(f"spherical harmonics of degree {degree} in a .ksplat file", file=path, fix=_DAMAGED)
    record = _record(level, degree)
    centres_at = offset + 4 * partial
    records_at = centres_at + bucket_bytes * buckets
    end = records_at + most * record.itemsize
    if splats > most or end > len(data):
        raise InputError(f"a section of {most:,} splats does not fit into {len(data):,} bytes", file=path, fix=_DAMAGED)
    lengths = np.frombuffer(data, "<u4", partial, offset).astype(np.int64)
    centres = np.zeros((0, 3), np.float32)
    if level > 0:
        if bucket_bytes < 12 or full + partial > buckets or full * bucket_size + int(lengths.sum()) < splats:
            raise InputError("the buckets of a section do not hold its splats", file=path, fix=_DAMAGED)
        bucket = np.dtype({"names": ["xyz"], "formats": [("<f4", 3)], "itemsize": bucket_bytes})
        centres = np.frombuffer(data, bucket, buckets, centres_at)["xyz"]
    span = span or (1 if level == 0 else 32767)
    step = block_size / 2 / span if level > 0 else 0.0
    section = _Section(splats, records_at, record, degree, bucket_size, full, lengths, centres, step, span)
    return section, end


def _record(level: int, degree: int) -> np.dtype:
    xyz, real = ("<f4", "<f4") if level == 0 else ("<u2", "<f2")
    fields: list[tuple] = [("xyz", xyz, 3), ("scale", real, 3), ("wxyz", real, 4), ("rgba", "u1", 4)]
    if degree:
        fields.append(("sh", ("<f4", "<f2", "u1")[level], (3 * ((degree + 1) ** 2 - 1),)))
    return np.dtype(fields)


def _decode(
    data: bytes, section: _Section, start: int, n: int, builder: SplatBuilder, limits: tuple[float, float]
) -> None:
    rows = np.frombuffer(data, section.record, n, section.records + start * section.record.itemsize)
    xyz = rows["xyz"].astype(np.float64)
    if section.step != 0.0 or len(section.centres):
        index = start + np.arange(n)
        in_full = section.full_buckets * section.bucket_size
        ends = in_full + np.cumsum(section.partial_lengths)
        partial = section.full_buckets + np.searchsorted(ends, index, side="right")
        bucket = np.where(index < in_full, index // max(section.bucket_size, 1), partial)
        with np.errstate(all="ignore"):
            xyz = (xyz - section.range) * section.step + section.centres[bucket]
    sh = np.zeros((n, builder.sh.shape[1], 3), np.float32)
    rgba = rows["rgba"] / 255.0
    sh[:, 0] = (rgba[:, :3] - 0.5) / SH_C0
    if section.degree:
        stored: np.ndarray = rows["sh"].astype(np.float32)
        if rows["sh"].dtype == np.uint8:
            with np.errstate(all="ignore"):
                stored = np.float32(limits[0]) + stored / 255 * np.float32(limits[1] - limits[0])
        sh[:, 1:4] = stored[:, :9].reshape(n, 3, 3).transpose(0, 2, 1)
        if section.degree == 2:
            sh[:, 4:9] = stored[:, 9:24].reshape(n, 3, 5).transpose(0, 2, 1)
    builder.add(xyz, log_of(rows["scale"]), rows["wxyz"].astype(np.float32), logit(rgba[:, 3]), sh)
