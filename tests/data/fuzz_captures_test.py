"""Mutated files: every reader answers with ``InputError`` or a capture, quickly and in little memory."""

from __future__ import annotations

import random
import resource
import shutil
import struct
import time
from pathlib import Path

import pytest
from tiny_captures import WRITERS, Tiny, write_colmap, write_transforms

from recon.data import read
from recon.data.parts import ply_points
from recon.data.parts.context import Context
from recon.errors import InputError

ROUNDS = 100
NASTY = [b"\xff" * 8, b"\x00" * 8, struct.pack("<Q", 2**40), struct.pack("<d", float("nan")), b"1e999", b"-", b"\x00"]


def mutated(data: bytes, rng: random.Random) -> bytes:
    """One to four damages: flipped bits, a cut, nasty numbers, repeated or swapped pieces."""
    out = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        if not out:
            return bytes(out)
        at = rng.randrange(len(out))
        kind = rng.randrange(6)
        if kind == 0:
            out[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del out[at:]
        elif kind == 2:
            value = rng.choice(NASTY)
            out[at : at + len(value)] = value
        elif kind == 3:
            del out[at : at + rng.randint(1, 40)]
        elif kind == 4:
            out[at:at] = out[rng.randrange(len(out)) :][: rng.randint(1, 60)]
        else:  # counts and headers live at the start
            at = rng.randrange(min(len(out), 96))
            out[at : at + 8] = rng.choice(NASTY)[:8]
    return bytes(out)


def attack(files: list[Path], root: Path, seed: int) -> tuple[int, int]:
    """Reads ``root`` with damaged ``files`` -> numbers of refusals and of captures."""
    whole = {f: f.read_bytes() for f in files}
    rng = random.Random(seed)
    messages: list[str] = []
    accepted = 0
    for _ in range(ROUNDS):
        file = rng.choice(files)
        file.write_bytes(mutated(whole[file], rng))
        begin = time.perf_counter()
        try:
            capture = read(root, work_dir=root / "work")
            assert all(bool(v.camera.world_from_camera.isfinite().all()) for v in capture.views)
            assert capture.points is None or bool(capture.points.positions.isfinite().all())
            accepted += 1
        except InputError as error:
            messages.append(error.message)
        assert time.perf_counter() - begin < 5
        file.write_bytes(whole[file])
    assert not any("\n" in message for message in messages)
    return len(messages), accepted


@pytest.mark.parametrize("kind", ["transforms", "colmap", "colmap-text", "llff", "idr"])
def test_damaged_camera_files(kind: str, tiny: Tiny, tmp_path: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if kind.startswith("colmap"):
        model = write_colmap(tmp_path, tiny, text=kind.endswith("text"))
        files = sorted(model.iterdir())
    else:
        files = [WRITERS[kind](tmp_path, tiny)]
    refused, accepted = attack(files, tmp_path, seed=len(kind))
    assert refused > 10
    assert accepted > 3  # the damage is not so gross that nothing is ever tested behind the first check
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # kB


def test_damaged_images(tiny: Tiny, tmp_path: Path) -> None:
    write_transforms(tmp_path, tiny)
    refused, accepted = attack(sorted((tmp_path / "images").iterdir()), tmp_path, seed=5)
    assert (refused, accepted) == (0, ROUNDS)  # one damaged photo never costs the capture


def test_damaged_points(tmp_path: Path) -> None:
    body = b"".join(struct.pack("<3f3B", i, 2, 3, 4, 5, 6) for i in range(20))
    header = (
        b"ply\nformat binary_little_endian 1.0\nelement vertex 20\nproperty float x\nproperty float y\n"
        b"property float z\nproperty uchar red\nproperty uchar green\nproperty uchar blue\nend_header\n"
    )
    rng = random.Random(3)
    file = tmp_path / "p.ply"
    for _ in range(4 * ROUNDS):
        file.write_bytes(mutated(header + body, rng))
        try:
            cloud = ply_points.read_ply_points(file, Context())
            assert cloud is None or len(cloud) <= 20
        except InputError:
            pass
    file.write_bytes(header.replace(b"vertex 20", b"vertex 99999999999999999999") + body)
    cloud = ply_points.read_ply_points(file, Context())
    assert cloud is not None
    assert len(cloud) == 20


def test_damaged_video_and_folder_of_noise(tmp_path: Path) -> None:
    rng = random.Random(4)
    (tmp_path / "clip.mp4").write_bytes(rng.randbytes(5000))
    with pytest.raises(InputError, match=r"clip.mp4: is not a video"):
        read(tmp_path / "clip.mp4", work_dir=tmp_path / "work")
    shutil.rmtree(tmp_path / "work", ignore_errors=True)
    for name in ("transforms.json", "poses_bounds.npy", "cameras_sphere.npz"):
        (tmp_path / name).write_bytes(rng.randbytes(3000))
        with pytest.raises(InputError):
            read(tmp_path / name)
