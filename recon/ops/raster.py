"""Rasterization of triangle meshes: which face a pixel sees, and where on it. Kernels: cuda/raster.

Source: Olano and Greer, "Triangle Scan Conversion using 2D Homogeneous Coordinates", Graphics Hardware 1997.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from recon.ops import cuda
from recon.ops.checks import place_of
from recon.ops.native import native
from recon.types import Camera
from recon.types.camera import turned
from recon.types.placement import sent


@dataclass(frozen=True)
class Fragments:
    """What the pixels of one camera see of a mesh.

    face    [height, width] int32: face index, -1 where there is none
    depth   [height, width] float32: z-depth in scene units, 0 where there is none
    shares  [height, width, 3] float32: barycentric coordinates on the face, perspective-correct
    """

    face: Tensor
    depth: Tensor
    shares: Tensor

    def interpolate(self, rows: Tensor, faces: Tensor) -> Tensor:
        """[height, width, k] of values [v, k] at vertices; 0 where no face is seen. Differentiable in ``rows``."""
        hit = self.face >= 0
        corners = rows[faces.long()[self.face.clamp_min(0).long()]]
        return (corners * self.shares[..., None]).sum(2) * hit[..., None]


def rasterize(vertices: Tensor, faces: Tensor, camera: Camera, *, near: float = 1e-6) -> Fragments:
    """The nearest face through every pixel centre; both sides of a face are seen.

    vertices  [v, 3] float32 in the camera's world; on a GPU the work is done there
    faces     [f, 3] int32, in the same place; there they are not checked to name vertices that exist
    camera    pinhole
    near      faces that reach nearer than this are left out, scene units

    Not differentiable; same bits on any number of threads. Raises ValueError or TypeError naming the argument.
    """
    if vertices.ndim != 2 or vertices.shape[1] != 3 or faces.ndim != 2 or faces.shape[1] != 3:
        raise ValueError(f"vertices and faces must be [n, 3], got {list(vertices.shape)} and {list(faces.shape)}")
    if faces.dtype != torch.int32:
        raise TypeError(f"faces must be int32, got {faces.dtype}")
    if not camera.lens.is_pinhole:
        raise ValueError(f"camera must be a pinhole, got {camera.lens.model}")
    on = place_of(vertices)
    if faces.device != on:
        raise ValueError(f"faces must be where vertices are, got {faces.device} and {on}")
    pose = sent(camera.camera_from_world, on)
    seen = (turned(vertices.detach().double(), pose[:3, :3]) + pose[:3, 3]).float().contiguous()
    face = torch.empty(camera.height, camera.width, dtype=torch.int32, device=on)
    depth = torch.empty(camera.height, camera.width, device=on)
    shares = torch.empty(camera.height, camera.width, 2, device=on)
    lens, module = camera.intrinsics.tolist(), cuda.kernels_for(seen)
    if module is None:
        native.rasterize(seen, faces.contiguous(), lens, float(near), face, depth, shares)
    else:
        scratch = cuda.scratch(seen, module.rasterize_scratch(len(faces), face.numel()))
        module.rasterize(seen, faces.contiguous(), lens, float(near), face, depth, shares, scratch,
                         cuda.stream(seen.device))
    rest = torch.where(face >= 0, 1 - shares.sum(-1), 0.0)
    return Fragments(face, depth, torch.cat([shares, rest[..., None]], dim=-1))


def reference(vertices: Tensor, faces: Tensor, camera: Camera) -> tuple[Tensor, Tensor]:
    """Face and depth by meeting every pixel's ray with every face (Moeller and Trumbore 1997), float64."""
    pose = camera.camera_from_world
    corners = (vertices.double() @ pose[:3, :3].T + pose[:3, 3])[faces.long()]
    y, x = torch.meshgrid(torch.arange(camera.height) + 0.5, torch.arange(camera.width) + 0.5, indexing="ij")
    fx, fy, cx, cy = camera.intrinsics.tolist()
    rays = torch.stack([(x - cx) / fx, (y - cy) / fy, torch.ones_like(x)], dim=-1).double().reshape(-1, 1, 3)
    a = corners[None, :, 0]
    e1, e2 = corners[None, :, 1] - a, corners[None, :, 2] - a
    p = torch.linalg.cross(rays.expand(-1, len(faces), -1), e2.expand(len(rays), -1, -1))
    det = (e1 * p).sum(-1)
    u = -(a * p).sum(-1) / det
    q = torch.linalg.cross(-a, e1)
    v = (rays * q).sum(-1) / det
    z = (e2 * q).sum(-1) / det
    hit = (u >= 0) & (v >= 0) & (u + v <= 1) & (z > 0) & (det != 0)
    depth, face = torch.where(hit, z, torch.inf).min(dim=1)
    seen = depth.isfinite()
    shape = (camera.height, camera.width)
    return torch.where(seen, face, -1).reshape(shape), torch.where(seen, depth, 0.0).reshape(shape)
