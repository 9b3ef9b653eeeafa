"""SPZ: round trips within the steps of the format, frames, all versions, and headers that lie."""

from __future__ import annotations

import gzip
import struct
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
import zstandard

from recon.errors import InputError
from recon.export import read_splats, spz_container, write_splats
from recon.export.spz import FRAMES, rdf_from
from recon.types import Gaussians

HEADER = "<4sIIBBBB"


def packed(version: int, body: bytes, count: int = 1, degree: int = 0, bits: int = 12, flags: int = 0) -> bytes:
    return gzip.compress(struct.pack(HEADER, b"NGSP", version, count, degree, bits, flags, 0) + body)


def one_splat(rotation: bytes, position: bytes = bytes(9), sh: bytes = b"") -> bytes:
    return position + b"\xff" + bytes([127] * 3) + bytes([160] * 3) + rotation + sh


def read_bytes(tmp_path: Path, data: bytes):
    (tmp_path / "a.spz").write_bytes(data)
    return read_splats(tmp_path / "a.spz")


@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.parametrize("degree", range(4))
@pytest.mark.parametrize("antialiased", [False, True])
def test_round_trip(tmp_path, make_gaussians, version: int, degree: int, antialiased: bool) -> None:
    g = make_gaussians(200, degree, antialiased=antialiased)
    assert write_splats(tmp_path / "a.spz", g, version=version) == ()
    read = read_splats(tmp_path / "a.spz")
    back = read.gaussians
    assert (read.meta["version"], read.meta["frame"], read.meta["frame_is_stated"]) == (version, "RUB", version == 4)
    assert (back.antialiased, back.sh_degree) == (antialiased, degree)
    assert (back.means - g.means).abs().max() <= 2**-13 + 1e-6
    assert (back.log_scales - g.log_scales).abs().max() <= 1 / 32 + 1e-6
    assert (back.logits.sigmoid() - g.logits.sigmoid()).abs().max() <= 0.5 / 255 + 1e-6
    same_sign = (back.quaternions * g.quaternions).sum(1).sign()[:, None]
    assert (back.quaternions * same_sign - g.quaternions).abs().max() < 0.0014
    assert (back.sh[:, 0] - g.sh[:, 0]).abs().max() <= 0.5 / 255 / 0.15 + 1e-6
    if degree:
        assert (back.sh[:, 1:4] - g.sh[:, 1:4]).abs().max() <= 4.5 / 128
        assert back.sh[:, 1:4].abs().max() > 0
    if degree > 1:
        assert (back.sh[:, 4:] - g.sh[:, 4:]).abs().max() <= 8.5 / 128


def test_a_second_trip_changes_nothing(tmp_path, make_gaussians) -> None:
    write_splats(tmp_path / "a.spz", make_gaussians(100, 3))
    write_splats(tmp_path / "b.spz", read_splats(tmp_path / "a.spz").gaussians)
    a, b = (read_splats(tmp_path / f"{n}.spz").gaussians for n in "ab")
    for name, value in a.tensors.items():
        torch.testing.assert_close(b.tensors[name], value, rtol=0, atol=2e-3 if name == "quaternions" else 1e-5)


def test_numbers_in_the_file_are_right_up_back(tmp_path, make_gaussians) -> None:
    g = replace(make_gaussians(1, 0), means=torch.tensor([[1.0, 2.0, 3.0]]))
    write_splats(tmp_path / "a.spz", g)
    data = (tmp_path / "a.spz").read_bytes()
    assert data[:8] == b"NGSP\x04\x00\x00\x00"
    assert data[14] == spz_container.HAS_EXTENSIONS
    assert data[15] == 5  # empty streams are left out
    assert data[32:44] == struct.pack("<III", 0xADBE0003, 4, 4)
    content = spz_container.unpack(data, "a.spz")
    fixed = [int.from_bytes(content.streams[0][0, i:i + 3].tobytes(), "little", signed=True) for i in (0, 3, 6)]
    assert [f / 4096 for f in fixed] == [1.0, -2.0, -3.0]


@pytest.mark.parametrize("code", range(1, 17))
def test_a_stated_frame_is_obeyed(tmp_path, make_gaussians, code: int) -> None:
    """Each letter says where an axis points: +x of "LFD" points left, so (1, 0, 0) is (-1, 0, 0) in RDF."""
    g = replace(make_gaussians(1, 1), means=torch.tensor([[1.0, 2.0, 3.0]]))
    write_splats(tmp_path / "a.spz", g)
    content = spz_container.unpack((tmp_path / "a.spz").read_bytes(), "a")
    out = BytesIO()
    spz_container.pack(out, replace(content, extensions={0xADBE0002: bytes(12), 0xADBE0003: struct.pack("<I", code)}))
    read = read_bytes(tmp_path, out.getvalue())
    frame = FRAMES[code - 1]
    assert read.meta["frame"] == frame
    expected = [0.0, 0.0, 0.0]
    for letter, value in zip(frame, (1.0, -2.0, -3.0), strict=True):
        axis = next(i for i, pair in enumerate(("RL", "DU", "FB")) if letter in pair)
        expected[axis] = value if letter in "RDF" else -value
    assert read.gaussians.means[0].tolist() == expected


