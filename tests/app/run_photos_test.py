"""Photos for a texture: found by camera with what their pixels weigh, and taken in place of pictures of the fit."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from recon.app.api import load
from recon.app.meshing import _textured
from recon.app.run_photos import photos_of, pose_of, wanted
from recon.errors import InputError
from recon.mesh.grid import Grid
from recon.mesh.marching_cubes import mesh_distance
from recon.types import Camera, Photo, Render, View


def camera(angle: float = 0.0) -> Camera:
    """Looks at the origin from the side."""
    pose = torch.eye(4, dtype=torch.float64)
    back = torch.tensor([math.cos(angle), math.sin(angle), 0.0], dtype=torch.float64)
    up = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    pose[:3, 0], pose[:3, 1], pose[:3, 2], pose[:3, 3] = torch.linalg.cross(up, back), -up, -back, 2.5 * back
    return Camera(80, 60, torch.tensor([90.0, 90.0, 40.0, 30.0]), pose)


class Kept:
    def __init__(self, photo: Photo) -> None:
        self.photo = photo

    def read(self, camera: Camera) -> Photo:
        return self.photo


def view(at: Camera, **planes: Tensor) -> View:
    return View("v", at, Kept(Photo(torch.full((3, at.height, at.width), 51, dtype=torch.uint8), **planes)), "train")


def test_pixels_weigh_what_alpha_and_masks_say() -> None:
    at, half = camera(), torch.full((60, 80), 255, dtype=torch.uint8)
    half[:, 40:] = 0
    top = torch.zeros(60, 80)
    top[:30] = 1

    def weights(seen: View, masks: Mapping[bytes, Tensor], ignore: bool) -> Tensor | None:
        found = photos_of({pose_of(at): seen}, masks, ignore)(at)
        assert found is not None
        assert float((found[0] - 0.2).abs().max()) < 1e-6
        assert tuple(found[0].shape) == (60, 80, 3)
        return found[1]

    assert weights(view(at), {}, ignore=True) is None
    assert weights(view(at, mask=half), {}, ignore=False) is None  # an object's mask comes with ``masks``
    left = half.float() / 255
    for seen in (view(at, alpha=half), view(at, mask=half)):
        found = weights(seen, {}, ignore=True)
        assert found is not None
        assert torch.equal(found, left)
    found = weights(view(at, alpha=half), {pose_of(at): top}, ignore=False)
    assert found is not None
    assert torch.equal(found, left * top)
    photos = photos_of({pose_of(at): view(at)}, {}, False)
    assert photos(camera(1.0)) is None
    assert photos(at.scaled(40, 30)) is None


def test_photos_of_a_run_are_those_it_was_fitted_to(tiny_run: Path) -> None:
    from recon.app.scenes import read_again

    run = load(tiny_run)
    photos, notes = wanted(run, "auto", {})
    assert photos is not None
    assert notes == ()
    assert run.saved is not None
    capture = {v.name: v for v in read_again(run.config, run.path.parent).views}
    for saved in run.saved.views:
        found = photos(saved.camera)
        assert found is not None
        assert torch.equal(found[0], capture[saved.name].photo().rgb.permute(1, 2, 0).float() / 255)
    assert wanted(run, "fit", {}) == (None, ())


def test_pictures_of_the_fit_where_photos_are_gone_or_were_corrected(tiny_run: Path, tmp_path: Path) -> None:
    run = load(tiny_run)
    gone = SimpleNamespace(path=run.path, saved=run.saved,
                           config=run.config | {"scene": run.config["scene"] | {"path": str(tmp_path / "nowhere")}})
    photos, notes = wanted(gone, "auto", {})
    assert photos is None
    assert "cannot be read" in notes[0]
    with pytest.raises(InputError, match="cannot be read"):
        wanted(gone, "photos", {})
    system: dict[str, Any] = run.config["system"]
    corrected = SimpleNamespace(path=run.path, saved=run.saved,
                                config=run.config | {"system": system | {"exposure": {"enabled": True}}})
    photos, notes = wanted(corrected, "auto", {})
    assert photos is None
    assert "exposure" in notes[0]
    assert wanted(corrected, "photos", {})[0] is not None


def test_a_texture_shows_photos_and_where_there_are_none_the_fit() -> None:
    pytest.importorskip("xatlas")
    low = torch.full((3,), -1.0)
    ball = mesh_distance(lambda x: x.norm(dim=1) - 0.7, Grid.around(low, -low, 12))
    front, behind = camera(), camera(math.pi)
    photos = photos_of({pose_of(front): view(front)}, {}, False)

    def render(at: Camera) -> Render:
        assert pose_of(at) != pose_of(front), "nobody needs it drawn"
        return Render(torch.full((at.height, at.width, 3), 0.8), opacity=torch.ones(at.height, at.width))

    made = _textured(replace(ball, colours=torch.zeros_like(ball.vertices)), render, [front, behind], 64, photos)
    from recon.mesh.texture import textured_picture

    for at, colour in ((front, 0.2), (behind, 0.8)):
        shown, hit = textured_picture(made, at)
        assert bool(hit[25:35, 35:45].all())
        assert float((shown[25:35, 35:45] - colour).abs().max()) < 0.02
