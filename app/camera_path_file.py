"""Camera path files (JSON) for `recon render --cameras`. Three kinds are read:

* ours: {"size": [width, height], "fps": 30, "cameras": [{"world_from_camera": 4x4 row-major, OpenCV axes,
  "fov_y_degrees": 50, or "intrinsics": [fx, fy, cx, cy]; "size" may also stand here}]}, in the source's coordinates;
* nerfstudio's camera_path.json ("camera_path": [{"camera_to_world": 16 numbers row-major, OpenGL axes, "fov": degrees,
  vertical}], "render_width", "render_height", "fps"), taken to be in the source's coordinates;
* transforms.json of nerfstudio and Blender ("frames": [{"transform_matrix"}], "camera_angle_x" or "fl_x").
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from recon.errors import InputError
from recon.types import Camera

_OPENCV_FROM_OPENGL = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0], dtype=torch.float64))


@dataclass(frozen=True)
class CameraPath:
    """Cameras in the coordinates of the source, and the frame rate the file asks for (None where it does not)."""

    cameras: tuple[Camera, ...]
    fps: float | None


def read(path: Path, size: tuple[int, int] | None = None) -> CameraPath:
    """Reads a camera path; ``size`` (width, height) overrides what the file says.

    Raises InputError that names the frame for missing keys, wrong shapes, numbers that are not finite and poses that
    are not rigid.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError("no such file", file=path) from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"is not readable JSON ({error})", file=path) from None
    if not isinstance(content, dict):
        raise InputError("must hold a JSON object", file=path)
    reader = next((r for key, r in _KINDS.items() if isinstance(content.get(key), list)), None)
    if reader is None:
        raise InputError('has none of "cameras", "camera_path" and "frames"', file=path,
                         fix="Give nerfstudio's camera_path.json, a transforms.json, or see docs/camera_paths.md.")
    items = content[next(key for key in _KINDS if isinstance(content.get(key), list))]
    if not items:
        raise InputError("holds no cameras", file=path)
    cameras = []
    for i, item in enumerate(items):
        try:
            if not isinstance(item, dict):
                raise ValueError("not an object")
            camera = reader(item, content, size)
        except (KeyError, TypeError, ValueError, RuntimeError, OverflowError) as error:
            what = f"lacks {error}" if isinstance(error, KeyError) else f"is wrong: {error}"
            raise InputError(f"camera {i + 1} of {len(items)} {what}", file=path) from None
        cameras.append(camera)
    fps = content.get("fps")
    return CameraPath(tuple(cameras), float(fps) if isinstance(fps, (int, float)) and 0 < fps <= 1000 else None)


def write(path: Path, cameras: list[Camera], fps: float) -> None:
    """Writes our own kind; what ``read`` gives back is equal bit for bit."""
    from recon.app import atomic

    entries = [{"size": [c.width, c.height], "intrinsics": c.intrinsics.tolist(),
                "world_from_camera": c.world_from_camera.tolist()} for c in cameras]
    atomic.write_json(path, {"fps": fps, "cameras": entries})


def _rigid(matrix: Any) -> Tensor:
    pose = torch.as_tensor(matrix, dtype=torch.float64).reshape(-1)
    if pose.numel() not in (12, 16):
        raise ValueError(f"a pose has 16 numbers, not {pose.numel()}")
    pose = torch.cat([pose[:12].reshape(3, 4), torch.tensor([[0.0, 0.0, 0.0, 1.0]], dtype=torch.float64)])
    if not bool(torch.isfinite(pose).all()):
        raise ValueError("the pose is not finite")
    rotation = pose[:3, :3]
    scale = float(torch.linalg.det(rotation))
    if scale <= 0:
        raise ValueError("the pose is mirrored or singular")
    rotation = rotation / scale ** (1 / 3)
    if float((rotation @ rotation.T - torch.eye(3, dtype=torch.float64)).abs().max()) > 1e-3:
        raise ValueError("the pose is not a rotation and a position")
    if float((rotation @ rotation.T - torch.eye(3, dtype=torch.float64)).abs().max()) > 1e-12:
        u, _, vh = torch.linalg.svd(rotation)  # the nearest rotation
        rotation = u @ vh
    out = pose.clone()
    out[:3, :3] = rotation
    return out


def _camera(width: Any, height: Any, fov_y: float | None, intrinsics: Any, pose: Tensor,
            size: tuple[int, int] | None) -> Camera:
    own = int(width), int(height)
    if not (0 < own[0] <= 32768 and 0 < own[1] <= 32768):
        raise ValueError(f"the size {own[0]}x{own[1]} is out of range")
    if intrinsics is None:
        if fov_y is None or not 0 < fov_y < math.pi:
            raise ValueError("the field of view must be between 0 and 180 degrees")
        focal = 0.5 * own[1] / math.tan(0.5 * fov_y)
        intrinsics = [focal, focal, own[0] / 2, own[1] / 2]
    values = torch.as_tensor(intrinsics, dtype=torch.float64)
    if values.shape != (4,) or not bool(torch.isfinite(values).all()) or not bool((values[:2] > 0).all()):
        raise ValueError("intrinsics are four numbers, fx fy cx cy, with fx and fy above 0")
    camera = Camera(own[0], own[1], values, pose)
    return camera.scaled(*size) if size else camera


def _ours(item: dict, whole: dict, size: tuple[int, int] | None) -> Camera:
    width, height = item.get("size") or whole["size"]
    fov = item.get("fov_y_degrees", whole.get("fov_y_degrees"))
    return _camera(width, height, None if fov is None else math.radians(float(fov)),
                   item.get("intrinsics", whole.get("intrinsics")), _rigid(item["world_from_camera"]), size)


def _nerfstudio(item: dict, whole: dict, size: tuple[int, int] | None) -> Camera:
    kind = str(whole.get("camera_type", "perspective")).lower()
    if kind not in ("perspective", "pinhole"):
        raise ValueError(f'camera type "{kind}" is not supported, only perspective')
    pose = _rigid(item["camera_to_world"]) @ _OPENCV_FROM_OPENGL
    width, height = size or (whole.get("render_width", 1920), whole.get("render_height", 1080))
    return _camera(width, height, math.radians(float(item["fov"])), None, pose, None)


def _transforms(item: dict, whole: dict, size: tuple[int, int] | None) -> Camera:
    def get(key: str) -> Any:
        return item.get(key, whole.get(key))

    pose = _rigid(item["transform_matrix"]) @ _OPENCV_FROM_OPENGL
    width, height = (get("w"), get("h")) if get("w") and get("h") else (size or (800, 800))
    if get("fl_x"):
        fx = float(get("fl_x"))
        values = [fx, float(get("fl_y") or fx), float(get("cx") or width / 2), float(get("cy") or height / 2)]
    elif get("camera_angle_x"):
        fx = 0.5 * width / math.tan(0.5 * float(get("camera_angle_x")))
        values = [fx, fx, width / 2, height / 2]
    else:
        raise KeyError("fl_x")
    return _camera(width, height, None, values, pose, size)


_KINDS = {"cameras": _ours, "camera_path": _nerfstudio, "frames": _transforms}
