"""COLMAP's model files, binary and text: cameras, images, points3D (its documentation, "Output Format").

Every count is checked against the bytes that are left before anything is allocated, so hostile headers cost nothing.
``rigs`` and ``frames`` files may be ignored: images always hold complete poses.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from recon.data.parts.context import Context, listing, plural
from recon.data.parts.poses import PoseError, from_camera_from_world, rotation_from_quaternion
from recon.errors import InputError
from recon.types import Camera, Lens, PointCloud
from recon.types.distortion import NUM_COEFFICIENTS, PINHOLE

MODELS = ("SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV", "OPENCV_FISHEYE", "FULL_OPENCV", "FOV",
          "SIMPLE_RADIAL_FISHEYE", "RADIAL_FISHEYE", "THIN_PRISM_FISHEYE", "RAD_TAN_THIN_PRISM_FISHEYE",
          "SIMPLE_DIVISION", "DIVISION", "SIMPLE_FISHEYE", "FISHEYE", "EUCM", "EQUIRECTANGULAR")  # fmt: skip
_ONE_FOCAL = frozenset({"SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL", "SIMPLE_RADIAL_FISHEYE", "RADIAL_FISHEYE",
                        "SIMPLE_DIVISION", "SIMPLE_FISHEYE"})  # fmt: skip
_LARGEST_SIDE = 1_000_000
_RECOPY = "It looks truncated or damaged: copy it again"
T = TypeVar("T")


@dataclass(frozen=True)
class ColmapImage:
    """``name`` is the path of the image relative to COLMAP's image folder; the pose is ``world_from_camera`` [4, 4]."""

    name: str
    camera_id: int
    world_from_camera: Tensor


def is_model(folder: Path) -> bool:
    """True if the folder holds the files of a COLMAP model."""
    return any(all((folder / f"{n}{s}").is_file() for n in ("cameras", "images")) for s in (".bin", ".txt"))


def find_model(folder: Path, context: Context | None = None) -> Path | None:
    """The model in ``folder`` or in its usual places; of several numbered models the one with most images."""
    for place in (".", "sparse", "colmap/sparse", "colmap", "dense/sparse"):
        base = folder / place
        if not base.is_dir():
            continue
        if is_model(base):
            return base
        numbered = [p for p in sorted(base.iterdir()) if p.name.isdigit() and is_model(p)]
        if numbered:
            best = max(numbered, key=lambda p: (_num_images(p), p.name == "0"))
            if len(numbered) > 1 and context is not None:
                context.warn(f"{base.name}/ holds {len(numbered)} COLMAP models; {best.name}, the largest, was read")
            return best
    return None


def read_cameras(model: Path) -> dict[int, Camera]:
    """Cameras by id, with an identity pose. Raises ``InputError``."""
    file = _file(model, "cameras")
    out: dict[int, Camera] = {}
    for camera_id, name, width, height, params in (_cameras_bin if file.suffix == ".bin" else _cameras_txt)(file):
        out[camera_id] = make_camera(name, width, height, params, file)
    return out


def make_camera(model: str, width: int, height: int, params: list[float], file: Path | None = None) -> Camera:
    """A camera at the origin from COLMAP's model name and parameters. Raises ``InputError``."""
    if not (0 < width <= _LARGEST_SIDE and 0 < height <= _LARGEST_SIDE):
        raise InputError(f"a camera of {width}x{height} pixels", file=file, fix=_RECOPY)
    if not all(math.isfinite(p) and abs(p) < 1e9 for p in params):
        raise InputError("a camera parameter is NaN or infinite", file=file)
    if model == "EQUIRECTANGULAR":
        intrinsics, rest = [width / (2 * math.pi), height / math.pi, width / 2, height / 2], []
    elif model in _ONE_FOCAL:
        intrinsics, rest = [params[0], *params[:3]], params[3:]
    else:
        intrinsics, rest = params[:4], params[4:]
    if intrinsics[0] <= 0 or intrinsics[1] <= 0:
        raise InputError(f"the focal length of a camera is {min(intrinsics[:2]):g}", file=file)
    lens = Lens(model, tuple(rest))
    if lens.is_pinhole:
        lens = PINHOLE
    return Camera(width, height, torch.tensor(intrinsics, dtype=torch.float64), torch.eye(4), lens)


