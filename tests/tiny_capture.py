"""A capture small enough to be fitted in a second: a handful of Gaussians seen by eight known cameras."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from recon.renderers.splat import SplatRenderer
from recon.types import Camera, Capture, Gaussians, Photo, PointCloud, View

WIDTH, HEIGHT, VIEWS = 48, 40, 8


@dataclass(frozen=True)
class MemoryPhoto:
    """A PhotoSource without a file."""

    photo: Photo

    def read(self, camera: Camera) -> Photo:
        assert self.photo.rgb.shape == (3, camera.height, camera.width), "this source does not resize"
        return self.photo


@dataclass(frozen=True)
class Fixed:
    """A field with the Splats protocol only."""

    fixed: Gaussians

    def gaussians(self, t: float = 0.0) -> Gaussians:
        return self.fixed


def random_gaussians(count: int = 60, seed: int = 1, degree: int = 1) -> Gaussians:
    """Coloured blobs in a ball of radius 0.6 around the origin."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    means = torch.nn.functional.normalize(normal(count, 3), dim=1) * 0.6 * torch.rand(count, 1, generator=generator)
    sh = torch.zeros(count, (degree + 1) ** 2, 3)
    sh[:, 0] = normal(count, 3)
    sh[:, 1:] = 0.1 * normal(count, (degree + 1) ** 2 - 1, 3)
    return Gaussians(means, math.log(0.12) + 0.3 * normal(count, 3), normal(count, 4), 1.5 + normal(count), sh)


def camera_at(angle: float, distance: float = 2.0, height: float = 0.5,
              size: tuple[int, int] = (WIDTH, HEIGHT)) -> Camera:
    """A pinhole camera on a circle around the origin, looking at it; z is up."""
    eye = torch.tensor([distance * math.cos(angle), distance * math.sin(angle), height], dtype=torch.float64)
    forward = -eye / eye.norm()
    right = torch.linalg.cross(forward, torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64))
    right = right / right.norm()
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, 0], pose[:3, 1], pose[:3, 2], pose[:3, 3] = right, torch.linalg.cross(forward, right), forward, eye
    width, height_px = size
    return Camera(width, height_px, torch.tensor([55.0, 55.0, width / 2, height_px / 2]), pose)


def picture(field: Any, camera: Camera, background: float = 0.0) -> Tensor:
    """[3, height, width] in 0..1."""
    with torch.no_grad():
        rgb = SplatRenderer().render(field, camera, background=torch.full((3,), background)).rgb
    return rgb.permute(2, 0, 1).clamp(0, 1).contiguous()


def tiny_capture(holdout: int = 4) -> Capture:
    """Eight photos of ``random_gaussians`` and 150 grey points near them; every ``holdout``-th view is a test view."""
    truth = random_gaussians()
    views = []
    for i in range(VIEWS):
        camera = camera_at(2 * math.pi * i / VIEWS)
        rgb = (picture(Fixed(truth), camera) * 255).round().to(torch.uint8)
        split = "test" if holdout and i % holdout == 0 else "train"
        views.append(View(f"{i:02d}.png", camera, MemoryPhoto(Photo(rgb)), split))
    generator = torch.Generator().manual_seed(2)
    near = truth.means.repeat(3, 1)[:150] + 0.05 * torch.randn(150, 3, generator=generator)
    points = PointCloud(near.double(), torch.full((150, 3), 128, dtype=torch.uint8))
    return Capture("tiny", Path("tiny"), "memory", tuple(views), points)
