"""Intrinsics and lens of a frame of transforms.json, in all the spellings that are in use.

Sources: nerfstudio's data conventions, instant-ngp's ``nerf_dataset_tips``, NeRF's Blender scenes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from recon.data.parts.json_file import number
from recon.errors import InputError
from recon.types import Camera, Lens

_PERSPECTIVE = {"", "SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV", "FULL_OPENCV", "PERSPECTIVE"}
_FISHEYE = {"OPENCV_FISHEYE", "FISHEYE", "SIMPLE_RADIAL_FISHEYE", "RADIAL_FISHEYE", "SIMPLE_FISHEYE"}
_UNSUPPORTED_FLAGS = ("ftheta_p0", "latlong", "orthographic")


class FrameCamera:
    """Makes the cameras of one file: a frame's own values win over those of the whole file."""

    def __init__(self, shared: Mapping[str, Any], file: Path) -> None:
        self.shared, self.file = shared, file

    def make(self, frame: Mapping[str, Any], pose: torch.Tensor, width: int, height: int, time: float) -> Camera:
        """The camera at the size stated in the file, else at that of the image. Raises ``InputError``."""
        w, h = self.stated_size(frame) or (width, height)
        lens = self.lens(frame)
        if lens.model == "EQUIRECTANGULAR":
            intrinsics = [w / (2 * math.pi), h / math.pi, w / 2, h / 2]
        else:
            fx, fy = self._focal(frame, w, h)
            cx, cy = self._get(frame, "cx"), self._get(frame, "cy")
            intrinsics = [fx, fy, w / 2 if cx is None else cx, h / 2 if cy is None else cy]
        return Camera(w, h, torch.tensor(intrinsics, dtype=torch.float64), pose, lens, time)

    def stated_size(self, frame: Mapping[str, Any]) -> tuple[int, int] | None:
        w, h = self._get(frame, "w"), self._get(frame, "h")
        if w is None or h is None:
            return None
        if not (1 <= w <= 1e6 and 1 <= h <= 1e6):
            raise InputError(f"the image size {w:g}x{h:g} is impossible", file=self.file)
        return round(w), round(h)

    def lens(self, frame: Mapping[str, Any]) -> Lens:
        model = frame.get("camera_model", self.shared.get("camera_model")) or ""
        model = model.upper() if isinstance(model, str) else ""
        for flag in _UNSUPPORTED_FLAGS:
            if self._raw(frame, flag):
                raise InputError(f'uses the lens "{flag}", which is not supported', file=self.file,
                                 fix="Undistort the photos first, or use --poses photos")  # fmt: skip
        if model == "EQUIRECTANGULAR" or self._raw(frame, "equirectangular") is True:
            return Lens("EQUIRECTANGULAR")
        params = self._raw(frame, "distortion_params")
        listed = [number(p) for p in params] if isinstance(params, list) else []
        if any(p is None for p in listed):
            raise InputError("distortion_params holds something that is not a number", file=self.file)
        values = [float(p) for p in listed if p is not None]
        if model == "FISHEYE624":
            if len(values) != 12:
                raise InputError("FISHEYE624 needs 12 distortion_params", file=self.file)
            return Lens("RAD_TAN_THIN_PRISM_FISHEYE", tuple(values))
        if values and len(values) != 6:
            raise InputError(f"distortion_params has {len(values)} numbers, not 6", file=self.file)
        k = [self._get(frame, f"k{i}") or 0.0 for i in range(1, 7)]
        p1, p2 = self._get(frame, "p1") or 0.0, self._get(frame, "p2") or 0.0
        if values:
            k, (p1, p2) = [*values[:4], 0.0, 0.0], values[4:]
        if self._raw(frame, "is_fisheye") is True or model in _FISHEYE:
            if p1 or p2:
                raise InputError("a fisheye lens with p1, p2 is not supported", file=self.file)
            return Lens("OPENCV_FISHEYE", tuple(k[:4]))
        if model not in _PERSPECTIVE:
            fix = "Known: PINHOLE, OPENCV, OPENCV_FISHEYE, FISHEYE624 and their simple forms"
            raise InputError(f'camera_model "{model[:40]}" is not supported', file=self.file, fix=fix)
        if any(k[3:]):
            return Lens("FULL_OPENCV", (k[0], k[1], p1, p2, *k[2:]))
        if k[2]:  # a third radial term: FULL_OPENCV with an empty denominator
            return Lens("FULL_OPENCV", (k[0], k[1], p1, p2, k[2], 0, 0, 0))
        return Lens("OPENCV", (k[0], k[1], p1, p2)) if any((k[0], k[1], p1, p2)) else Lens()

    def _focal(self, frame: Mapping[str, Any], w: int, h: int) -> tuple[float, float]:
        fx, fy = self._get(frame, "fl_x"), self._get(frame, "fl_y")
        if fx is None:
            fx = self._from_angle(frame, "x", w)
            fy = self._from_angle(frame, "y", h) if fy is None else fy
        fx = fy if fx is None else fx
        fy = fx if fy is None else fy
        if fx is None or fy is None:
            fix = "Expected fl_x (pixels) or camera_angle_x (radians), or use --poses photos"
            raise InputError("states no focal length", file=self.file, fix=fix)
        if not (0 < fx < 1e7 and 0 < fy < 1e7):
            raise InputError(f"the focal length {min(fx, fy):g} is impossible", file=self.file)
        return fx, fy

    def _from_angle(self, frame: Mapping[str, Any], axis: str, size: int) -> float | None:
        angle, degrees = self._get(frame, f"camera_angle_{axis}"), self._get(frame, f"{axis}_fov")
        if angle is None and degrees is not None:
            angle = math.radians(degrees)
        if angle is None:
            return None
        if not 0 < angle < math.pi:
            raise InputError(f"the field of view {math.degrees(angle):g} degrees is impossible", file=self.file)
        return 0.5 * size / math.tan(0.5 * angle)

    def _raw(self, frame: Mapping[str, Any], key: str) -> Any:
        return frame[key] if key in frame else self.shared.get(key)

    def _get(self, frame: Mapping[str, Any], key: str) -> float | None:
        """The number under ``key``; None if absent. Raises ``InputError`` if it is not a finite number."""
        raw = self._raw(frame, key)
        if raw is None:
            return None
        value = number(raw)
        if value is None:
            raise InputError(f"{key} is not a finite number", file=self.file)
        return value
