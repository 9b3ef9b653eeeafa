"""Splat files made by other programs, and the ones that agree with each other."""

from __future__ import annotations

import pytest
import torch

from recon.errors import InputError
from recon.export import read_splats, write_splats
from recon.types import Gaussians

TRAIN = "test-splat.3-points-from-train"


def turn_between(a: torch.Tensor, b: torch.Tensor) -> float:
    """The largest 1 - |cosine| between unit quaternions, row by row."""
    return float((1 - (a * b).sum(1).abs()).max())


def test_the_same_splats_in_three_formats(scenes) -> None:
    ply, splat, spz = (read_splats(scenes / "splats" / f"{TRAIN}.{s}").gaussians for s in ("ply", "splat", "spz"))
    assert (ply.sh_degree, splat.sh_degree, spz.sh_degree) == (3, 0, 3)
    torch.testing.assert_close(splat.means, ply.means, rtol=0, atol=1e-6)
    torch.testing.assert_close(spz.means, ply.means, rtol=0, atol=2**-12)
    torch.testing.assert_close(splat.log_scales, ply.log_scales, rtol=0, atol=1e-5)
    torch.testing.assert_close(spz.log_scales, ply.log_scales, rtol=0, atol=1 / 32 + 1e-5)
    for other in (splat, spz):
        assert (other.logits.sigmoid() - ply.logits.sigmoid()).abs().max() < 1 / 255
    assert turn_between(splat.quaternions, ply.quaternions) < 2e-4
    assert turn_between(spz.quaternions, ply.quaternions) < 2e-5
    assert (splat.sh[:, 0] - ply.sh[:, 0]).abs().max() < 1 / 255 / 0.28209
    assert (spz.sh[:, 0] - ply.sh[:, 0]).abs().max() < 1 / 255 / 0.15
    # rounded to 1/128 first and to steps of 8 or 16 of these then
    assert (spz.sh[:, 1:4] - ply.sh[:, 1:4]).abs().max() <= 4.5 / 128
    assert (spz.sh[:, 4:] - ply.sh[:, 4:]).abs().max() <= 8.5 / 128
    assert spz.sh[:, 1:].abs().max() > 0


def test_a_trained_scene_with_an_extra_int_column(scenes) -> None:
    read = read_splats(scenes / "splats" / "scenesculpt_4560.ply")
    assert len(read.gaussians) == 4560
    assert read.gaussians.sh_degree == 3
    assert read.meta["columns"] == ("object_id",)
    assert read.warnings == ()
    torch.testing.assert_close(read.gaussians.quaternions.norm(dim=1), torch.ones(4560))
    assert all(t.isfinite().all() for t in read.gaussians.tensors.values())


def test_a_trained_scene_against_plyfile(scenes) -> None:
    plyfile = pytest.importorskip("plyfile")
    path = scenes / "splats" / "scenesculpt_4560.ply"
    rows = plyfile.PlyData.read(path)["vertex"]
    g = read_splats(path).gaussians
    for i, name in enumerate("xyz"):
        assert torch.equal(g.means[:, i], torch.from_numpy(rows[name].copy()))
    assert torch.equal(g.logits, torch.from_numpy(rows["opacity"].copy()))
    assert torch.equal(g.sh[:, 4, 1], torch.from_numpy(rows["f_rest_18"].copy()))  # green (15) + coefficient 3
    assert torch.equal(g.log_scales[:, 2], torch.from_numpy(rows["scale_2"].copy()).clamp(-20, 20))


def test_what_we_write_plyfile_reads(tmp_path, make_gaussians) -> None:
    plyfile = pytest.importorskip("plyfile")
    g = make_gaussians(20)
    write_splats(tmp_path / "a.ply", g, comments=("Vertical axis: z",))
    data = plyfile.PlyData.read(tmp_path / "a.ply")
    assert data.comments == ["Vertical axis: z"]
    names = [p.name for p in data["vertex"].properties]
    assert names[:9] == ["x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2"]
    assert names[9:54] == [f"f_rest_{i}" for i in range(45)]
    assert names[54:] == ["opacity", *(f"scale_{i}" for i in range(3)), *(f"rot_{i}" for i in range(4))]
    assert (data["vertex"]["f_rest_31"] == g.sh[:, 2, 2].numpy()).all()


@pytest.mark.parametrize(("name", "version"), [("v2", 2), ("v3", 3), ("v4", 4)])
def test_minimal_spz(scenes, name: str, version: int) -> None:
    read = read_splats(scenes / "splats" / f"minimal-{name}.spz")
    assert (len(read.gaussians), read.meta["version"], read.meta["frame"]) == (4, version, "RUB")
    torch.testing.assert_close(read.gaussians.logits.sigmoid(), torch.full((4,), 230 / 255))
    torch.testing.assert_close(read.gaussians.log_scales, torch.full((4, 3), -2.3125))


def test_minimal_splat_and_ksplat_hold_the_same(scenes) -> None:
    splat, ksplat = (read_splats(scenes / "splats" / f"minimal.{s}").gaussians for s in ("splat", "ksplat"))
    for name, value in splat.tensors.items():
        torch.testing.assert_close(ksplat.tensors[name], value, rtol=0, atol=1e-6)
    assert splat.means.tolist() == [[-1, 0, -1], [0, 0, -1], [-1, 0, 0], [0, 0, 0]]


def test_a_historic_raw_spz_is_refused(scenes) -> None:
    with pytest.raises(InputError, match="without compression"):
        read_splats(scenes / "splats" / "minimal-raw.spz")


@pytest.mark.parametrize("suffix", ["ply", "spz", "splat"])
def test_a_trained_scene_survives_every_writer(scenes, tmp_path, suffix: str) -> None:
    g = read_splats(scenes / "splats" / "scenesculpt_4560.ply").gaussians
    write_splats(tmp_path / f"a.{suffix}", g)
    back = read_splats(tmp_path / f"a.{suffix}").gaussians
    assert len(back) == 4560
    if suffix == "splat":  # sorted, so compare as sets
        order = lambda x: x[torch.argsort(x[:, 0] * 1e3 + x[:, 1])]  # noqa: E731
        torch.testing.assert_close(order(back.means), order(g.means))
        return
    torch.testing.assert_close(back.means, g.means, rtol=0, atol=0 if suffix == "ply" else 2**-13 + 1e-5)
    assert isinstance(back, Gaussians)
    if suffix == "ply":
        assert all(torch.equal(back.tensors[k], v) for k, v in g.tensors.items() if k != "quaternions")
    assert turn_between(back.quaternions, g.quaternions) < 1e-5
