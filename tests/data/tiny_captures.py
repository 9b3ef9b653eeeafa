"""A tiny capture made of random pictures, written in every format the readers know."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

WIDTH, HEIGHT, FOCAL = 48, 32, 40.0
COUNT = 9


@dataclass(frozen=True)
class Tiny:
    """Ground truth: cameras on a ring looking at the origin. ``poses`` [n, 4, 4] world from camera, OpenCV axes."""

    poses: np.ndarray
    points: np.ndarray
    names: tuple[str, ...]


def make_tiny() -> Tiny:
    poses = []
    for i in range(COUNT):
        angle = 2 * math.pi * i / COUNT
        centre = np.array([3 * math.cos(angle), -0.7 + 0.05 * i, 3 * math.sin(angle)])
        forward = -centre / np.linalg.norm(centre)
        right = np.cross(np.array([0.0, 1.0, 0.0]), forward)
        right /= np.linalg.norm(right)
        pose = np.eye(4)
        pose[:3, :3] = np.stack([right, np.cross(forward, right), forward], axis=1)
        pose[:3, 3] = centre
        poses.append(pose)
    points = np.random.default_rng(0).uniform(-0.5, 0.5, (20, 3))
    return Tiny(np.array(poses), points, tuple(f"{i:03d}.png" for i in range(COUNT)))


def write_images(
    folder: Path, names: tuple[str, ...], size: tuple[int, int] = (WIDTH, HEIGHT), mode: str = "RGB"
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(1)
    for name in names:
        values = rng.integers(0, 256, (size[1], size[0], 4), dtype=np.uint8)
        Image.fromarray(values).convert(mode).save(folder / name)


def write_transforms(folder: Path, tiny: Tiny, **changes: object) -> Path:
    """transforms.json and images/; ``changes`` go into the top level."""
    write_images(folder / "images", tiny.names)
    flip = np.diag([1.0, -1, -1, 1])
    frames = [
        {"file_path": f"images/{n}", "transform_matrix": (p @ flip).tolist()} for n, p in zip(tiny.names, tiny.poses)
    ]
    data = {"fl_x": FOCAL, "fl_y": FOCAL, "cx": WIDTH / 2, "cy": HEIGHT / 2, "w": WIDTH, "h": HEIGHT, "frames": frames}
    file = folder / "transforms.json"
    file.write_text(json.dumps(data | changes, indent=1))
    return file


def _quaternion(r: np.ndarray) -> tuple[float, float, float, float]:
    """Through the eigenvector of the largest eigenvalue (Bar-Itzhack): independent of the reader's formulas."""
    k = np.array([
        [r[0, 0] - r[1, 1] - r[2, 2], r[1, 0] + r[0, 1], r[2, 0] + r[0, 2], r[2, 1] - r[1, 2]],
        [r[1, 0] + r[0, 1], r[1, 1] - r[0, 0] - r[2, 2], r[2, 1] + r[1, 2], r[0, 2] - r[2, 0]],
        [r[2, 0] + r[0, 2], r[2, 1] + r[1, 2], r[2, 2] - r[0, 0] - r[1, 1], r[1, 0] - r[0, 1]],
        [r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1], r[0, 0] + r[1, 1] + r[2, 2]],
    ]) / 3  # fmt: skip
    x, y, z, w = np.linalg.eigh(k)[1][:, -1]
    return w, x, y, z


def write_colmap(folder: Path, tiny: Tiny, *, text: bool = False, images: bool = True) -> Path:
    """sparse/0 (binary or text, OPENCV camera) and images/."""
    if images:
        write_images(folder / "images", tiny.names)
    model = folder / "sparse" / "0"
    model.mkdir(parents=True, exist_ok=True)
    params = [FOCAL, FOCAL, WIDTH / 2, HEIGHT / 2, 0.01, 0.0, 0.0, 0.0]
    rows = []
    for pose in tiny.poses:
        rotation = pose[:3, :3].T
        rows.append((_quaternion(rotation), -rotation @ pose[:3, 3]))
    if text:
        (model / "cameras.txt").write_text(f"# comment\n3 OPENCV {WIDTH} {HEIGHT} {' '.join(map(str, params))}\n")
        lines = [f"{i + 5} {' '.join(map(repr, map(float, (*q, *t))))} 3 {n}\n\n" for i, ((q, t), n) in
                 enumerate(zip(rows, tiny.names))]  # fmt: skip
        (model / "images.txt").write_text("# comment\n" + "".join(lines))
        (model / "points3D.txt").write_text(
            "".join(f"{i} {x} {y} {z} 10 20 30 0.5 5 0 6 1\n" for i, (x, y, z) in enumerate(tiny.points))
        )
        return model
    (model / "cameras.bin").write_bytes(struct.pack("<QIiQQ8d", 1, 3, 4, WIDTH, HEIGHT, *params))
    data = struct.pack("<Q", len(rows))
    for i, ((q, t), name) in enumerate(zip(rows, tiny.names)):
        data += struct.pack("<I7dI", i + 5, *q, *t, 3) + name.encode() + b"\0"
        data += struct.pack("<Q", 2) + struct.pack("<ddQ", 1.5, 2.5, 0) * 2
    (model / "images.bin").write_bytes(data)
    data = struct.pack("<Q", len(tiny.points))
    for i, point in enumerate(tiny.points):
        data += struct.pack("<Q3d3BdQ4I", i, *point, 10, 20, 30, 0.5, 2, 5, 0, 6, 1)
    (model / "points3D.bin").write_bytes(data)
    return model


def write_llff(folder: Path, tiny: Tiny) -> Path:
    write_images(folder / "images", tiny.names)
    rows = []
    for p in tiny.poses:
        m = np.stack([p[:3, 1], p[:3, 0], -p[:3, 2], p[:3, 3], [HEIGHT, WIDTH, FOCAL]], axis=1)
        rows.append([*m.ravel(), 1.0, 5.0])
    np.save(folder / "poses_bounds.npy", np.array(rows))
    return folder / "poses_bounds.npy"


def write_idr(folder: Path, tiny: Tiny) -> Path:
    """World frame = 2 x the tiny frame, moved by (5, 0, 0)."""
    write_images(folder / "image", tiny.names)
    scale = np.diag([2.0, 2, 2, 1])
    scale[0, 3] = 5
    k = np.array([[FOCAL, 0, WIDTH / 2, 0], [0, FOCAL, HEIGHT / 2, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    arrays = {}
    for i, pose in enumerate(tiny.poses):
        arrays[f"world_mat_{i}"] = -3.0 * k @ np.linalg.inv(pose) @ np.linalg.inv(scale)  # any factor, any sign
        arrays[f"scale_mat_{i}"] = scale
    np.savez(folder / "cameras_sphere.npz", **arrays)
    return folder / "cameras_sphere.npz"


WRITERS: dict[str, Callable[[Path, Tiny], Path]] = {
    "transforms": write_transforms,
    "colmap": write_colmap,
    "llff": write_llff,
    "idr": write_idr,
}
