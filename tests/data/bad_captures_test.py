"""Bad input: one clear error, or a warning and a capture of what is good. Never a traceback, a hang or much memory."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_captures import COUNT, HEIGHT, WIDTH, WRITERS, Tiny, write_colmap, write_images, write_llff, write_transforms

from recon.data import prepare, read
from recon.data.parts import images
from recon.errors import InputError


def error_of(path: Path, **options: object) -> str:
    with pytest.raises(InputError) as caught:
        read(path, **options)  # type: ignore[arg-type]
    message = caught.value.message
    assert "\n" not in message
    return message


def test_no_such_folder_empty_folder_and_unknown_file(tmp_path: Path) -> None:
    assert "no such file or folder" in error_of(tmp_path / "nowhere")
    assert "the folder is empty" in error_of(tmp_path)
    (tmp_path / "notes.txt").write_text("hello")
    assert "nothing here that can be read" in error_of(tmp_path)
    assert "not a capture" in error_of(tmp_path / "notes.txt")


def test_heic_photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heif = pytest.importorskip("pillow_heif")
    heif.register_heif_opener()
    grey = np.linspace(0, 255, 64 * 48).reshape(48, 64).astype(np.uint8)
    for i in range(3):
        Image.fromarray(np.stack([grey, 255 - grey, grey // 2], 2)).save(tmp_path / f"IMG_{i}.HEIC", quality=95)
    photo = tmp_path / "IMG_1.HEIC"
    assert images.probe(photo).size == (64, 48)
    difference = np.asarray(images.decode(photo), dtype=float)[..., 0] - grey
    assert abs(difference).mean() < 4
    photo.write_bytes(photo.read_bytes()[:300])
    with pytest.raises(InputError, match="damaged"):
        images.decode(photo)
    monkeypatch.setattr(images, "heic_can_be_read", lambda: False)
    monkeypatch.setattr("recon.data.photos.heic_can_be_read", lambda: False)
    assert "need the package pillow-heif" in error_of(tmp_path)
    with pytest.raises(InputError, match="pip install pillow-heif"):
        images.decode(tmp_path / "IMG_0.HEIC")


def test_two_photos_only(tmp_path: Path) -> None:
    write_images(tmp_path, ("a.png", "b.png"))
    message = error_of(tmp_path, work_dir=tmp_path / "work")
    assert "2 photos without a camera file: too few" in message
    assert "Take 20 or more photos" in message


@pytest.mark.parametrize("format", list(WRITERS))
def test_broken_images_among_good_ones_are_skipped_and_listed(format: str, tiny: Tiny, tmp_path: Path) -> None:
    WRITERS[format](tmp_path, tiny)
    folder = tmp_path / ("image" if format == "idr" else "images")
    (folder / "001.png").write_bytes(b"")
    (folder / "002.png").write_bytes(b"not an image at all")
    whole = (folder / "004.png").read_bytes()
    (folder / "004.png").write_bytes(whole[: len(whole) // 2])
    capture = read(tmp_path)
    assert len(capture.views) == COUNT - 3
    text = " ".join(capture.warnings)
    for name, why in (("001.png", "is empty"), ("002.png", "is not an image"), ("004.png", "is truncated")):
        assert f"{name} {why}" in text


def test_truncated_jpeg_is_noticed_and_a_trailer_is_not(tiny: Tiny, tmp_path: Path) -> None:
    file = write_transforms(tmp_path, tiny)
    data = json.loads(file.read_text())
    for frame in data["frames"]:
        path = tmp_path / frame["file_path"]
        frame["file_path"] = frame["file_path"].replace(".png", ".jpg")
        Image.open(path).convert("RGB").save(path.with_suffix(".jpg"))
    file.write_text(json.dumps(data))
    first, second = (tmp_path / data["frames"][i]["file_path"] for i in (0, 1))
    first.write_bytes(first.read_bytes()[:-300])
    second.write_bytes(second.read_bytes() + bytes(100_000))  # what phones append
    capture = read(tmp_path)
    assert len(capture.views) == COUNT - 1
    assert "000.jpg is truncated" in capture.warnings[0]


def test_truncated_transforms_says_where(tiny: Tiny, tmp_path: Path) -> None:
    file = write_transforms(tmp_path, tiny)
    text = file.read_text()
    cut = text.index("images/005.png") + 200
    file.write_text(text[:cut])
    message = error_of(tmp_path)
    line = text[:cut].rstrip().count("\n") + 1
    assert f"ends in the middle of frame 6 (line {line})" in message
    assert "--poses photos" in message
    file.write_text("")
    assert "is empty" in error_of(tmp_path)
    file.write_text(text.replace('"file_path": "images/003.png",', '"file_path" "images/003.png",'))
    assert "is damaged at line" in error_of(tmp_path)


@pytest.mark.parametrize("broken", [
    [[np.nan] * 4] * 4, np.zeros((4, 4)).tolist(), np.diag([1.0, 1, -1, 1]).tolist(), np.diag([1.0, 3, 1, 1]).tolist(),
    "what", None, [[1, 2], [3]], [[1e300] * 4] * 4, np.full((4, 4), 10**400, dtype=object).tolist(), {"a": 1},
])  # fmt: skip
def test_broken_matrices_are_dropped_or_refused(broken: object, tiny: Tiny, tmp_path: Path) -> None:
    file = write_transforms(tmp_path, tiny)
    data = json.loads(file.read_text())
    data["frames"][3]["transform_matrix"] = broken
    file.write_text(json.dumps(data))
    capture = read(tmp_path)
    assert len(capture.views) == COUNT - 1
    assert "1 frame dropped: frame 4 (images/003.png): its matrix" in capture.warnings[0]
    for frame in data["frames"]:
        frame["transform_matrix"] = broken
    file.write_text(json.dumps(data))
    assert "no usable frame: frame 1" in error_of(tmp_path)


def test_missing_images(tiny: Tiny, tmp_path: Path) -> None:
    write_transforms(tmp_path, tiny)
    (tmp_path / "images/006.png").unlink()
    capture = read(tmp_path)
    assert "1 of 9 frames dropped, no image: images/006.png" in capture.warnings[0]
    for path in (tmp_path / "images").iterdir():
        path.unlink()
    assert "none of its 9 images exist" in error_of(tmp_path)


@pytest.mark.parametrize("changes", [
    {"fl_x": -1}, {"fl_x": float("nan")}, {"fl_x": "wide"}, {"w": 0}, {"w": 10**30}, {"frames": {}}, {"frames": []},
    {"frames": [1, None, "x"]}, {"camera_model": "VR180_L"}, {"ftheta_p0": 1.0}, {"distortion_params": [1, 2]},
    {"k1": [1]}, {"camera_model": "FISHEYE624"},
])  # fmt: skip
def test_impossible_values(changes: dict, tiny: Tiny, tmp_path: Path) -> None:
    write_transforms(tmp_path, tiny, **changes)
    assert "transforms.json" in error_of(tmp_path)


@pytest.mark.parametrize("format", list(WRITERS))
def test_photos_of_another_size(format: str, tiny: Tiny, tmp_path: Path) -> None:
    WRITERS[format](tmp_path, tiny)
    if format == "idr":
        return  # states no size
    write_images(tmp_path / "images", tiny.names, (WIDTH // 2, HEIGHT // 2))
    capture = read(tmp_path)
    assert capture.views[0].camera.size == (WIDTH // 2, HEIGHT // 2)
    assert capture.views[0].camera.intrinsics.tolist() == [20, 20, WIDTH / 4, HEIGHT / 4]
    assert "intrinsics were scaled" in capture.warnings[0]
    write_images(tmp_path / "images", tiny.names, (WIDTH, WIDTH))
    assert "do not have the size of their cameras: images/000.png is 48x48 but its camera 48x32" in error_of(tmp_path)


def test_turned_photos(tiny: Tiny, tmp_path: Path) -> None:
    """Poses are for the upright picture; the file is stored lying with an EXIF flag."""
    file = write_transforms(tmp_path, tiny)
    data = json.loads(file.read_text())
    exif = Image.Exif()
    exif[274] = 6  # turn by 90 degrees clockwise to show
    for frame in data["frames"]:
        frame["file_path"] = frame["file_path"].replace(".png", ".jpg")
        stored = np.zeros((WIDTH, HEIGHT, 3), dtype=np.uint8)
        stored[:, : HEIGHT // 2] = 255  # left half, which is the upper half once turned
        Image.fromarray(stored).save(tmp_path / frame["file_path"], exif=exif, quality=95)
    file.write_text(json.dumps(data))
    capture = read(tmp_path)
    photo = capture.views[0].photo()
    assert photo.rgb.shape == (3, HEIGHT, WIDTH)
    assert float(photo.rgb[:, :12].float().mean()) > 250
    assert float(photo.rgb[:, 20:].float().mean()) < 5
    small = prepare(capture, size=0.5).views[0].photo()
    assert float(small.rgb[:, :6].float().mean()) > 250


@pytest.mark.parametrize("name", ["cameras.bin", "images.bin"])
def test_truncated_and_hostile_colmap(name: str, tiny: Tiny, tmp_path: Path) -> None:
    file = write_colmap(tmp_path, tiny) / name
    whole = file.read_bytes()
    for size in (0, 4, 8, 20, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:size])
        assert name in error_of(tmp_path)
    file.write_bytes(struct.pack("<Q", 2**63) + whole[8:])
    assert "ends early" in error_of(tmp_path)
    if name == "images.bin":
        at = 8 + 64 + 8  # the first image's number of keypoints
        file.write_bytes(whole[:at] + struct.pack("<Q", 2**62) + whole[at + 8 :])
        assert "ends early" in error_of(tmp_path)


def test_damaged_colmap_points_only_cost_points(tiny: Tiny, tmp_path: Path) -> None:
    file = write_colmap(tmp_path, tiny) / "points3D.bin"
    whole = file.read_bytes()
    file.write_bytes(whole[:-30])
    capture = read(tmp_path)
    assert capture.points is not None
    assert len(capture.points) == len(tiny.points) - 1
    assert "ends early" in capture.warnings[0]
    file.write_bytes(struct.pack("<Q", 2**60))
    assert read(tmp_path).points is None


def test_nan_points_and_points_at_a_camera(tiny: Tiny, tmp_path: Path) -> None:
    tiny.points.setflags(write=False)
    points = tiny.points.copy()
    points[0] = np.nan
    points[1] = tiny.poses[0, :3, 3]
    write_colmap(tmp_path, Tiny(tiny.poses, points, tiny.names))
    capture = read(tmp_path)
    assert capture.points is not None
    assert len(capture.points) == len(points) - 1
    assert "1 point with NaN" in capture.warnings[0]
    for view in prepare(capture).views:
        pixels, depth = view.camera.project(capture.points.positions)
        assert bool((pixels.isfinite().all(-1) | (depth.abs() < 1e-9)).all())


def test_colmap_without_its_cameras_or_photos(tiny: Tiny, tmp_path: Path) -> None:
    model = write_colmap(tmp_path, tiny)
    (model / "cameras.bin").write_bytes(struct.pack("<Q", 0))
    assert "no posed image has a camera" in error_of(tmp_path)
    write_colmap(tmp_path, tiny)
    for path in (tmp_path / "images").iterdir():
        path.unlink()
    assert "photos of the COLMAP model were not found" in error_of(tmp_path)


def test_llff_with_a_missing_photo_or_broken_rows(tiny: Tiny, tmp_path: Path) -> None:
    file = write_llff(tmp_path, tiny)
    table = np.load(file)
    table[2, 3] = np.nan
    np.save(file, table)
    assert "002.png: its row holds NaN" in read(tmp_path).warnings[0]
    np.save(file, table[:, :5])
    assert "has shape 9x5" in error_of(tmp_path)
    write_llff(tmp_path, tiny)
    (tmp_path / "images/000.png").unlink()
    assert "has 9 poses, but there are other numbers of images: 8 in images" in error_of(tmp_path)


def test_hostile_numpy_header(tiny: Tiny, tmp_path: Path) -> None:
    file = write_llff(tmp_path, tiny)
    whole = file.read_bytes()
    file.write_bytes(whole.replace(b"(9, 17)", b"(9999999999, 17)".ljust(7)))
    assert "poses_bounds.npy" in error_of(tmp_path)
    file.write_bytes(whole.replace(b"'<f8'", b"'|O8'"))
    assert "does not hold numbers" in error_of(tmp_path)


def test_cameras_in_one_place_and_all_looking_one_way(tiny: Tiny, tmp_path: Path) -> None:
    poses = tiny.poses.copy()
    poses[:, :3, 3] = [1, 2, 3]
    write_transforms(tmp_path / "panorama", Tiny(poses, tiny.points, tiny.names))
    capture = read(tmp_path / "panorama")
    assert float(capture.centres.abs().max()) < 1e-9
    assert capture.world_from_source.scale == 1
    poses[:, :3, :3] = np.eye(3)
    poses[:, 0, 3] = np.arange(COUNT)
    write_transforms(tmp_path / "forward", Tiny(poses, tiny.points, tiny.names))
    centres = read(tmp_path / "forward").centres
    assert float(centres.mean(0).norm()) < 1e-9
    assert 0.5 < float(centres.norm(dim=1).mean()) < 2


def test_panorama_lens_is_refused_clearly(tiny: Tiny, tmp_path: Path) -> None:
    write_transforms(tmp_path, tiny, camera_model="EQUIRECTANGULAR")
    with pytest.raises(InputError, match="EQUIRECTANGULAR"):
        prepare(read(tmp_path))