def read_images(model: Path, context: Context) -> list[ColmapImage]:
    """Posed images; those with an impossible pose are dropped with a warning. Raises ``InputError``."""
    file = _file(model, "images")
    images: list[ColmapImage] = []
    dropped: list[str] = []
    for quaternion, translation, camera_id, name in (_images_bin if file.suffix == ".bin" else _images_txt)(file):
        try:
            rotation = rotation_from_quaternion(np.array(quaternion))
            pose = from_camera_from_world(rotation, np.array(translation))
        except PoseError as error:
            dropped.append(f"{name}: the pose {error}")
            continue
        images.append(ColmapImage(name.replace("\\", "/"), camera_id, pose))
    if dropped:
        context.warn(f"{plural(len(dropped), 'photo')} without a usable pose skipped: {listing(dropped)}")
    return images


def read_points(model: Path, context: Context) -> PointCloud | None:
    """The sparse points, NaN rows dropped; None if there is no such file. A damaged tail is left out with a warning."""
    for suffix in (".bin", ".txt"):
        file = model / f"points3D{suffix}"
        if file.is_file():
            break
    else:
        return None
    positions: list[tuple[float, float, float]] = []
    colours: list[tuple[int, int, int]] = []
    try:
        for xyz, colour in (_points_bin if file.suffix == ".bin" else _points_txt)(file):
            positions.append(xyz)
            colours.append(colour)
    except InputError as error:  # points only start the fit: what could be read is good enough
        context.warn(f"{error.message}; {plural(len(positions), 'point')} before that were kept")
    rgb = np.array(colours, dtype=np.uint8).reshape(-1, 3)
    return point_cloud(np.array(positions, dtype=np.float64).reshape(-1, 3), rgb, context, file)


def point_cloud(positions: np.ndarray, colours: np.ndarray, context: Context, file: Path) -> PointCloud | None:
    """A cloud without impossible rows; None when nothing is left."""
    good = np.isfinite(positions).all(axis=1) & (np.abs(np.nan_to_num(positions)) < 1e9).all(axis=1)
    if not good.all():
        context.warn(f"{file.name}: {plural(int((~good).sum()), 'point')} with NaN or infinite coordinates dropped")
    if not good.any():
        return None
    return PointCloud(
        torch.from_numpy(np.ascontiguousarray(positions[good], dtype=np.float64)),
        torch.from_numpy(np.ascontiguousarray(colours[good], dtype=np.uint8)),
    )


class _Bytes:
    """A bounds-checked cursor over a file."""

    def __init__(self, file: Path) -> None:
        self.file = file
        try:
            self.data = file.read_bytes()
        except OSError as error:
            raise InputError(f"cannot be read ({error.strerror})", file=file) from None
        self.at = 0

    def take(self, layout: str) -> tuple:
        size = struct.calcsize(layout)
        self.need(size)
        values = struct.unpack_from(layout, self.data, self.at)
        self.at += size
        return values

    def need(self, size: int) -> None:
        if size > len(self.data) - self.at:
            raise InputError(f"ends early: {len(self.data)} bytes, at least {self.at + size} expected",
                             file=self.file, fix=_RECOPY)  # fmt: skip

    def count(self, least_bytes_each: int) -> int:
        (count,) = self.take("<Q")
        self.need(count * least_bytes_each)
        return count

    def text(self, longest: int = 4096) -> str:
        end = self.data.find(b"\0", self.at, self.at + longest)
        if end < 0:
            raise InputError("an image name does not end", file=self.file, fix=_RECOPY)
        name = self.data[self.at : end].decode("utf-8", errors="replace")
        self.at = end + 1
        return name


def _cameras_bin(file: Path) -> Iterator[tuple[int, str, int, int, list[float]]]:
    cursor = _Bytes(file)
    for _ in range(cursor.count(24)):
        camera_id, model, width, height = cursor.take("<IiQQ")
        if not 0 <= model < len(MODELS):
            raise InputError(f"unknown camera model number {model}", file=file, fix=_RECOPY)
        yield camera_id, MODELS[model], width, height, list(cursor.take(f"<{_num_params(MODELS[model])}d"))


