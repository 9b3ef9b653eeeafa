"""A tiny posed scene, and the program as a subprocess."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import numpy as np
from PIL import Image

WIDTH, HEIGHT, VIEWS = 48, 32, 10


def write_tiny_scene(folder: Path) -> Path:
    """Ten photos of a smooth pattern, taken from a circle around the origin, with a transforms.json."""
    (folder / "images").mkdir(parents=True)
    frames = []
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH] / HEIGHT
    for i in range(VIEWS):
        angle = 2 * math.pi * i / VIEWS
        picture = np.stack([0.5 + 0.4 * np.sin(4 * x + angle), 0.5 + 0.4 * np.cos(5 * y), 0.5 + 0 * x], axis=-1)
        name = f"images/{i:02d}.png"
        Image.fromarray((picture * 255).astype(np.uint8)).save(folder / name)
        eye = np.array([3 * math.cos(angle), 3 * math.sin(angle), 1.0])
        back = eye / np.linalg.norm(eye)
        right = np.cross([0.0, 0.0, 1.0], back)
        right /= np.linalg.norm(right)
        pose = np.eye(4)
        pose[:3, 0], pose[:3, 1], pose[:3, 2], pose[:3, 3] = right, np.cross(back, right), back, eye
        frames.append({"file_path": name, "transform_matrix": pose.tolist()})
    content = {"fl_x": 50.0, "fl_y": 50.0, "cx": WIDTH / 2, "cy": HEIGHT / 2, "w": WIDTH, "h": HEIGHT, "frames": frames}
    (folder / "transforms.json").write_text(json.dumps(content))
    return folder


def command(*words: str) -> list[str]:
    """The program as a command line of its own."""
    return [sys.executable, "-m", "recon.app.main", *words]
