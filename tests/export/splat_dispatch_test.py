"""Finding the format by its suffix, and writing all or nothing."""

from __future__ import annotations

import errno
import os
import resource
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from recon.errors import InputError
from recon.export import read_splats, splat_suffixes, write_splats
from recon.formats import files


def test_suffixes_are_found_without_a_list() -> None:
    assert {".ply", ".splat", ".spz", ".ksplat"} <= set(splat_suffixes("read"))
    assert {".ply", ".splat", ".spz"} <= set(splat_suffixes("written"))
    assert ".ksplat" not in splat_suffixes("written")
    assert not {".points", ".spz_container", ".splat_file", ".compressed_ply"} & set(splat_suffixes("read"))


@pytest.mark.parametrize("name", ["a.xyzzy", "a", "a.splat_file", "a.points", "a.neighbours", "a.", "a.__init__"])
def test_unknown_suffixes_list_the_known_ones(tmp_path, make_gaussians, name: str) -> None:
    with pytest.raises(InputError, match=r"Use one of .*\.ply, .*\.splat"):
        read_splats(tmp_path / name)
    with pytest.raises(InputError, match=r"Use one of .*\.ply, .*\.spz"):
        write_splats(tmp_path / name, make_gaussians(1))


def test_reading_only_is_said(tmp_path, make_gaussians) -> None:
    with pytest.raises(InputError, match="can be written"):
        write_splats(tmp_path / "a.ksplat", make_gaussians(1))


def test_suffix_in_capitals(tmp_path, make_gaussians) -> None:
    write_splats(tmp_path / "A.SPZ", make_gaussians(3))
    assert len(read_splats(str(tmp_path / "A.SPZ")).gaussians) == 3


@pytest.mark.parametrize("suffix", ["ply", "splat", "spz", "ksplat"])
def test_files_that_are_not_there(tmp_path, suffix: str) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_splats(tmp_path / f"a.{suffix}")
    (tmp_path / f"folder.{suffix}").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        read_splats(tmp_path / f"folder.{suffix}")
    with pytest.raises(InputError, match="no such file"):
        read_splats(tmp_path / f"a\0b.{suffix}")


def test_a_pipe_does_not_hang(tmp_path) -> None:
    os.mkfifo(tmp_path / "a.ply")
    with pytest.raises(InputError, match="not a regular file"):
        read_splats(tmp_path / "a.ply")


SUFFIXES = pytest.mark.parametrize("suffix", ["ply", "splat", "spz"])


@SUFFIXES
def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path, make_gaussians, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))  # a real failing write, half way through
    try:
        with pytest.raises(InputError, match="disk is full") as caught:
            write_splats(path, make_gaussians(1000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.file == path
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES])
def test_a_read_only_folder(tmp_path, make_gaussians, monkeypatch, code: int) -> None:
    def refuse(*args, **kwargs):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(files, "open", refuse, raising=False)
    with pytest.raises(InputError, match="read-only"):
        write_splats(tmp_path / "a.ply", make_gaussians(1))


def test_a_path_through_a_file(tmp_path, make_gaussians) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match="part of its path is a file"):
        write_splats(tmp_path / "file" / "a.ply", make_gaussians(1))
    (tmp_path / "b.ply").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        write_splats(tmp_path / "b.ply", make_gaussians(1))


def test_an_interrupted_write_leaves_nothing(tmp_path) -> None:
    def write_and_stop() -> None:
        with files.atomic_output(tmp_path / "a.ply") as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_and_stop()
    assert list(tmp_path.iterdir()) == []


def test_missing_folders_are_made_and_links_stay_links(tmp_path, make_gaussians) -> None:
    real = tmp_path / "deep" / "er" / "a.ply"
    write_splats(real, make_gaussians(2))
    link = tmp_path / "link.ply"
    link.symlink_to(real)
    write_splats(link, make_gaussians(5))
    assert link.is_symlink()
    assert len(read_splats(real).gaussians) == 5


@SUFFIXES
def test_rows_that_are_not_finite_are_not_written(tmp_path, make_gaussians, suffix: str) -> None:
    g = make_gaussians(10, 0)
    means = g.means.clone()
    means[3, 1] = float("nan")
    path: Path = tmp_path / f"a.{suffix}"
    warnings = write_splats(path, replace(g, means=means.requires_grad_()))
    assert warnings == ("1 of 10 splats hold NaN or infinite values and were not written",)
    assert len(read_splats(path).gaussians) == 9


@SUFFIXES
def test_colour_and_opacity_survive_a_grey_half(tmp_path, make_gaussians, suffix: str) -> None:
    g = replace(make_gaussians(1, 0), sh=torch.zeros(1, 1, 3), logits=torch.zeros(1))
    write_splats(tmp_path / f"a.{suffix}", g)
    back = read_splats(tmp_path / f"a.{suffix}").gaussians
    assert (0.2820948 * back.sh).abs().max() < 0.5 / 255 / 0.5
    assert (back.logits.sigmoid() - 0.5).abs() <= 0.5 / 255 + 1e-6
