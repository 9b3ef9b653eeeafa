"""Every reader finds the same cameras in its own format, and recognises it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_captures import (
    COUNT,
    FOCAL,
    HEIGHT,
    WIDTH,
    WRITERS,
    Tiny,
    write_colmap,
    write_images,
    write_llff,
    write_transforms,
)

from recon.data import read, readers
from recon.errors import InputError
from recon.types import Capture

FLIP = np.diag([1.0, -1, -1, 1])


def poses(capture: Capture) -> np.ndarray:
    return np.stack([v.camera.world_from_camera.numpy() for v in capture.views])


def edit(file: Path, change: object) -> None:
    data = json.loads(file.read_text())
    change(data)  # type: ignore[operator]
    file.write_text(json.dumps(data))


@pytest.mark.parametrize("format", list(WRITERS))
def test_reads_the_cameras_that_were_written(format: str, tiny: Tiny, tmp_path: Path) -> None:
    file = WRITERS[format](tmp_path, tiny)
    for path in (tmp_path, file):
        capture = read(path, normalise=False)
        assert capture.format == format
        assert [Path(v.name).name for v in capture.views] == list(tiny.names)
        np.testing.assert_allclose(poses(capture), tiny.poses, atol=1e-9)
        for view in capture.views:
            assert view.camera.size == (WIDTH, HEIGHT)
            np.testing.assert_allclose(view.camera.intrinsics, [FOCAL, FOCAL, WIDTH / 2, HEIGHT / 2], atol=1e-9)
        assert capture.warnings == ()
        assert capture.views[3].photo().rgb.shape == (3, HEIGHT, WIDTH)


def test_colmap_text_equals_binary_and_binary_wins(tiny: Tiny, tmp_path: Path) -> None:
    write_colmap(tmp_path / "bin", tiny)
    write_colmap(tmp_path / "txt", tiny, text=True)
    a, b = (read(tmp_path / kind, normalise=False) for kind in ("bin", "txt"))
    np.testing.assert_allclose(poses(a), poses(b), atol=1e-12)
    assert a.points is not None
    assert b.points is not None
    np.testing.assert_allclose(a.points.positions, tiny.points)
    torch.testing.assert_close(a.points.positions, b.points.positions)
    assert a.points.colours.tolist() == [[10, 20, 30]] * len(tiny.points)
    assert a.views[0].camera.lens == b.views[0].camera.lens
    assert a.views[0].camera.lens.coefficients == (0.01, 0, 0, 0)
    write_colmap(tmp_path / "bin", tiny, text=True, images=False)
    (tmp_path / "bin/sparse/0/images.txt").write_text("nonsense")
    assert len(read(tmp_path / "bin").views) == COUNT


def test_idr_leads_back_to_the_frame_of_world_mat(tiny: Tiny, tmp_path: Path) -> None:
    WRITERS["idr"](tmp_path, tiny)
    capture = read(tmp_path)
    back = capture.world_from_source.inverse().points(capture.centres)
    np.testing.assert_allclose(back, 2 * tiny.poses[:, :3, 3] + [5, 0, 0], atol=1e-9)


def test_order_of_preference_and_override(tiny: Tiny, tmp_path: Path) -> None:
    for write in (write_llff, write_colmap, write_transforms):
        write(tmp_path, tiny)
    assert read(tmp_path).format == "transforms"
    assert read(tmp_path, format="llff").format == "llff"
    assert read(tmp_path, poses="colmap").format == "colmap"
    assert read(tmp_path, format="nerfstudio").format == "transforms"
    with pytest.raises(InputError, match=r'no format "polaroid".*transforms.*colmap.*llff.*idr.*video.*photos'):
        read(tmp_path, format="polaroid")
    assert list(readers()) == ["transforms", "colmap", "llff", "idr", "video", "photos"]


def test_points_are_borrowed_only_from_the_same_frame(tiny: Tiny, tmp_path: Path) -> None:
    write_transforms(tmp_path, tiny)
    write_colmap(tmp_path, tiny, images=False)
    points = read(tmp_path, normalise=False).points
    assert points is not None
    np.testing.assert_allclose(points.positions, tiny.points)
    moved = tiny.poses.copy()
    moved[:, 0, 3] += 0.1
    write_colmap(tmp_path, replace(tiny, poses=moved), images=False)
    assert read(tmp_path).points is None


def test_poses_from_elsewhere(tiny: Tiny, tmp_path: Path) -> None:
    write_images(tmp_path / "photos", tiny.names)
    write_colmap(tmp_path / "model", tiny, images=False)
    capture = read(tmp_path / "photos", poses=tmp_path / "model" / "sparse" / "0")
    assert capture.format == "colmap"
    assert len(capture.views) == COUNT
    file = write_transforms(tmp_path / "elsewhere", tiny)
    capture = read(tmp_path / "photos", poses=file)
    assert capture.format == "transforms"
    assert {v.name for v in capture.views} == set(tiny.names)


def test_transforms_spellings(tiny: Tiny, tmp_path: Path) -> None:
    file = write_transforms(tmp_path, tiny)

    def change(data: dict) -> None:
        for key in ("fl_x", "fl_y", "cx", "cy", "w", "h"):
            del data[key]
        data["camera_angle_x"] = 2 * np.arctan(WIDTH / 2 / FOCAL)
        for i, frame in enumerate(data["frames"]):
            frame["file_path"] = ".\\images\\" + Path(frame["file_path"]).stem
            frame["time"] = i / 10
        data["frames"][2]["fl_x"] = 33.0
        data["frames"][3] |= {"camera_model": "OPENCV_FISHEYE", "k1": 0.1, "k4": 0.01}
        data["frames"][4] |= {"k3": 0.3}
        data["frames"][5] |= {"distortion_params": [0.1, 0.2, 0, 0, 0.3, 0.4]}
        data["frames"][6]["transform_matrix"] = data["frames"][6]["transform_matrix"][:3]

    edit(file, change)
    views = read(tmp_path, normalise=False).views
    np.testing.assert_allclose(views[0].camera.intrinsics, [FOCAL, FOCAL, WIDTH / 2, HEIGHT / 2], atol=1e-9)
    assert views[2].camera.intrinsics.tolist()[:2] == [33.0, 33.0]
    assert views[3].camera.lens.model == "OPENCV_FISHEYE"
    assert views[3].camera.lens.coefficients == (0.1, 0, 0, 0.01)
    assert views[4].camera.lens.coefficients == (0, 0, 0, 0, 0.3, 0, 0, 0)
    assert views[5].camera.lens.coefficients == (0.1, 0.2, 0.3, 0.4)
    assert [v.camera.time for v in views] == [i / 10 for i in range(COUNT)]


def test_blender_splits_and_alpha(tiny: Tiny, tmp_path: Path) -> None:
    write_images(tmp_path / "train", tiny.names[:6], mode="RGBA")
    write_images(tmp_path / "test", tiny.names[6:], mode="RGBA")
    for split, rows in (("train", range(6)), ("test", range(6, 9)), ("val", range(3))):
        frames = [{"file_path": f"./{'test' if i > 5 else 'train'}/{i:03d}",
                   "transform_matrix": (tiny.poses[i] @ FLIP).tolist()} for i in rows]  # fmt: skip
        (tmp_path / f"transforms_{split}.json").write_text(json.dumps({"camera_angle_x": 1.0, "frames": frames}))
    (tmp_path / "transforms_relit.json").write_text("{}")
    capture = read(tmp_path)
    assert (len(capture.train), len(capture.test)) == (6, 3)
    assert capture.has_alpha
    assert capture.views[0].photo().alpha is not None
    assert capture.mask_meaning is None


def test_holdout(tiny: Tiny, tmp_path: Path) -> None:
    write_transforms(tmp_path, tiny)
    assert [v.name for v in read(tmp_path, holdout=4).test] == ["images/000.png", "images/004.png", "images/008.png"]
    assert read(tmp_path, holdout=0).test == ()


def test_named_splits(tiny: Tiny, tmp_path: Path) -> None:
    write_transforms(tmp_path, tiny, test_filenames=["images/001.png"])
    assert [v.name for v in read(tmp_path).test] == ["images/001.png"]


@pytest.mark.parametrize(("folder", "names"), [
    ("masks", "{stem}.png"), ("mask", "{name}.png"), ("masks", "mask_of_frame_{stem}.png"),
])  # fmt: skip
def test_mask_folders(folder: str, names: str, tiny: Tiny, tmp_path: Path) -> None:
    write_transforms(tmp_path, tiny)
    (tmp_path / folder).mkdir()
    for i, name in enumerate(tiny.names):
        values = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
        values[:, : i + 1] = 1  # masks of 0 and 1 count as masks of 0 and 255
        Image.fromarray(values).save(tmp_path / folder / names.format(stem=Path(name).stem, name=name))
    capture = read(tmp_path)
    assert capture.mask_meaning == "object"
    mask = capture.views[4].photo().mask
    assert mask is not None
    assert mask[0].tolist() == [255] * 5 + [0] * (WIDTH - 5)


def test_mask_of_another_shape_is_ignored_and_of_another_size_stretched(tiny: Tiny, tmp_path: Path) -> None:
    write_transforms(tmp_path, tiny)
    (tmp_path / "masks").mkdir()
    for i, name in enumerate(tiny.names):
        size = (HEIGHT, WIDTH) if i == 2 else (WIDTH // 2, HEIGHT // 2)
        Image.new("L", size, 255).save(tmp_path / "masks" / name)
    capture = read(tmp_path)
    assert any("002.png" in w and "shape" in w for w in capture.warnings)
    assert capture.views[2].photo().mask is None
    mask = capture.views[0].photo().mask
    assert mask is not None
    assert mask.shape == (HEIGHT, WIDTH)


def test_mask_path_means_ignore(tiny: Tiny, tmp_path: Path) -> None:
    file = write_transforms(tmp_path, tiny)
    Image.new("L", (WIDTH, HEIGHT), 0).save(tmp_path / "m.png")
    edit(file, lambda data: [f.update(mask_path="m.png") for f in data["frames"]])
    capture = read(tmp_path)
    assert capture.mask_meaning == "ignore"


def test_depth_and_normals_follow_the_frame(tiny: Tiny, tmp_path: Path) -> None:
    file = write_transforms(tmp_path, tiny)
    Image.fromarray(np.full((HEIGHT, WIDTH), 2500, dtype=np.uint16)).save(tmp_path / "d.png")
    Image.new("RGB", (WIDTH, HEIGHT), (128, 128, 255)).save(tmp_path / "n.png")
    edit(file, lambda data: [f.update(depth_file_path="d.png", normal_file_path="n.png") for f in data["frames"]])
    edit(file, lambda data: data["frames"][1].update(normal_frame="camera"))
    capture = read(tmp_path)
    view = capture.views[1]
    assert view.depth is not None
    assert view.normal is not None
    assert float(view.depth()[3, 3]) == pytest.approx(2.5 * capture.world_from_source.scale, rel=1e-5)
    towards_camera = -view.camera.forward.to(torch.float32)  # OpenGL z points backwards
    assert float(view.normal()[3, 3] @ towards_camera) == pytest.approx(1, abs=1e-3)
    in_world = capture.views[0].normal
    assert in_world is not None
    assert in_world()[3, 3].tolist() == pytest.approx([0, 0, 1], abs=6e-3)


def test_own_points_of_transforms(tiny: Tiny, tmp_path: Path) -> None:
    write_transforms(tmp_path, tiny, ply_file_path="points.ply")
    header = (
        "ply\nformat {} 1.0\ncomment x\nelement vertex 2\nproperty float x\nproperty float y\nproperty float z\n"
        "property uchar red\nproperty uchar green\nproperty uchar blue\nproperty float quality\nend_header\n"
    )
    layout = [("xyz", "f4", 3), ("rgb", "u1", 3), ("q", "f4")]
    rows = np.array([((1, 2, 3), (4, 5, 6), 0), ((np.nan, 0, 0), (0, 0, 0), 0)], dtype=layout)
    swapped = rows.astype([("xyz", ">f4", 3), ("rgb", "u1", 3), ("q", ">f4")])
    for kind, body in (("binary_little_endian", rows.tobytes()), ("binary_big_endian", swapped.tobytes()),
                       ("ascii", b"1 2 3 4 5 6 0\nnan 0 0 0 0 0 0\n")):  # fmt: skip
        (tmp_path / "points.ply").write_bytes(header.format(kind).encode() + body)
        capture = read(tmp_path, normalise=False)
        assert capture.points is not None
        assert capture.points.positions.tolist() == [[1, 2, 3]]
        assert capture.points.colours.tolist() == [[4, 5, 6]]
        assert any("1 point with NaN" in w for w in capture.warnings)
