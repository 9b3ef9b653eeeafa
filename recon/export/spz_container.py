"""The container of .spz files: header, extension records and compressed streams, apart from what the bytes mean.

Every size in a header is compared with the size of the file before anything is unpacked, and streams are unpacked to
exactly the size that the number of splats calls for, so a small file cannot claim a large memory.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
import zstandard

from recon.errors import InputError

MAGIC = b"NGSP"
ANTIALIASED, HAS_EXTENSIONS = 1, 2  # flags
FRAME_RECORD = 0xADBE0003
MAX_SPLATS = (1 << 31) - 1
MAX_EXTENSION_BYTES = 1 << 20
BOMB_BYTES, BOMB_RATIO = 64 << 20, 100  # larger and denser than this is no scene
_DAMAGED = "The file is damaged or cut off; export or download it again."


@dataclass(frozen=True)
class Content:
    """An unpacked file.

    ``streams`` are byte arrays [count, bytes per splat]: positions, alphas, colours, scales, rotations, harmonics (the
    last may be [count, 0]); ``extensions`` are the extension records by type.
    """

    version: int
    count: int
    degree: int
    fractional_bits: int
    flags: int
    streams: tuple[np.ndarray, ...]
    extensions: dict[int, bytes] = field(default_factory=dict)


def _strides(version: int, degree: int) -> tuple[int, ...]:
    """Bytes per splat of positions, alphas, colours, scales, rotations and harmonics."""
    return (6 if version == 1 else 9), 1, 3, 3, (3 if version < 3 else 4), 3 * ((degree + 1) ** 2 - 1)


def unpack(data: bytes, path: str | Path) -> Content:
    """Bytes of a file -> its content; raises ``InputError`` for anything that is not a whole, plausible .spz."""
    if not data:
        raise InputError("the file is empty (0 bytes)", file=path, fix="Export or download it again.")
    if data[:2] == b"\x1f\x8b":
        return _unpack_gzip(data, path)
    if data[:4] == MAGIC:
        return _unpack_zstd(data, path)
    raise InputError("not an .spz file", file=path, fix="Check the file's format.")


def _check(version: int, count: int, degree: int, file_bytes: int, path: str | Path) -> tuple[int, ...]:
    """Refuses headers that cannot be; returns the sizes of the six streams in bytes."""
    what = None
    if not 1 <= version <= 4:
        what = f"SPZ version {version} is not known (1 to 4 are)"
    elif degree > 4:
        what = f"spherical harmonics of degree {degree} are not known"
    elif count == 0:
        what = "the file holds no splats"
    elif count > MAX_SPLATS or count * 9 > 1024 * file_bytes:
        what = f"the header promises {count:,} splats, too many for {file_bytes:,} bytes"
    if what is not None:
        raise InputError(what, file=path, fix=_DAMAGED)
    sizes = tuple(count * stride for stride in _strides(version, degree))
    if sum(sizes) > max(BOMB_BYTES, BOMB_RATIO * file_bytes):
        raise InputError(f"{file_bytes:,} bytes claim to unpack to {sum(sizes):,}: not a real scene", file=path,
                         fix=_DAMAGED)
    return sizes


def _unpack_gzip(data: bytes, path: str | Path) -> Content:
    unpacker = zlib.decompressobj(wbits=31)
    try:
        head = unpacker.decompress(data, 16)
        if len(head) < 16 or head[:4] != MAGIC:
            raise InputError("not an .spz file (the gzip stream holds something else)", file=path,
                             fix="Check the file's format.")
        version, count, degree, bits, flags, _ = struct.unpack("<IIBBBB", head[4:])
        if version > 3:
            raise InputError(f"SPZ version {version} is not known inside gzip", file=path, fix=_DAMAGED)
        sizes = _check(version, count, degree, len(data), path)
        wanted = sum(sizes) + (MAX_EXTENSION_BYTES if flags & HAS_EXTENSIONS else 0)
        body = unpacker.decompress(unpacker.unconsumed_tail, wanted + 1)
    except zlib.error as e:
        raise InputError(f"the gzip stream is damaged ({e})", file=path, fix=_DAMAGED) from None
    if len(body) < sum(sizes) or (not unpacker.eof and len(body) <= wanted):
        raise InputError(f"the file ends early: {len(body):,} of {sum(sizes):,} bytes are there", file=path,
                         fix=_DAMAGED)
    if len(body) > wanted:
        raise InputError(f"the data are longer than {count:,} splats need", file=path, fix=_DAMAGED)
    streams, at = [], 0
    for size in sizes:
        streams.append(np.frombuffer(body, np.uint8, size, at).reshape(count, -1))
        at += size
    extensions = _records(body[at:]) if flags & HAS_EXTENSIONS else {}
    return Content(version, count, degree, bits, flags, tuple(streams), extensions)


def _unpack_zstd(data: bytes, path: str | Path) -> Content:
    if len(data) < 32:
        raise InputError("the file ends within its header", file=path, fix=_DAMAGED)
    version, count, degree, bits, flags, num_streams, toc = struct.unpack_from("<IIBBBBI", data, 4)
    if version != 4:
        raise InputError(f"SPZ version {version} without compression is not a valid .spz file", file=path,
                         fix="Export the scene again as SPZ version 3 or 4.")
    sizes = _check(version, count, degree, len(data), path)
    used = [size for size in sizes if size]  # empty streams are left out
    if num_streams != len(used) or not 32 <= toc <= len(data) - 16 * num_streams:
        raise InputError("the table of streams does not fit the header", file=path, fix=_DAMAGED)
    at = toc + 16 * num_streams
    unpacked: list[bytes] = []
    for i, size in enumerate(used):
        packed, raw = struct.unpack_from("<QQ", data, toc + 16 * i)
        if raw != size or packed > len(data) - at:
            raise InputError(f"stream {i + 1} has {raw:,} bytes (in {packed:,}), expected {size:,}", file=path,
                             fix=_DAMAGED)
        unpacked.append(_unpack_frame(data[at:at + packed], size, path))
        at += packed
    if not sizes[-1]:
        unpacked.append(b"")
    streams = [np.frombuffer(s, np.uint8).reshape(count, -1) if s else np.empty((count, 0), np.uint8) for s in unpacked]
    extensions = _records(data[32:toc]) if flags & HAS_EXTENSIONS else {}
    return Content(version, count, degree, bits, flags, tuple(streams), extensions)


def _unpack_frame(frame: bytes, size: int, path: str | Path) -> bytes:
    try:  # the frame's own idea of its size is not asked: it would be allocated unseen
        with zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(frame) as reader:
            out = reader.read(size + 1)
    except zstandard.ZstdError as e:
        raise InputError(f"a zstd stream is damaged ({str(e)[:80]})", file=path, fix=_DAMAGED) from None
    if len(out) != size:
        raise InputError(f"a stream unpacks to {len(out):,} bytes instead of {size:,}", file=path, fix=_DAMAGED)
    return out


def _records(data: bytes) -> dict[int, bytes]:
    """Extension records (u32 type, u32 length, payload); a record that does not fit ends the list."""
    out: dict[int, bytes] = {}
    at = 0
    while at + 8 <= len(data):
        kind, length = struct.unpack_from("<II", data, at)
        at += 8
        if length > len(data) - at:
            break
        out[kind] = data[at:at + length]
        at += length
    return out


def pack(file: BinaryIO, content: Content) -> None:
    """Writes a content as version 3 or 4 to an open file."""
    records = b"".join(struct.pack("<II", kind, len(p)) + p for kind, p in content.extensions.items())
    flags = content.flags | (HAS_EXTENSIONS if records else 0)
    if content.version < 4:
        packer = zlib.compressobj(6, wbits=31)
        head = struct.pack("<4sIIBBBB", MAGIC, content.version, content.count, content.degree, content.fractional_bits,
                           flags, 0)
        file.write(packer.compress(head))
        for stream in content.streams:
            file.write(packer.compress(stream.tobytes()))
        file.write(packer.compress(records) + packer.flush())
        return
    packer_zstd = zstandard.ZstdCompressor(level=9)
    raw = [stream.tobytes() for stream in content.streams if stream.size]
    frames = [packer_zstd.compress(r) for r in raw]
    head = struct.pack("<4sIIBBBBI12x", MAGIC, 4, content.count, content.degree, content.fractional_bits, flags,
                       len(frames), 32 + len(records))
    file.write(head + records)
    for r, frame in zip(raw, frames, strict=True):
        file.write(struct.pack("<QQ", len(frame), len(r)))
    for frame in frames:
        file.write(frame)
