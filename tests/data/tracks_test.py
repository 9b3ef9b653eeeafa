"""Given poses adjusted to matched features."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from recon.data import read
from recon.data.parts.context import Context
from recon.data.parts.tracks import adjusted, pairs
from recon.errors import InputError
from recon.fit.poses import twist
from recon.types import Camera, Capture, Photo
from recon.types.similarity import Similarity, similarity_between

pytest.importorskip("pycolmap")
SAMPLE = Path(__file__).parents[2] / "data" / "sample"


class _Damaged:
    def read(self, camera: Camera) -> Photo:
        raise InputError("cannot be decoded")


def _shaken(capture: Capture, degrees: float, share: float) -> Capture:
    """Fitted cameras turned and moved at random, by so much and such a share of the scene's radius (rms)."""
    generator = torch.Generator().manual_seed(3)
    views = []
    for view in capture.views:
        xi = torch.randn(6, generator=generator, dtype=torch.float64) / math.sqrt(3)
        xi[:3] *= math.radians(degrees)
        xi[3:] *= share * capture.radius
        moved = replace(view.camera, world_from_camera=view.camera.world_from_camera @ twist(xi))
        views.append(replace(view, camera=moved) if view.split == "train" else view)
    return replace(capture, views=tuple(views))


def _poses(capture: Capture) -> Tensor:
    return torch.stack([v.camera.world_from_camera for v in capture.train])


def _errors(true: Capture, capture: Capture) -> tuple[float, float]:
    """Median degrees and share of the radius, after the similarity between the two."""
    moved = similarity_between(_poses(true), _poses(capture))
    turns = (moved.rotation @ _poses(true)[:, :3, :3]).mT @ _poses(capture)[:, :3, :3]
    chord = (turns - torch.eye(3, dtype=torch.float64)).flatten(1).norm(dim=1)
    shift = (moved.points(_poses(true)[:, :3, 3]) - _poses(capture)[:, :3, 3]).norm(dim=1)
    return math.degrees(2 * math.asin(float(chord.median()) / 8**0.5)), float(shift.median()) / true.radius


def test_disturbed_poses_of_the_sample_come_back_and_are_kept(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = read(SAMPLE)
    some = [*whole.train[::2], whole.test[0]]
    true = replace(whole, views=tuple(some))
    bad = _shaken(true, 1.0, 0.01)
    unreadable = replace(bad.views[5], source=_Damaged())
    bad = replace(bad, views=(*bad.views[:5], unreadable, *bad.views[6:]))
    stages: list[str] = []
    work = tmp_path / "work"
    good = adjusted(bad, Context(progress=lambda stage, done, total: stages.append(stage), work_dir=work))
    before, after = _errors(true, bad), _errors(true, good)
    assert after[0] < 0.2 * before[0]
    assert after[1] < 0.2 * before[1]
    assert {"Finding features", "Matching photos", "Adjusting poses"} <= set(stages)
    assert good.test[0].camera is bad.test[0].camera
    assert good.train[5].camera is bad.train[5].camera  # the fit says what is wrong with that photo
    assert {p.name for p in next(work.iterdir()).iterdir()} == {"colmap.log", "done.json", "job.json", "pairs.txt",
                                                               "poses.txt"}
    stages.clear()
    again = adjusted(bad, Context(progress=lambda stage, done, total: stages.append(stage), work_dir=work))
    assert torch.equal(_poses(again), _poses(good))
    assert not {"Finding features", "Adjusting poses"} & set(stages)
    kept = next(work.iterdir()) / "poses.txt"
    kept.write_text(kept.read_text()[:1000])
    with pytest.raises(InputError, match="damaged and have been removed"):
        adjusted(bad, Context(work_dir=work))
    assert not kept.exists()
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    assert torch.equal(_poses(adjusted(bad, Context(work_dir=tmp_path / "one thread"))), _poses(good))


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write there"):
        adjusted(read(SAMPLE), Context(work_dir=tmp_path / "file"))


def test_photos_with_nothing_in_common_are_refused(tmp_path: Path) -> None:
    whole = read(SAMPLE)
    generator = torch.Generator().manual_seed(0)

    class Noise:
        def read(self, camera: Camera) -> Photo:
            return Photo(torch.randint(0, 255, (3, camera.height, camera.width), dtype=torch.uint8,
                                       generator=generator))

    views = tuple(replace(v, source=Noise()) for v in whole.train[:4])
    with pytest.raises(InputError, match="0 of 4 photos have enough in common"):
        adjusted(replace(whole, views=views), Context(work_dir=tmp_path))


def test_pairs_are_all_of_few_views_and_neighbours_of_many() -> None:
    def camera(i: int) -> Camera:
        angle, pose = 2 * math.pi * i / 80, torch.eye(4, dtype=torch.float64)
        c, s = math.cos(angle), math.sin(angle)
        pose[:3, :3] = torch.tensor([[-s, 0, -c], [c, 0, -s], [0, -1, 0]], dtype=torch.float64)
        pose[:3, 3] = torch.tensor([c, s, 0], dtype=torch.float64)
        return Camera(10, 10, torch.tensor([10.0, 10, 5, 5]), pose)

    ring = [camera(i) for i in range(80)]
    assert len(pairs(ring[:10])) == 45
    found = pairs(ring)
    assert {(i, i + 1) for i in range(79)} | {(0, 79)} <= set(found)
    assert max(min(b - a, 80 - b + a) for a, b in found) <= 11


def test_the_similarity_between_two_sets_of_cameras() -> None:
    true = _poses(read(SAMPLE))
    moved = Similarity(1.7, twist(torch.tensor([0.3, -0.2, 0.5, 0, 0, 0], dtype=torch.float64))[:3, :3],
                       torch.tensor([0.1, 2.0, -1.0], dtype=torch.float64))
    target = true.clone()
    target[:, :3, :3] = moved.rotation @ true[:, :3, :3]
    target[:, :3, 3] = moved.points(true[:, :3, 3])
    found = similarity_between(true, target)
    assert abs(found.scale - 1.7) < 1e-9
    assert torch.allclose(found.rotation, moved.rotation, atol=1e-9)
    assert torch.allclose(found.translation, moved.translation, atol=1e-9)
