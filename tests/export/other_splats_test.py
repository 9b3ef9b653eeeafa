""".splat, compressed PLY and .ksplat against records packed by hand."""

from __future__ import annotations

import struct

import numpy as np
import pytest
import torch
from splat_makers import C0, compressed, ksplat

from recon.errors import InputError
from recon.export import read_splats, write_splats

# .splat


def test_splat_round_trip(tmp_path, make_gaussians) -> None:
    g = make_gaussians(300, 3, antialiased=True)
    warnings = write_splats(tmp_path / "a.splat", g)
    assert len(warnings) == 2
    back = read_splats(tmp_path / "a.splat").gaussians
    order = torch.argsort(-g.logits.double().sigmoid() * g.log_scales.double().sum(1).exp())
    g = g.select(order)  # largest and most opaque first
    torch.testing.assert_close(back.means, g.means, rtol=0, atol=0)
    torch.testing.assert_close(back.log_scales, g.log_scales, rtol=1e-6, atol=1e-6)
    assert (back.logits.sigmoid() - g.logits.sigmoid()).abs().max() <= 0.5 / 255 + 1e-6
    assert ((back.sh - g.sh[:, :1]) * C0).abs().max() <= 0.5 / 255 + 1e-6
    assert (back.quaternions - g.quaternions).abs().max() < 0.02  # 1/128 per component before normalising
    assert ((back.quaternions * g.quaternions).sum(1)).min() > 1 - 2e-4
    assert not back.antialiased


def test_splat_record_by_hand(tmp_path) -> None:
    rotation = [128 + round(128 * 0.8), 128 + round(128 * 0.6), 128, 128]
    record = struct.pack("<6f8B", 1, 2, 3, 0.5, 1.0, 0.0, 255, 0, 51, 0, *rotation)
    (tmp_path / "a.splat").write_bytes(record)
    g = read_splats(tmp_path / "a.splat").gaussians
    assert g.means.tolist() == [[1, 2, 3]]
    torch.testing.assert_close(g.log_scales[0], torch.tensor([np.log(0.5), 0.0, -20.0], dtype=torch.float32))
    torch.testing.assert_close(0.5 + C0 * g.sh[0, 0], torch.tensor([1.0, 0.0, 0.2]))
    assert g.logits.tolist() == [-12]
    torch.testing.assert_close(g.quaternions[0], torch.tensor([0.8, 0.6, 0, 0]), rtol=0, atol=4e-3)


@pytest.mark.parametrize(("size", "message"), [(0, "empty"), (31, "whole number"), (65, "whole number")])
def test_splat_of_a_wrong_size(tmp_path, size: int, message: str) -> None:
    (tmp_path / "a.splat").write_bytes(b"\x80" * size)
    with pytest.raises(InputError, match=message):
        read_splats(tmp_path / "a.splat")


def test_splat_of_nothing_but_nan(tmp_path) -> None:
    (tmp_path / "a.splat").write_bytes(b"\xff" * 64)
    with pytest.raises(InputError, match="all 2 splats"):
        read_splats(tmp_path / "a.splat")


# compressed PLY


@pytest.mark.parametrize("degree", range(4))
@pytest.mark.parametrize("colour_ranges", [True, False])
def test_compressed_ply(tmp_path, make_gaussians, degree: int, colour_ranges: bool) -> None:
    g = make_gaussians(600, degree)  # three chunks, the last one not full
    read = read_splats(compressed(tmp_path / "a.compressed.ply", g, colour_ranges))
    back = read.gaussians
    assert "compressed" in read.format
    assert back.sh_degree == degree
    for name in ("means", "log_scales"):
        a, b = getattr(back, name), getattr(g, name)
        for start in (0, 256, 512):
            span = b[start:start + 256].amax(0) - b[start:start + 256].amin(0)
            assert ((a - b)[start:start + 256].abs() <= span / 2046 * 1.001 + 1e-6).all()
    assert ((back.quaternions * g.quaternions).sum(1).abs()).min() > 1 - 1e-5
    assert (back.logits.sigmoid() - g.logits.sigmoid()).abs().max() <= 0.5 / 255 + 1e-6
    assert ((back.sh - g.sh)[:, 0] * C0).abs().max() <= 0.5 / 255 * 1.5
    if degree:
        assert (back.sh - g.sh)[:, 1:].abs().max() <= 1 / 64 + 1e-6


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"element chunk 2", b"element chunk 1", "too few|promises"),
        (b"packed_scale", b"packed_scolo", "packed_scale"),
        (b"uint packed_color", b"float packed_color", "not uint"),
        (b"float min_x", b"float min_q", "min_x"),
        (b"element sh 300", b"element sh 200", "harmonics"),
    ],
)
def test_compressed_ply_that_lies(tmp_path, make_gaussians, old: bytes, new: bytes, message: str) -> None:
    path = compressed(tmp_path / "a.ply", make_gaussians(300, 1))
    assert old in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(old, new))
    with pytest.raises(InputError, match=message):
        read_splats(path)


# .ksplat


@pytest.mark.parametrize("level", [0, 1, 2])
@pytest.mark.parametrize("degree", [0, 1, 2])
def test_ksplat(tmp_path, make_gaussians, level: int, degree: int) -> None:
    g = make_gaussians(40, degree)
    back = read_splats(ksplat(tmp_path / "a.ksplat", g, level)).gaussians
    assert (len(back), back.sh_degree) == (40, degree)
    assert (back.means - g.means).abs().max() <= (1e-6 if level == 0 else 2e-4)
    assert (back.log_scales - g.log_scales).abs().max() <= (1e-5 if level == 0 else 2e-3)
    assert (back.quaternions - g.quaternions).abs().max() <= (1e-6 if level == 0 else 2e-3)
    assert (back.logits.sigmoid() - g.logits.sigmoid()).abs().max() <= 0.5 / 255 + 1e-6
    assert ((back.sh - g.sh)[:, 0] * C0).abs().max() <= 0.5 / 255 + 1e-6
    if degree:
        assert (back.sh - g.sh)[:, 1:].abs().max() <= (1e-6, 1e-3, 1.5 / 255 + 1e-6)[level]


@pytest.mark.parametrize(
    ("offset", "value"), [(4, 0xFFFFFFFF), (4096, 1 << 31), (4100, 1 << 31), (4108, 1 << 31), (4128, 1 << 30),
                          (4132, 1 << 30), (4136, 99)],
)  # fmt: skip
def test_ksplat_with_hostile_counts(tmp_path, make_gaussians, offset: int, value: int) -> None:
    path = ksplat(tmp_path / "a.ksplat", make_gaussians(20, 0), 1)
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, offset, value)
    path.write_bytes(data)
    with pytest.raises(InputError):
        read_splats(path)
