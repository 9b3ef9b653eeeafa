"""Masks of the photos in meshing: found by pose, and what they cut away."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_scene import HEIGHT, WIDTH, write_tiny_scene

from recon import data
from recon.app.main import main
from recon.app.object_masks import cut_out, masks_of
from recon.errors import InputError
from recon.types import Camera, Render


def with_alpha(folder: Path) -> Path:
    """The tiny scene with photos that are solid in their left half."""
    write_tiny_scene(folder)
    for path in (folder / "images").iterdir():
        rgba = np.array(Image.open(path).convert("RGBA"))
        rgba[:, WIDTH // 2:, 3] = 0
        Image.fromarray(rgba).save(path)
    return folder


def test_masks_are_found_and_cut(tmp_path: Path) -> None:
    folder = with_alpha(tmp_path / "tiny")
    capture = data.prepare(data.read(folder))
    cameras = [v.camera for v in capture.views]
    masks = masks_of({"path": str(folder), "size": None}, cameras)
    assert len(masks) == len(cameras)

    def solid(camera: Camera) -> Render:
        return Render(torch.zeros(camera.height, camera.width, 3), opacity=torch.ones(camera.height, camera.width))

    cut = cut_out(solid, masks)
    whole = cut(cameras[3]).channel("opacity")
    small = cut(cameras[3].scaled(WIDTH // 2, HEIGHT // 2)).channel("opacity")
    assert float(whole[:, : WIDTH // 2].min()) == 1
    assert float(whole[:, WIDTH // 2:].max()) == 0
    assert float(small[:, 2 : WIDTH // 4 - 2].min()) == 1
    assert float(small[:, WIDTH // 4 + 2:].max()) == 0


def test_no_masks_where_there_are_none(tmp_path: Path) -> None:
    folder = write_tiny_scene(tmp_path / "tiny")
    assert masks_of({"path": str(folder)}, [v.camera for v in data.read(folder).views]) == {}


def test_asking_for_masks_that_are_not_there(tiny_run: Path, tmp_path: Path,
                                             capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mesh", str(tiny_run), str(tmp_path / "m.ply"), "--masks", "object"]) == 2
    assert "neither masks of an object nor alpha" in capsys.readouterr().err


def test_photos_that_are_gone(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        masks_of({"path": str(tmp_path / "nowhere")}, [])
