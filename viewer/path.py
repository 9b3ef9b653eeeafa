"""A camera path through key views, and its file for ``recon render --cameras``."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from recon.types import Camera, Similarity
from recon.viewer.stream import quaternion_from_rotation, rotation_from_quaternion


def along(keys: Sequence[Camera], frames: int, closed: bool = False) -> list[Camera]:
    """``frames`` cameras that pass through all keys at even intervals: a Catmull-Rom spline of positions and of
    quaternions (on the shorter side, normalised), sizes and field of view of the first key."""
    if len(keys) == 1:
        return [keys[0]] * frames
    quaternions = [quaternion_from_rotation(k.world_from_camera[:3, :3]) for k in keys]
    for i in range(1, len(quaternions)):
        if quaternions[i] @ quaternions[i - 1] < 0:
            quaternions[i] = -quaternions[i]
    rows = np.stack([np.concatenate([k.centre.numpy(), q]) for k, q in zip(keys, quaternions)])
    if closed:
        first = rows[0].copy()
        if first[3:] @ rows[-1, 3:] < 0:
            first[3:] = -first[3:]
        rows = np.concatenate([rows, first[None]])
    spans = len(rows) - 1
    out = []
    for frame in range(frames):
        t = spans * frame / (frames if closed else max(frames - 1, 1))
        i = min(int(t), spans - 1)
        before = rows[i - 1] if i > 0 else 2 * rows[0] - rows[1]
        after = rows[i + 2] if i + 2 < len(rows) else 2 * rows[-1] - rows[-2]
        row = _catmull_rom(before, rows[i], rows[i + 1], after, t - i)
        pose = torch.eye(4, dtype=torch.float64)
        pose[:3, :3], pose[:3, 3] = rotation_from_quaternion(row[3:]), torch.as_tensor(row[:3].copy())
        out.append(replace(keys[0], world_from_camera=pose))
    return out


def _catmull_rom(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray, t: float) -> np.ndarray:
    return 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t * t + (3 * b - a - 3 * c + d) * t ** 3)


def to_json(cameras: Sequence[Camera], fps: float, world_from_source: Similarity) -> str:
    """The program's own kind of camera file, in the coordinates of the source."""
    source_from_world = world_from_source.inverse()
    items = []
    for camera in cameras:
        fov = math.degrees(2 * math.atan(0.5 * camera.height / float(camera.intrinsics[1])))
        pose = source_from_world.camera(camera).world_from_camera
        items.append({"world_from_camera": pose.tolist(), "fov_y_degrees": fov})
    return json.dumps({"size": list(cameras[0].size), "fps": fps, "cameras": items})
