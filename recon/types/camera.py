"""Camera: intrinsics, lens distortion and pose of one view.

Conventions (docs/conventions.md): camera axes are OpenCV's (x right, y down, z forward); the centre of the first
pixel is at (0.5, 0.5), so ``cx, cy`` are measured from the outer corner of the image; lengths are in scene units.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from recon.types.distortion import PINHOLE, Lens
from recon.types.placement import sent


def turned(x: Tensor, R: Tensor) -> Tensor:
    """R [3, 3] times points or directions [..., 3]. On a GPU not by a matrix product, of which a row may get other bits
    among more rows."""
    if x.device.type != "cuda":
        return x @ R.T
    a, b, c = x.unbind(-1)
    return torch.stack([R[i, 0] * a + R[i, 1] * b + R[i, 2] * c for i in range(3)], dim=-1)


@dataclass(frozen=True, eq=False)  # compared by identity: kernels cache what they derive from a camera
class Camera:
    """One calibrated view. All tensors are float64 on the CPU; kernels convert at their edge. While poses are unknowns
    of a fit on a GPU, ``world_from_camera`` is there.

    width, height        image size in pixels
    intrinsics           [4] fx, fy, cx, cy in pixels
    world_from_camera    [4, 4] rigid transform, last row 0 0 0 1
    lens                 lens distortion model and its coefficients; ``PINHOLE`` when there is none
    time                 moment of the photo in 0..1 (dynamic scenes), else 0
    """

    width: int
    height: int
    intrinsics: Tensor
    world_from_camera: Tensor
    lens: Lens = field(default=PINHOLE)
    time: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "intrinsics", torch.as_tensor(self.intrinsics, dtype=torch.float64).reshape(4))
        pose = torch.as_tensor(self.world_from_camera, dtype=torch.float64)
        if pose.shape == (3, 4):
            pose = torch.cat([pose, pose.new_tensor([[0.0, 0.0, 0.0, 1.0]])])
        if pose.shape != (4, 4):
            raise ValueError(f"world_from_camera must be [4, 4] or [3, 4], got {list(pose.shape)}")
        object.__setattr__(self, "world_from_camera", pose)
        if self.width < 1 or self.height < 1:
            raise ValueError(f"camera size must be positive, got {self.width}x{self.height}")

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.width, self.height

    @property
    def centre(self) -> Tensor:
        """[3] position of the camera in the world."""
        return self.world_from_camera[:3, 3]

    @property
    def forward(self) -> Tensor:
        """[3] unit viewing direction in the world."""
        return self.world_from_camera[:3, 2]

    @property
    def camera_from_world(self) -> Tensor:
        """[4, 4] inverse of ``world_from_camera`` (a rigid inverse: exact transpose of the rotation)."""
        rotation, translation = self.world_from_camera[:3, :3], self.world_from_camera[:3, 3]
        out = torch.eye(4, dtype=torch.float64, device=rotation.device)
        out[:3, :3] = rotation.T
        out[:3, 3] = -rotation.T @ translation
        return out

    def scaled(self, width: int, height: int) -> Camera:
        """The same view sampled at another size; pixel centres stay at +0.5, so all four intrinsics just scale."""
        ratio = torch.tensor([width / self.width, height / self.height], dtype=torch.float64)
        return replace(self, width=width, height=height, intrinsics=self.intrinsics * ratio.repeat(2))

    def cropped(self, left: int, top: int, width: int, height: int) -> Camera:
        """The window of ``width`` x ``height`` pixels whose first pixel is (left, top)."""
        shift = torch.tensor([0.0, 0.0, left, top], dtype=torch.float64)
        return replace(self, width=width, height=height, intrinsics=self.intrinsics - shift)

    def project(self, x_world: Tensor) -> tuple[Tensor, Tensor]:
        """Points [..., 3] in the world -> pixels [..., 2] and z-depth [...]; points behind have depth <= 0."""
        pose = sent(self.camera_from_world.to(x_world.dtype), x_world.device)
        x_camera = turned(x_world, pose[:3, :3]) + pose[:3, 3]
        return self.pixels_from_camera(x_camera), x_camera[..., 2]

    def pixels_from_camera(self, x_camera: Tensor) -> Tensor:
        """Points [..., 3] in camera coordinates -> pixels [..., 2], lens distortion included."""
        fx, fy, cx, cy = self.intrinsics.to(x_camera.dtype)
        uv = self.lens.distort(x_camera)
        return torch.stack([fx * uv[..., 0] + cx, fy * uv[..., 1] + cy], dim=-1)

    def rays(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Pixels [..., 2] (x, y; centres at +0.5) -> origins [..., 3] and unit directions [..., 3] in the world."""
        fx, fy, cx, cy = self.intrinsics.to(pixels.dtype)
        uv = torch.stack([(pixels[..., 0] - cx) / fx, (pixels[..., 1] - cy) / fy], dim=-1)
        direction_camera = self.lens.undistort(uv)
        pose = sent(self.world_from_camera.to(pixels.dtype), pixels.device)
        direction = turned(direction_camera, pose[:3, :3])
        direction = direction / direction.norm(dim=-1, keepdim=True)
        return pose[:3, 3].expand_as(direction), direction
