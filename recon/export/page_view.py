"""Where a viewer starts: which way is up, what to look at, from where."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from recon.types import Camera

_MOST_POINTS = 100_000


def up_of_cameras(cameras: Sequence[Camera]) -> np.ndarray:
    """[3] unit vector. People hold cameras level: up is across all image rows, on the side of the images' tops."""
    axes = np.stack([c.world_from_camera[:3, :3].numpy() for c in cameras])
    right, top = axes[:, :, 0], _unit(-axes[:, :, 1].mean(0))
    # the second term decides where all rows point the same way, as in a single photo
    spread = right.T @ right / len(right) - 0.01 * np.outer(top, top)
    up = np.linalg.eigh(spread)[1][:, 0]
    return up if up @ top >= 0 else -up


def middle_of_views(cameras: Sequence[Camera], means: np.ndarray) -> np.ndarray:
    """[3] the point nearest to all viewing axes; where these hardly meet, the middle of the splats."""
    centre = np.stack([c.centre.numpy() for c in cameras])
    forward = np.stack([c.forward.numpy() for c in cameras])
    across = np.eye(3) - forward[:, :, None] * forward[:, None]
    total = across.sum(0)
    if np.linalg.eigvalsh(total)[0] > 1e-2 * len(cameras):
        point = np.linalg.solve(total, (across @ centre[:, :, None]).sum(0)[:, 0])
        if np.median(((point - centre) * forward).sum(1)) > 0:
            return point
    return extent(means)[0]


def extent(means: np.ndarray) -> tuple[np.ndarray, float]:
    """Median [3] of the positions and the radius that holds 80 % of them, more than 0."""
    means = means[:: len(means) // _MOST_POINTS + 1].astype(np.float64)
    centre = np.median(means, 0)
    radius = float(np.quantile(np.linalg.norm(means - centre, axis=1), 0.8))
    return centre, max(radius, 1e-6)


def outside_camera(means: np.ndarray, up: np.ndarray) -> Camera:
    """A view of the whole set from a little above, for files that come without cameras."""
    centre, radius = extent(means)
    aside = np.array([0.0, 0.0, 1.0]) if abs(up[2]) < 0.9 else np.array([1.0, 0.0, 0.0])
    level = _unit(aside - up * (aside @ up))
    forward = _unit(level - 0.25 * up)
    right = _unit(np.cross(forward, up))
    pose = np.eye(4)
    pose[:3, :3] = np.stack([right, np.cross(forward, right), forward], 1)
    pose[:3, 3] = centre - 2.5 * radius * forward
    return Camera(800, 600, torch.tensor([700.0, 700.0, 400.0, 300.0]), torch.from_numpy(pose))


def _unit(v: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(v)
    return v / length if length > 1e-9 else np.array([0.0, -1.0, 0.0])
