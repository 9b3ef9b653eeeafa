"""Pictures and videos of results."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
import torch

from recon.app import pictures, video
from recon.types import Render


def test_comparison_is_photo_render_error_side_by_side() -> None:
    photo, render = torch.zeros(5, 7, 3), torch.zeros(5, 7, 3)
    photo[0, 0] = 1.0
    render[4, 6] = 0.5
    pixels = pictures.comparison(photo, render)
    assert pixels.shape == (5, 7 * 3 + 8, 3)
    assert pixels[0, 0].tolist() == [255, 255, 255]
    assert pixels[4, 7 + 4 + 6].tolist() == [128, 128, 128]
    error = pixels[:, -7:].astype(int).sum(-1)
    assert error[0, 0] > 500
    assert error[4, 6] > 500
    assert error[2, 2] == 0


def test_what_a_mask_hides_is_no_error() -> None:
    pixels = pictures.comparison(torch.zeros(4, 4, 3), torch.ones(4, 4, 3), mask=torch.zeros(4, 4))
    assert pixels[:, -4:].max() == 0


def test_near_is_brighter_than_far_and_nothing_is_black() -> None:
    depth = torch.tensor([[1.0, 2.0, 4.0, 0.0]])
    pixels = pictures.channel_image(Render(torch.zeros(1, 4, 3), depth=depth), "depth").astype(int).sum(-1)[0]
    assert pixels[0] > pixels[1] > pixels[2] > pixels[3] == 0


@pytest.mark.parametrize("depth", [torch.zeros(3, 3), torch.full((3, 3), 5.0), torch.full((3, 3), torch.inf)])
def test_depth_without_any_range_is_still_a_picture(depth: torch.Tensor) -> None:
    assert pictures.channel_image(Render(torch.zeros(3, 3, 3), depth=depth), "depth").shape == (3, 3, 3)


def test_normals_and_opacity() -> None:
    normal = torch.zeros(1, 2, 3)
    normal[0, 0, 2] = 1.0
    shown = Render(torch.zeros(1, 2, 3), normal=normal, opacity=torch.tensor([[0.5, 1.0]]))
    assert pictures.channel_image(shown, "normal")[0].tolist() == [[128, 128, 255], [0, 0, 0]]
    assert pictures.channel_image(shown, "opacity")[0].tolist() == [[128] * 3, [255] * 3]


def test_depth16_keeps_depth(tmp_path: Path) -> None:
    from PIL import Image

    depth = torch.tensor([[0.0, 1.234], [2.5, 99.0]])
    pictures.write_depth16(tmp_path / "d.png", depth, unit=1e-3)
    with Image.open(tmp_path / "d.png") as image:
        assert np.asarray(image).astype(int).tolist() == [[0, 1234], [2500, 65535]]


@pytest.mark.parametrize("name", ["x.png", "x.jpg"])
def test_images_come_back(name: str, tmp_path: Path) -> None:
    pixels = np.full((6, 9, 3), (200, 100, 50), np.uint8)
    pictures.write_image(tmp_path / name, pixels)
    assert np.abs(pictures.read_image(tmp_path / name).astype(int) - pixels).max() <= 3


def test_mp4_comes_back(tmp_path: Path) -> None:
    frames = [np.full((46, 62, 3), (20 * i, 120, 255 - 20 * i), np.uint8) for i in range(10)]
    assert video.write_mp4(tmp_path / "v.mp4", iter(frames), 25) == 10
    with av.open(str(tmp_path / "v.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert (stream.width, stream.height, float(stream.average_rate or 0)) == (62, 46, 25.0)
        decoded = [f.to_ndarray(format="rgb24") for f in container.decode(stream)]
    assert len(decoded) == 10
    for before, after in zip(frames, decoded, strict=True):
        assert np.abs(before.astype(int) - after).mean() < 4


def test_a_video_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def frames() -> object:
        yield np.zeros((16, 16, 3), np.uint8)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        video.write_mp4(tmp_path / "v.mp4", frames(), 25)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_sizes_become_even() -> None:
    assert video.even((135, 240)) == (134, 240)
    assert video.even((1, 1)) == (2, 2)