def test_left_handed_frames_are_mirrors() -> None:
    for frame in FRAMES:
        det = float(torch.linalg.det(rdf_from(frame).rotation))
        assert abs(det) == 1.0
    assert float(torch.linalg.det(rdf_from("RUB").rotation)) == 1.0
    assert float(torch.linalg.det(rdf_from("RUF").rotation)) == -1.0


def test_version_one_has_half_floats(tmp_path) -> None:
    position = np.float16([1.5, -2.0, 0.25]).tobytes()
    read = read_bytes(tmp_path, packed(1, one_splat(bytes([128, 128, 128]), position)))
    assert read.gaussians.means.tolist() == [[1.5, 2.0, -0.25]]
    assert abs(read.gaussians.quaternions[0, 0]) > 0.999


def test_version_two_has_three_byte_rotations_and_its_own_fraction(tmp_path) -> None:
    position = b"".join(int(v * 256).to_bytes(3, "little", signed=True) for v in (1, 2, -3))
    body = one_splat(bytes([round((0.6 + 1) * 127.5), 127, 127]), position)
    g = read_bytes(tmp_path, packed(2, body, bits=8)).gaussians
    assert g.means.tolist() == [[1, -2, 3]]
    torch.testing.assert_close(g.quaternions[0], torch.tensor([0.8, 0.6, 0, 0]), rtol=0, atol=0.01)


def test_version_three_rotation_by_hand(tmp_path) -> None:
    """Largest is w (index 3); x = 0.6 has 434 of 511 steps; y, z = 0. Fields from the low end: z, y, x."""
    word = 3 << 30 | round(0.6 / 0.5**0.5 * 511) << 20
    g = read_bytes(tmp_path, packed(3, one_splat(struct.pack("<I", word)))).gaussians
    torch.testing.assert_close(g.quaternions[0], torch.tensor([0.8, 0.6, 0, 0]), rtol=0, atol=0.0014)


@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.parametrize("largest", range(4))
def test_every_largest_component(tmp_path, make_gaussians, version: int, largest: int) -> None:
    q = torch.tensor([[0.2, -0.3, 0.1, -0.25]])
    q[0, largest] = -0.9
    q = q / q.norm()
    write_splats(tmp_path / "a.spz", replace(make_gaussians(1, 0), quaternions=q), version=version)
    back = read_splats(tmp_path / "a.spz").gaussians.quaternions
    assert (back * q).sum().abs() > 1 - 1e-5


def test_a_red_only_band_one_value(tmp_path) -> None:
    sh = bytes([128] * 3 + [192, 128, 128] + [128] * 3)  # k = 1 of band 1 (z), red
    g = read_bytes(tmp_path, packed(3, one_splat(struct.pack("<I", 3 << 30), sh=sh), degree=1)).gaussians
    assert g.sh[0, 1:].tolist() == [[0, 0, 0], [-0.5, 0, 0], [0, 0, 0]]  # z turns with the frame


def test_degree_four_is_cut_to_three(tmp_path) -> None:
    sh = bytes([128] * 72)
    read = read_bytes(tmp_path, packed(3, one_splat(struct.pack("<I", 3 << 30), sh=sh), degree=4))
    assert read.gaussians.sh_degree == 3
    assert "degree 4" in read.warnings[0]


def test_large_scenes_keep_their_shape(tmp_path, make_gaussians) -> None:
    g = make_gaussians(4, 0)
    means = torch.tensor([[1.0, 2.0, 3.0], [30_000.0, 0, 0], [0, 1e6, 1e6], [-5.0, 0, 0]])
    warnings = write_splats(tmp_path / "a.spz", replace(g, means=means))
    back = read_splats(tmp_path / "a.spz").gaussians
    assert len(warnings) == 2
    assert (back.means - means)[[0, 1, 3]].abs().max() <= 2**-9 + 1e-3
    shrink = back.means[2, 1] / 1e6
    torch.testing.assert_close(back.means[2, 1], back.means[2, 2])
    assert (back.log_scales[2] - g.log_scales[2] - shrink.log()).abs().max() <= 1 / 32 + 1e-3


