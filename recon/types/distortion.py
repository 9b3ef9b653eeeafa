"""Lens models: how a direction in the camera becomes a point on the image plane (z = 1 units).

Formulas as in COLMAP's documentation of its camera models. A lens knows nothing of focal lengths in pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Lens:
    """A distortion model by COLMAP's name and its coefficients without the intrinsics (f, cx, cy)."""

    model: str = "PINHOLE"
    coefficients: tuple[float, ...] = ()

    @property
    def is_pinhole(self) -> bool:
        return self.model == "PINHOLE" or not any(self.coefficients) and self.model in ("OPENCV", "RADIAL")

    def distort(self, x_camera: Tensor) -> Tensor:
        """Points [..., 3] in front of the camera -> image plane [..., 2]."""
        raise NotImplementedError

    def undistort(self, uv: Tensor) -> Tensor:
        """Image plane [..., 2] -> directions [..., 3] with z = 1 (any length for wide lenses)."""
        raise NotImplementedError


PINHOLE = Lens()