def _cameras_txt(file: Path) -> Iterator[tuple[int, str, int, int, list[float]]]:
    for number, words in _lines(file):
        camera_id, model = _parse(int, words[0], file, number), words[1] if len(words) > 1 else ""
        if model not in NUM_COEFFICIENTS:
            raise InputError(f'line {number}: unknown camera model "{model[:40]}"', file=file)
        if len(words) != 4 + _num_params(model):
            raise InputError(f"line {number}: {model} takes {_num_params(model)} parameters, found {len(words) - 4}",
                             file=file)  # fmt: skip
        width, height = (_parse(int, w, file, number) for w in words[2:4])
        yield camera_id, model, width, height, [_parse(float, w, file, number) for w in words[4:]]


def _images_bin(file: Path) -> Iterator[tuple[tuple, tuple, int, str]]:
    cursor = _Bytes(file)
    for _ in range(cursor.count(73)):
        _, *pose, camera_id = cursor.take("<I7dI")
        name = cursor.text()
        num_points = cursor.count(24)
        cursor.at += 24 * num_points
        yield tuple(pose[:4]), tuple(pose[4:]), camera_id, name


def _images_txt(file: Path) -> Iterator[tuple[tuple, tuple, int, str]]:
    lines = _raw_lines(file)
    for number, line in lines:
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        words = line.split(None, 9)
        if len(words) < 10:
            raise InputError(f"line {number}: an image has 10 fields, found {len(words)}", file=file, fix=_RECOPY)
        pose = [_parse(float, w, file, number) for w in words[1:8]]
        next(lines, None)  # the keypoints, possibly an empty line
        yield tuple(pose[:4]), tuple(pose[4:]), _parse(int, words[8], file, number), words[9].strip()


def _points_bin(file: Path) -> Iterator[tuple[tuple, tuple]]:
    cursor = _Bytes(file)
    for _ in range(cursor.count(51)):
        _, x, y, z, r, g, b, _error = cursor.take("<Q3d3Bd")
        track_length = cursor.count(8)
        cursor.at += 8 * track_length
        yield (x, y, z), (r, g, b)


def _points_txt(file: Path) -> Iterator[tuple[tuple, tuple]]:
    for number, words in _lines(file):
        if len(words) < 8:
            raise InputError(f"line {number}: a point has at least 8 fields, found {len(words)}", file=file)
        xyz = tuple(_parse(float, w, file, number) for w in words[1:4])
        yield xyz, tuple(min(255, max(0, _parse(int, w, file, number))) for w in words[4:7])


def _lines(file: Path) -> Iterator[tuple[int, list[str]]]:
    """Numbered lines split at blanks; comments and empty lines left out."""
    for number, line in _raw_lines(file):
        if line.strip() and not line.lstrip().startswith("#"):
            yield number, line.split()


def _raw_lines(file: Path) -> Iterator[tuple[int, str]]:
    try:
        with file.open(encoding="utf-8", errors="replace") as stream:
            yield from enumerate(stream, 1)
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", file=file) from None


def _parse(kind: Callable[[str], T], word: str, file: Path, number: int) -> T:
    try:
        return kind(word)
    except (ValueError, OverflowError):
        raise InputError(f'line {number}: "{word[:40]}" is not a number', file=file, fix=_RECOPY) from None


def _num_params(model: str) -> int:
    if model == "EQUIRECTANGULAR":
        return 2
    return NUM_COEFFICIENTS[model] + (3 if model in _ONE_FOCAL else 4)


def _file(model: Path, stem: str) -> Path:
    """Binary wins over text, as in COLMAP; both files of a model must be of one kind."""
    binary = all((model / f"{n}.bin").is_file() for n in ("cameras", "images"))
    return model / f"{stem}{'.bin' if binary else '.txt'}"


def _num_images(model: Path) -> int:
    """Number of images a model claims, from its header or its lines."""
    file = _file(model, "images")
    try:
        if file.suffix == ".bin":
            with file.open("rb") as stream:
                head = stream.read(8)
            count = struct.unpack("<Q", head)[0] if len(head) == 8 else 0
            return count if count * 73 <= file.stat().st_size else 0
        return sum(1 for _ in _raw_lines(file)) // 2
    except (OSError, InputError):
        return 0