def test_extreme_values_stay_finite(tmp_path) -> None:
    inf = float("inf")
    g = Gaussians(torch.zeros(2, 3), torch.tensor([[30.0, -30, 0], [-inf, 0, 0]]), torch.zeros(2, 4),
                  torch.tensor([inf, -inf]), torch.full((2, 4, 3), 50.0))  # fmt: skip
    write_splats(tmp_path / "a.spz", g)
    back = read_splats(tmp_path / "a.spz").gaussians
    assert all(t.isfinite().all() for t in back.tensors.values())
    assert back.quaternions.tolist() == [[1, 0, 0, 0]] * 2
    assert back.logits.tolist() == [12, -12]


def test_nothing_to_write_and_unknown_versions(tmp_path, make_gaussians) -> None:
    with pytest.raises(InputError, match="no splats"):
        write_splats(tmp_path / "a.spz", make_gaussians(0))
    with pytest.raises(InputError, match="version 2"):
        write_splats(tmp_path / "a.spz", make_gaussians(1), version=2)
    assert list(tmp_path.iterdir()) == []


def v4(count: int = 1, degree: int = 0, streams: list[bytes] | None = None, sizes: list[int] | None = None,
       toc: int = 32, num: int | None = None) -> bytes:  # fmt: skip
    raw = [bytes(9), b"\xff", bytes(3), bytes(3), bytes(4)] if streams is None else streams
    frames = [zstandard.compress(r) for r in raw]
    sizes = [len(r) for r in raw] if sizes is None else sizes
    head = struct.pack("<4sIIBBBBI12x", b"NGSP", 4, count, degree, 12, 0, len(frames) if num is None else num, toc)
    return head + b"".join(struct.pack("<QQ", len(f), s) for f, s in zip(frames, sizes, strict=True)) + b"".join(frames)


def frame_with_a_lie() -> bytes:
    """A zstd frame whose header claims 2^60 bytes of content."""
    data = v4()
    frame = bytes.fromhex("28b52ffd") + b"\xc0\x50" + struct.pack("<Q", 1 << 60) + b"\x01\x00\x00"
    head, table = data[:32], struct.pack("<QQ", len(frame), 9)
    sizes = data[32 + 16:32 + 5 * 16]
    rest = b"".join(zstandard.compress(r) for r in (b"\xff", bytes(3), bytes(3), bytes(4)))
    return head + table + sizes + frame + rest


def test_a_plain_version_four_by_hand(tmp_path) -> None:
    assert len(read_bytes(tmp_path, v4()).gaussians) == 1


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b"PK\x03\x04" + bytes(100), "not an .spz"),
        (gzip.compress(b"hello world, this is text"), "something else"),
        (packed(3, one_splat(bytes(4)))[:-12], "damaged|early"),
        (packed(3, one_splat(bytes(4)), count=0), "no splats"),
        (packed(3, one_splat(bytes(4)), count=2), "early"),
        (packed(3, one_splat(bytes(4)), count=0xFFFFFFFF), "too many"),
        (packed(3, one_splat(bytes(4)) + b"more"), "longer"),
        (packed(3, one_splat(bytes(4)), degree=5), "degree 5"),
        (packed(9, one_splat(bytes(4))), "version 9"),
        (packed(4, one_splat(bytes(4))), "version 4"),
        (packed(0, one_splat(bytes(4))), "version 0"),
        (gzip.compress(struct.pack(HEADER, b"NGSP", 3, 40_000_000, 3, 12, 0, 0) + bytes(40_000_000)), "too many|real"),
        (b"NGSP\x04\x00", "within its header"),
        (v4(count=3), "expected 27"),
        (v4(count=0), "no splats"),
        (v4(degree=1), "table of streams"),
        (v4(num=255), "table of streams"),
        (v4(toc=4_000_000_000), "table of streams"),
        (v4(toc=0), "table of streams"),
        (v4(sizes=[1 << 62, 1, 3, 3, 4]), "stream 1"),
        (v4(streams=[bytes(9), b"\xff", bytes(3), bytes(3), bytes(3)], sizes=[9, 1, 3, 3, 4]), "instead of 4"),
        (v4(streams=[bytes(9), b"\xff", bytes(3), bytes(3), bytes(5_000_000)], sizes=[9, 1, 3, 3, 4]), "instead of 4"),
        (v4()[:-3], "stream 5"),
        (v4().replace(bytes.fromhex("28b52ffd"), b"abcd"), "zstd"),
        (frame_with_a_lie(), "stream"),
    ],
)  # fmt: skip
def test_hostile_files_are_refused_in_one_line(tmp_path, data: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_bytes(tmp_path, data)
    assert caught.value.file == tmp_path / "a.spz"
    assert caught.value.fix
