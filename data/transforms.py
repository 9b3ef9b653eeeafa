"""transforms.json of nerfstudio, instant-ngp and NeRF's Blender scenes.

Poses are camera-to-world with OpenGL axes (x right, y up, z back). ``applied_transform`` is left as it is: the frame
of the file is the frame that exports return to. Frames whose image is missing, and frames whose matrix is impossible,
are dropped and counted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import torch

from recon.data.parts.assemble import PosedImage, assemble
from recon.data.parts.borrow import borrow_points
from recon.data.parts.context import Context, listing, plural
from recon.data.parts.geometry_maps import DepthFile, NormalFile
from recon.data.parts.images import SUFFIXES
from recon.data.parts.json_file import number, read_json
from recon.data.parts.ply_points import read_ply_points
from recon.data.parts.poses import FLIP_YZ, PoseError, rigid
from recon.data.parts.transforms_camera import FrameCamera
from recon.errors import InputError
from recon.types import Camera, Capture, PointCloud

ORDER = 10
ALIASES = ("nerfstudio", "blender", "instant-ngp")
Split = Literal["train", "test"]


def matches(path: Path) -> bool:
    if path.is_file():
        return path.suffix.lower() == ".json"
    return path.is_dir() and bool(_files(path))


def read(path: Path, context: Context) -> Capture:
    """Reads one file, or the train and test files of a folder. Raises ``InputError``."""
    files: list[tuple[Path, Split]] = [(path, "train")] if path.is_file() else _files(path)
    if not files:
        raise InputError("holds no transforms*.json", file=path)
    root = files[0][0].parent if context.images is None else context.images
    posed: list[PosedImage] = []
    shared: dict[str, Any] = {}
    for file, split in files:
        data = read_json(file)
        shared = shared or data
        posed += _read_frames(data, file, split, context)
    made = assemble(posed, root, files[0][0], context)
    points = _own_points(shared, files[0][0].parent, context) or borrow_points(root, made.views, context)
    return Capture(
        name=root.resolve().name, root=root, format="transforms", views=made.views, points=points,
        mask_meaning=made.mask_meaning, has_alpha=made.has_alpha,
    )  # fmt: skip


def _files(folder: Path) -> list[tuple[Path, Split]]:
    """The files to read with their split. Where there are test and validation frames, the latter are left out."""
    train = folder / "transforms_train.json"
    if train.is_file():
        other = [p for p in (folder / "transforms_test.json", folder / "transforms_val.json") if p.is_file()]
        return [(train, "train"), *((p, "test") for p in other[:1])]
    found = [p for p in (folder / "transforms.json", *sorted(folder.glob("transforms*.json"))) if p.is_file()]
    return [(found[0], "train")] if found else []


def _read_frames(data: Mapping[str, Any], file: Path, split: Split, context: Context) -> list[PosedImage]:
    frames = data.get("frames")
    if not isinstance(frames, list):
        raise InputError('has no list "frames"', file=file, fix="Is it a camera file of nerfstudio or instant-ngp?")
    if not frames:
        raise InputError('its list "frames" is empty', file=file)
    cameras = FrameCamera(data, file)
    tests = _named(data, "test_filenames") or _named(data, "val_filenames")
    trains = _named(data, "train_filenames")
    posed: list[PosedImage] = []
    missing: list[str] = []
    broken: list[str] = []
    for index, frame in enumerate(frames, 1):
        name = frame.get("file_path") if isinstance(frame, dict) else None
        if not isinstance(name, str) or not name.strip("./\\ ") or "\0" in name:
            broken.append(f"frame {index} names no file")
            continue
        matrix = frame.get("transform_matrix", frame.get("transform_matrix_start"))
        try:
            pose = rigid(rigid(matrix) @ FLIP_YZ)
        except PoseError as error:
            broken.append(f"frame {index} ({name}): its matrix {error}")
            continue
        image = _find(file.parent, name, context.images)
        if image is None:
            missing.append(name)
            continue
        part: Split = "test" if name in tests else split
        if tests and trains and name not in tests and name not in trains:
            continue  # a validation frame beside train and test
        posed.append(PosedImage(
            image, _camera(cameras, frame, pose), part, mask=_beside(file, frame, "mask_path", context),
            depth=_depth(file, frame, data, context), normal=_normal(file, frame, data, pose, context),
        ))  # fmt: skip
    if broken:
        context.warn(f"{file.name}: {plural(len(broken), 'frame')} dropped: {listing(broken)}")
    if missing:
        of_all = f"{len(missing)} of {plural(len(frames), 'frame')}"
        context.warn(f"{file.name}: {of_all} dropped, no image: {listing(missing)}")
    if not posed and broken:
        raise InputError(f"no usable frame: {broken[0]}", file=file, fix="Use --poses photos to find the poses anew")
    if not posed:
        raise InputError(
            f"none of its {len(frames)} images exist, for example {missing[0]}" if missing else "no usable frame",
            file=file, fix="Put the images where file_path says, relative to this file",
        )  # fmt: skip
    return posed


def _camera(
    cameras: FrameCamera, frame: Mapping[str, Any], pose: torch.Tensor
) -> Camera | Callable[[int, int], Camera]:
    moment = number(frame.get("time")) or 0.0
    if cameras.stated_size(frame) is not None:
        return cameras.make(frame, pose, 0, 0, moment)
    return lambda width, height: cameras.make(frame, pose, width, height, moment)


def _find(folder: Path, name: str, images: Path | None) -> Path | None:
    """The image of ``file_path``, which may lack its extension, use '\\' or be relative to an images folder.

    ``images``: the folder of images, when the caller named one.
    """
    plain = name.replace("\\", "/")
    places = [folder / plain, folder / "images" / Path(plain).name]
    if images is not None:
        places = [images / plain, images / Path(plain).name, *places]
    for base in places:
        try:
            if base.is_file():
                return base
            for suffix in SUFFIXES:
                for written in (suffix, suffix.upper()):
                    candidate = base.with_name(base.name + written)
                    if candidate.is_file():
                        return candidate
        except (OSError, ValueError):
            return None
    return None


def _beside(file: Path, frame: Mapping[str, Any], key: str, context: Context) -> Path | None:
    """The file that a frame names under ``key``, if it exists."""
    name = frame.get(key)
    if not isinstance(name, str) or "\0" in name:
        return None
    found = file.parent / name.replace("\\", "/")
    try:
        if found.is_file():
            return found
    except OSError:
        pass
    context.warn(f'{file.name}: some files named under "{key}" do not exist')
    return None


def _depth(file: Path, frame: Mapping[str, Any], data: Mapping[str, Any], context: Context) -> DepthFile | None:
    path = _beside(file, frame, "depth_file_path", context)
    unit = number(data.get("depth_unit_scale_factor")) or 1e-3  # nerfstudio: millimetres in 16-bit images
    if path is None:
        path = _beside(file, frame, "depth_path", context)  # instant-ngp
        unit = number(data.get("integer_depth_scale")) or unit
    return None if path is None else DepthFile(path, unit)


def _normal(
    file: Path, frame: Mapping[str, Any], data: Mapping[str, Any], pose: torch.Tensor, context: Context
) -> NormalFile | None:
    """Normals are those of the file's world, or with ``"normal_frame": "camera"`` of the (OpenGL) camera."""
    path = _beside(file, frame, "normal_file_path", context)
    in_camera = frame.get("normal_frame", data.get("normal_frame")) == "camera"
    return None if path is None else NormalFile(path, pose[:3, :3] @ FLIP_YZ[:3, :3] if in_camera else None)


def _named(data: Mapping[str, Any], key: str) -> set[str]:
    names = data.get(key)
    return {n for n in names if isinstance(n, str)} if isinstance(names, list) else set()


def _own_points(data: Mapping[str, Any], root: Path, context: Context) -> PointCloud | None:
    name = data.get("ply_file_path")
    candidates = [root / name] if isinstance(name, str) and "\0" not in name else []
    for path in [*candidates, root / "sparse_pc.ply"]:
        try:
            if path.is_file():
                return read_ply_points(path, context)
        except InputError as error:
            context.warn(f"points were not used: {error.message}")
            return None
        except OSError:
            continue
    if candidates:
        context.warn(f"ply_file_path {name} does not exist: no points from it")
    return None
