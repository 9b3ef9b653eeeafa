"""Checks and repairs of poses that came from a file."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

FLIP_YZ = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0], dtype=torch.float64))  # OpenGL camera <-> OpenCV camera
_LARGEST = 1e9  # a camera farther away than this is a broken number, not a place


class PoseError(ValueError):
    """Why a matrix is not a pose; the caller adds the file and the frame."""


def rigid(matrix: object) -> Tensor:
    """A [3, 4] or [4, 4] matrix -> [4, 4] rigid pose with an exact rotation.

    A uniform scale of the axes is removed; up to 1 % of shear is rounded away. Raises ``PoseError`` for NaN, singular,
    mirrored or otherwise impossible matrices.
    """
    try:
        m = np.asarray(matrix, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise PoseError("is not a matrix of numbers") from None
    if m.shape not in ((3, 4), (4, 4)):
        raise PoseError(f"has shape {'x'.join(map(str, m.shape)) or 'of a single number'}, not 4x4")
    if not np.isfinite(m).all():
        raise PoseError("holds NaN or infinite numbers")
    if np.abs(m[:3, 3]).max() > _LARGEST:
        raise PoseError("is implausibly far away")
    if m.shape == (4, 4) and not np.allclose(m[3], [0, 0, 0, 1], atol=1e-6):
        raise PoseError("does not end in the row 0 0 0 1")
    if np.abs(m[:3, :3]).max() > _LARGEST:
        raise PoseError("is not a rotation")
    u, s, vt = np.linalg.svd(m[:3, :3])
    if s[0] < 1e-9 or s[2] < 1e-6 * s[0]:
        raise PoseError("is singular")
    if np.linalg.det(m[:3, :3]) < 0:
        raise PoseError("mirrors the scene (its axes are left-handed)")
    if s[0] > 1.02 * s[2]:
        raise PoseError("is not a rotation (its axes are skewed or unequal)")
    out = torch.eye(4, dtype=torch.float64)
    out[:3, :3] = torch.from_numpy(u @ vt)
    out[:3, 3] = torch.from_numpy(m[:3, 3].copy())
    return out


def rotation_from_quaternion(q: np.ndarray) -> np.ndarray:
    """[4] w, x, y, z (any length) -> [3, 3]. Raises ``PoseError`` if it has no direction."""
    with np.errstate(all="ignore"):
        norm = np.linalg.norm(q)
    if not 1e-9 < norm < _LARGEST:
        raise PoseError("has no rotation (zero or NaN quaternion)")
    w, x, y, z = q / norm
    return np.array([
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ])  # fmt: skip


def from_camera_from_world(rotation: np.ndarray, translation: np.ndarray) -> Tensor:
    """``world_from_camera`` [4, 4] of X_camera = R X + t. Raises ``PoseError``."""
    with np.errstate(all="ignore"):
        return rigid(np.concatenate([rotation.T, -(rotation.T @ translation)[:, None]], axis=1))


def factor_projection(p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[3, 4] projection -> K [3, 3] (K[2, 2] = 1, positive diagonal) and ``world_from_camera`` [4, 4].

    RQ decomposition of the left 3x3 block; the sign of P is chosen so that the rotation is proper.
    Raises ``PoseError``.
    """
    if not np.isfinite(p).all():
        raise PoseError("holds NaN or infinite numbers")
    scale = np.abs(p[:, :3]).max()
    if not 1e-12 < scale < 1e15 or np.abs(p[:, 3]).max() > 1e12 * scale:
        raise PoseError("is singular")
    p = p / scale
    det = np.linalg.det(p[:, :3])
    if abs(det) < 1e-15:
        raise PoseError("is singular")
    if det < 0:
        p = -p
    flip = np.eye(3)[::-1]
    q, r = np.linalg.qr((flip @ p[:, :3]).T)
    k, rotation = flip @ r.T @ flip, flip @ q.T
    sign = np.diag(np.sign(np.diag(k)))
    k, rotation = k @ sign, sign @ rotation
    centre = -np.linalg.solve(p[:, :3], p[:, 3])
    return k / k[2, 2], rigid(np.concatenate([rotation.T, centre[:, None]], axis=1)).numpy()
