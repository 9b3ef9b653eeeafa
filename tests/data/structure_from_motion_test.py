"""Plain photos and videos: poses from pictures alone."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from tiny_captures import write_images

from recon.data import read
from recon.errors import InputError

pytest.importorskip("pycolmap")
av = pytest.importorskip("av")


def test_photos_with_nothing_in_common(tmp_path: Path) -> None:
    for i in range(3):
        Image.new("RGB", (64, 64), (80 * i, 0, 0)).save(tmp_path / f"{i}.jpg")
    with pytest.raises(InputError, match=r"none of 3 photos could be placed.*Take 20 or more photos"):
        read(tmp_path, work_dir=tmp_path / "work")
    assert not list((tmp_path / "work").rglob("*.db"))  # nothing large is left behind


def test_work_folder_that_cannot_be_written(tmp_path: Path) -> None:
    write_images(tmp_path, ("a.png", "b.png", "c.png"))
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write there"):
        read(tmp_path, work_dir=tmp_path / "file" / "below")


@pytest.mark.scenes
@pytest.mark.slow
def test_poses_of_real_photos_equal_the_known_ones(
    scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seven fox photos at half size, one of them stored lying with an EXIF flag, one empty file, one foreign photo."""
    truth = {Path(v.name).name: v.camera for v in read(scenes / "fox", normalise=False).views}
    names = [f"{i:04d}.jpg" for i in (1, 2, 3, 4, 6, 7, 8)]
    for name in names:
        image = Image.open(scenes / "fox" / "images" / name).resize((270, 480), Image.Resampling.BOX)
        exif = Image.Exif()
        if name == "0003.jpg":
            image, exif[274] = image.transpose(Image.Transpose.ROTATE_90), 6
        image.save(tmp_path / name, quality=95, exif=exif)
    (tmp_path / "0009.jpg").write_bytes(b"")
    Image.effect_noise((270, 480), 60).convert("RGB").save(tmp_path / "other.jpg")
    stages: list[str] = []
    work = tmp_path / "work"
    capture = read(tmp_path, work_dir=work, progress=lambda stage, done, total: stages.append(stage))
    assert [v.name for v in capture.views] == names
    text = " ".join(capture.warnings)
    assert "0009.jpg is empty" in text
    assert "7 of 8 photos placed; not placed: other.jpg" in text
    assert {"Finding features", "Matching photos", "Placing photos"} <= set(stages)
    assert "7 of 8 photos placed" in stages[-2] or any("7 of 8 photos placed" in s for s in stages)
    assert capture.points is not None
    assert len(capture.points) > 100
    # The frame is free: compare rotations between pairs of cameras, and the focal length.
    for a, b in ((0, 2), (0, 6), (2, 5)):
        ours = capture.views[a].camera.camera_from_world @ capture.views[b].camera.world_from_camera
        known = truth[names[a]].camera_from_world @ truth[names[b]].world_from_camera
        cosine = (torch.trace(ours[:3, :3].T @ known[:3, :3]) - 1) / 2
        assert float(torch.rad2deg(torch.arccos(cosine.clamp(-1, 1)))) < 1.0
    assert float(capture.views[0].camera.intrinsics[0]) == pytest.approx(687.76 / 2, rel=0.1)
    upright = capture.views[2].photo().rgb
    assert upright.shape == (3, 480, 270)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("computed again")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    again = read(tmp_path, work_dir=work)
    assert torch.equal(again.centres, capture.centres)
    monkeypatch.undo()
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    alone = read(tmp_path, work_dir=tmp_path / "one thread")
    assert torch.equal(alone.centres, capture.centres)


def write_video(path: Path, pictures: list[Image.Image]) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=24)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = *pictures[0].size, "yuv420p", 4_000_000
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_image(picture)))
        container.mux(stream.encode())


def test_sharp_frames_at_even_motion(tmp_path: Path) -> None:
    """A camera that pans, rests, and pans again; two of three frames are blurred."""
    from recon.data.parts import video_frames
    from recon.data.parts.context import Context

    wall = Image.effect_noise((900, 160), 90).filter(ImageFilter.GaussianBlur(1.5)).convert("RGB")
    places = [*range(0, 180, 3), *[180] * 60, *range(180, 360, 3)]
    pictures = []
    for i, left in enumerate(places):
        frame = wall.crop((left, 0, left + 240, 160))
        pictures.append(frame if i % 3 == 1 else frame.filter(ImageFilter.GaussianBlur(2)))
    write_video(tmp_path / "pan.mp4", pictures)
    context = Context()
    looks = video_frames.look(tmp_path / "pan.mp4", context)
    assert len(looks.motion) == len(places)
    chosen = video_frames.choose(looks, fewest=24, most=150)
    assert sum(i % 3 == 1 for i in chosen) > 0.8 * len(chosen)
    resting = sum(60 <= i < 120 for i in chosen)
    assert resting <= 0.3 * len(chosen)
    steps = np.diff([places[i] for i in chosen])
    assert steps.max() < 60
    files = video_frames.write(tmp_path / "pan.mp4", chosen[:3], tmp_path, context)
    assert [Image.open(f).size for f in files] == [(240, 160)] * 3


def test_truncated_video_uses_what_there_is(tmp_path: Path) -> None:
    from recon.data.parts import video_frames
    from recon.data.parts.context import Context

    pictures = [Image.effect_noise((160, 120), 90).convert("RGB") for _ in range(30)]
    write_video(tmp_path / "clip.mkv", pictures)
    whole = (tmp_path / "clip.mkv").read_bytes()
    (tmp_path / "cut.mkv").write_bytes(whole[: len(whole) // 2])
    assert 3 < len(video_frames.look(tmp_path / "cut.mkv", Context()).motion) < 30
