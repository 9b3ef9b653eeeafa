"""Camera path files: ours, nerfstudio's and transforms.json; and what is wrong with them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from recon.app import camera_path_file, camera_paths
from recon.errors import InputError
from recon.types import Camera


def pose() -> torch.Tensor:
    at = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    return camera_paths.look_at(at, torch.zeros(3, dtype=torch.float64), torch.tensor([0.0, 0.0, 1.0]).double())


def test_ours_comes_back_bit_for_bit(tmp_path: Path) -> None:
    cameras = [Camera(64, 48, torch.tensor([51.5, 52.0, 32.0, 24.0]), pose())]
    camera_path_file.write(tmp_path / "path.json", cameras, 24)
    again = camera_path_file.read(tmp_path / "path.json")
    assert again.fps == 24
    assert torch.allclose(again.cameras[0].world_from_camera, cameras[0].world_from_camera, atol=1e-15)
    assert torch.equal(again.cameras[0].intrinsics, cameras[0].intrinsics)


def test_nerfstudio_is_turned_to_opencv(tmp_path: Path) -> None:
    opengl = pose() @ torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0]).double())
    content = {"render_width": 200, "render_height": 100, "fps": 12, "camera_type": "perspective",
               "camera_path": [{"camera_to_world": opengl.reshape(-1).tolist(), "fov": 90.0, "aspect": 2.0}]}
    (tmp_path / "camera_path.json").write_text(json.dumps(content))
    found = camera_path_file.read(tmp_path / "camera_path.json").cameras[0]
    assert torch.allclose(found.world_from_camera, pose(), atol=1e-12)
    assert float(found.intrinsics[1]) == pytest.approx(50.0)  # 90 degrees, vertical: half the height
    assert found.size == (200, 100)


def test_transforms_json_is_a_path_too(tmp_path: Path) -> None:
    opengl = pose() @ torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0]).double())
    content = {"camera_angle_x": math.pi / 2, "frames": [{"transform_matrix": opengl.tolist()}] * 3}
    (tmp_path / "transforms.json").write_text(json.dumps(content))
    found = camera_path_file.read(tmp_path / "transforms.json", (80, 60)).cameras
    assert len(found) == 3
    assert float(found[0].intrinsics[0]) == pytest.approx(40.0)
    assert torch.allclose(found[0].world_from_camera, pose(), atol=1e-12)


GOOD: dict[str, Any] = {"size": [4, 4], "world_from_camera": torch.eye(4).tolist(), "fov_y_degrees": 50}


@pytest.mark.parametrize("change", [
    {"world_from_camera": [[1, 0], [0, 1]]}, {"world_from_camera": torch.zeros(4, 4).tolist()},
    {"world_from_camera": torch.full((4, 4), math.nan).tolist()}, {"world_from_camera": "here"},
    {"world_from_camera": torch.diag(torch.tensor([1.0, 1.0, -1.0, 1.0])).tolist()},
    {"world_from_camera": (torch.eye(4) + torch.ones(4, 4) * 0.5).tolist()},
    {"fov_y_degrees": 0}, {"fov_y_degrees": 180}, {"fov_y_degrees": None}, {"size": [0, 4]}, {"size": [10**9, 10**9]},
    {"size": None}, {"intrinsics": [1, 2, 3]}, {"intrinsics": [-1, 2, 3, 4]},
])
def test_a_wrong_camera_is_named(change: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text(json.dumps({"cameras": [GOOD, GOOD | change]}))
    with pytest.raises(InputError) as caught:
        camera_path_file.read(tmp_path / "p.json")
    assert "camera 2 of 2" in caught.value.what


@pytest.mark.parametrize("text", [
    "", "[]", "{}", '{"cameras": []}', '{"cameras": {}}', '{"cameras": [3]}', "\x00", "[" * 9999,
])
def test_other_files_are_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text(text)
    with pytest.raises(InputError):
        camera_path_file.read(tmp_path / "p.json")
