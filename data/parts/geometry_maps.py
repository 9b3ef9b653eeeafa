"""Depth and normal maps in files, read when they are asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from recon.data.parts.images import DECODE_ERRORS
from recon.errors import InputError


@dataclass(frozen=True)
class DepthFile:
    """z-depth in an integer image (times ``unit``) or in a float .npy or TIFF (as it is)."""

    path: Path
    unit: float

    def __call__(self) -> Tensor:
        """[height, width] float32 z-depth in units of the file's frame, 0 = unknown."""
        values = _load(self.path)
        if values.ndim == 3:
            values = values[..., 0]
        if values.ndim != 2:
            raise InputError("is not a depth map", file=self.path)
        unit = self.unit if np.issubdtype(values.dtype, np.integer) else 1.0
        depth = values.astype(np.float32) * np.float32(unit)
        return torch.from_numpy(np.where(np.isfinite(depth) & (depth > 0), depth, np.float32(0)))


@dataclass(frozen=True)
class NormalFile:
    """Normals in an RGB image ((n + 1) / 2) or a float .npy; ``world_from_map`` [3, 3] turns them, None: no turn."""

    path: Path
    world_from_map: Tensor | None

    def __call__(self) -> Tensor:
        """[height, width, 3] float32 unit normals in the world; 0 where the file has none."""
        values = _load(self.path)
        if values.ndim != 3 or values.shape[2] < 3:
            raise InputError("is not a normal map", file=self.path)
        encoded = np.issubdtype(values.dtype, np.integer)
        normal = torch.from_numpy(values[..., :3].astype(np.float32))
        if encoded:  # black: no surface
            normal = torch.where((normal == 0).all(-1, keepdim=True), 0.0, normal / 127.5 - 1)
        normal = torch.nan_to_num(normal)
        length = normal.norm(dim=-1, keepdim=True)
        normal = torch.where(length > 0.5, normal / length.clamp_min(1e-6), torch.zeros_like(normal))
        return normal if self.world_from_map is None else normal @ self.world_from_map.T.to(torch.float32)


def _load(path: Path) -> np.ndarray:
    try:
        if path.suffix == ".npy":
            return np.load(path, mmap_mode="r", allow_pickle=False)[...]
        with Image.open(path) as image:
            return np.array(image)
    except DECODE_ERRORS as error:
        raise InputError("cannot be decoded", file=path) from error
