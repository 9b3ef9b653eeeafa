"""Damaged files: every reader either succeeds with finite values or raises InputError, quickly and in little memory."""

from __future__ import annotations

import gzip
import random
import struct
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from splat_makers import compressed, ksplat

from recon.errors import InputError
from recon.export import read_splats, splat_suffixes, write_splats
from recon.formats.points import read_points

ROUNDS = 60
MEMORY = 60 << 20  # bytes; the files are a few kilobytes
NUMBERS = [0, 1, 0x7F, 0x80, 0xFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Changes, cuts, repeats or inserts something; headers (the first 600 bytes) are hit more often than the rest."""
    out = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        if not out:
            break
        at = rng.randrange(min(len(out), 600) if rng.random() < 0.6 else len(out))
        match rng.randrange(6):
            case 0:
                out[at] ^= 1 << rng.randrange(8)
            case 1:
                out[at:at + 4] = struct.pack("<I", rng.choice(NUMBERS))
            case 2:
                del out[at:at + rng.randint(1, 40)]
            case 3:
                out[at:at] = rng.randbytes(rng.randint(1, 9))
            case 4:
                out[at:at] = out[max(0, at - 30):at]
            case 5:
                out = out[:max(at, 1)]
    return bytes(out)


def ascii_ply(path: Path, g) -> None:
    lines = ["ply", "format ascii 1.0", "comment a", f"element vertex {len(g)}"]
    columns = ("float x", "float y", "float z", "list uchar int n", "float opacity", "uchar red")
    lines += [f"property {c}" for c in columns]
    rows = [f"{x} {y} {z} 2 7 8 0.5 255" for x, y, z in g.means.tolist()]
    path.write_text("\n".join([*lines, "end_header", *rows, ""]))


MAKERS: dict[str, tuple[str, Callable]] = {
    "ply": ("ply", lambda p, g: write_splats(p, g)),
    "ascii ply": ("ply", ascii_ply),
    "compressed ply": ("ply", compressed),
    "splat": ("splat", lambda p, g: write_splats(p, g)),
    "spz 3": ("spz", lambda p, g: write_splats(p, g, version=3)),
    "spz 4": ("spz", lambda p, g: write_splats(p, g, version=4)),
    "spz 3 inside": ("spz", lambda p, g: write_splats(p, g, version=3)),
    "ksplat 0": ("ksplat", lambda p, g: ksplat(p, g, 0)),
    "ksplat 2": ("ksplat", lambda p, g: ksplat(p, g, 2)),
}


def read_or_refuse(path: Path) -> bool:
    """Whether the file could be read; any error but InputError fails the test."""
    error: InputError | None
    try:
        g = read_splats(path).gaussians
    except InputError as e:
        error = e
    else:
        error = None
    if error is not None:
        assert error.fix
        assert "\n" not in str(error)
        return False
    assert all(t.isfinite().all() for t in g.tensors.values())
    assert len({len(t) for t in g.tensors.values()}) == 1
    return True


@pytest.mark.parametrize("kind", MAKERS)
def test_mutated_files(tmp_path, make_gaussians, kind: str) -> None:
    suffix, make = MAKERS[kind]
    path = tmp_path / f"a.{suffix}"
    make(path, make_gaussians(40, 2))
    whole = path.read_bytes()
    assert read_or_refuse(path)
    rng = random.Random(kind)
    refused, slowest = 0, 0.0
    tracemalloc.start()
    for _ in range(ROUNDS):
        if kind == "spz 3 inside":
            path.write_bytes(gzip.compress(mutate(gzip.decompress(whole), rng), compresslevel=1))
        else:
            path.write_bytes(mutate(whole, rng))
        start = time.perf_counter()
        refused += not read_or_refuse(path)
        slowest = max(slowest, time.perf_counter() - start)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < MEMORY
    assert slowest < 2
    assert refused > 0


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=300), start=st.sampled_from([
    b"", b"ply\n", b"ply\nformat ascii 1.0\nelement vertex 3\nproperty float x\nproperty float y\nproperty float z\n"
    b"end_header\n", b"ply\nformat binary_big_endian 1.0\nelement f 9\nproperty list short int a\nelement vertex 2\n"
    b"property double x\nproperty uchar y\nproperty int z\nend_header\n", b"NGSP\x04\0\0\0\1\0\0\0", b"\x1f\x8b\x08\0",
]))  # fmt: skip
def test_any_bytes(tmp_path, data: bytes, start: bytes) -> None:
    for suffix in splat_suffixes():
        path = tmp_path / f"a{suffix}"
        path.write_bytes(start + data)
        read_or_refuse(path)


@pytest.mark.parametrize("kind", ["ply", "ascii ply", "xyz"])
def test_mutated_point_clouds(tmp_path, make_gaussians, kind: str) -> None:
    g = make_gaussians(40, 0)
    path = tmp_path / ("a.xyz" if kind == "xyz" else "a.ply")
    if kind == "xyz":
        path.write_text("".join(f"{x} {y} {z} 255 0 7\n" for x, y, z in g.means.tolist()))
    else:
        MAKERS[kind][1](path, g)
    whole, rng = path.read_bytes(), random.Random(kind)
    for _ in range(ROUNDS):
        path.write_bytes(mutate(whole, rng))
        try:
            positions, colours = read_points(path)
        except InputError:
            continue
        assert len(positions) == len(colours)
