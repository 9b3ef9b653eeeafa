"""Similarity: rotation, uniform scale and translation between two frames."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from recon.types.camera import Camera


@dataclass(frozen=True)
class Similarity:
    """``target_from_source``: x_target = scale * rotation @ x_source + translation. Tensors are float64."""

    scale: float = 1.0
    rotation: Tensor = field(default_factory=lambda: torch.eye(3, dtype=torch.float64))
    translation: Tensor = field(default_factory=lambda: torch.zeros(3, dtype=torch.float64))

    def __post_init__(self) -> None:
        object.__setattr__(self, "rotation", torch.as_tensor(self.rotation, dtype=torch.float64).reshape(3, 3))
        object.__setattr__(self, "translation", torch.as_tensor(self.translation, dtype=torch.float64).reshape(3))

    def points(self, x: Tensor) -> Tensor:
        """Moves points [..., 3], in float64, returned in the type they came in."""
        moved = self.scale * (x.to(torch.float64) @ self.rotation.T) + self.translation
        return moved.to(x.dtype)

    def camera(self, camera: Camera) -> Camera:
        """Moves a camera (its pose stays rigid: scale moves the centre only)."""
        pose = torch.eye(4, dtype=torch.float64)
        pose[:3, :3] = self.rotation @ camera.world_from_camera[:3, :3]
        pose[:3, 3] = self.points(camera.centre)
        return replace(camera, world_from_camera=pose)

    def inverse(self) -> Similarity:
        rotation = self.rotation.T.contiguous()
        return Similarity(1.0 / self.scale, rotation, -(rotation @ self.translation) / self.scale)

    def after(self, first: Similarity) -> Similarity:
        """The similarity that applies ``first`` and then this one."""
        return Similarity(
            self.scale * first.scale,
            self.rotation @ first.rotation,
            self.scale * self.rotation @ first.translation + self.translation,
        )

    def to_dict(self) -> dict[str, object]:
        return {
            "scale": float(self.scale),
            "rotation": self.rotation.tolist(),
            "translation": self.translation.tolist(),
        }

    @staticmethod
    def from_dict(d: dict) -> Similarity:
        return Similarity(float(d["scale"]), d["rotation"], d["translation"])


def similarity_between(poses_source: Tensor, poses_target: Tensor) -> Similarity:
    """target_from_source of the same cameras [n, 4, 4] (world_from_camera) in two frames, with least squared errors:
    the mean turn of their axes, then scale and shift of their centres. Scale 1 where all stand in one place."""
    turn = (poses_target[:, :3, :3] @ poses_source[:, :3, :3].mT).mean(0)
    u, _, v = torch.linalg.svd(turn)
    rotation = u @ torch.diag(torch.tensor([1.0, 1.0, float(torch.det(u @ v))], dtype=torch.float64)) @ v
    before, after = poses_source[:, :3, 3] @ rotation.T, poses_target[:, :3, 3]
    a, b = before - before.mean(0), after - after.mean(0)
    spread = float((a * a).sum())
    scale = float((a * b).sum()) / spread if spread > 1e-24 else 1.0
    return Similarity(scale, rotation, after.mean(0) - scale * before.mean(0))
