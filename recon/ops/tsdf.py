"""Fusion of depth pictures into a truncated signed distance field (TSDF). Kernel: cuda/tsdf.

Source: Curless and Levoy, "A Volumetric Method for Building Complex Models from Range Images", SIGGRAPH 1996.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from recon.ops import cuda
from recon.ops.checks import expect_tensor, place_of
from recon.ops.native import native
from recon.types import Camera


@dataclass(frozen=True)
class Volume:
    """A grid of distances, positive outside, with colours; x is the last axis. 24 bytes per point.

    distance       [nz, ny, nx] float32, -1..1 truncations, 1 before anything is seen
    weight         [nz, ny, nx] float32, 0 where nothing was seen
    colour         [nz, ny, nx, 3] float32
    colour_weight  [nz, ny, nx] float32
    origin         x, y, z of the first point; spacing: distance of neighbours along x, y, z
    """

    distance: Tensor
    weight: Tensor
    colour: Tensor
    colour_weight: Tensor
    origin: tuple[float, float, float]
    spacing: tuple[float, float, float]

    @staticmethod
    def empty(shape: Sequence[int], origin: Sequence[float], spacing: Sequence[float],
              device: torch.device | None = None) -> Volume:
        """A volume of ``shape`` (nz, ny, nx) that has seen nothing."""
        nz, ny, nx = shape
        o, s = tuple(float(x) for x in origin), tuple(float(x) for x in spacing)
        return Volume(torch.ones(nz, ny, nx, device=device), torch.zeros(nz, ny, nx, device=device),
                      torch.zeros(nz, ny, nx, 3, device=device), torch.zeros(nz, ny, nx, device=device),
                      (o[0], o[1], o[2]), (s[0], s[1], s[2]))


def fuse_depth_(volume: Volume, depth: Tensor, rgb: Tensor, camera: Camera, *, truncation: float,
                confidence: Tensor | None = None) -> None:
    """Adds one depth picture to ``volume``, in place; all tensors in one place, the CPU or a GPU.

    depth       [height, width] float32 z-depth; 0 = unknown, infinite = empty space as far as the eye reaches
    rgb         [height, width, 3] float32
    camera      pinhole, of the picture's size, in the frame of the volume
    truncation  distance behind the surface up to which it is believed, scene units
    confidence  [height, width] float32 weight of each pixel; 1 by default

    Raises ValueError or TypeError naming the argument. Not differentiable.
    """
    size, on = (camera.height, camera.width), place_of(volume.distance)
    expect_tensor("depth", depth, torch.float32, size, on=on)
    expect_tensor("rgb", rgb, torch.float32, (*size, 3), on=on)
    confidence = torch.ones(size, device=on) if confidence is None else confidence
    expect_tensor("confidence", confidence, torch.float32, size, on=on)
    if camera.lens.model != "PINHOLE":
        raise ValueError(f"camera must be a pinhole, got {camera.lens.model}")
    if not truncation > 0:
        raise ValueError(f"truncation must be positive, got {truncation}")
    arguments = (volume.distance, volume.weight, volume.colour, volume.colour_weight, volume.origin, volume.spacing,
                 depth.detach(), rgb.detach(), confidence.detach(), camera.camera_from_world[:3].reshape(-1).tolist(),
                 camera.intrinsics.tolist(), float(truncation))
    module = cuda.kernels_for(volume.distance)
    if module is None:
        native.fuse_depth(*arguments)
    else:
        module.fuse_depth(*arguments, cuda.stream(on))
    for tensor in (volume.distance, volume.weight, volume.colour, volume.colour_weight):
        torch.autograd.graph.increment_version(tensor)


def reference(volume: Volume, depth: Tensor, camera: Camera, *, truncation: float) -> tuple[Tensor, Tensor]:
    """Distance and weight of ``volume`` after one picture of confidence 1, in plain torch."""
    nz, ny, nx = volume.distance.shape
    axes = [volume.origin[a] + volume.spacing[a] * torch.arange(n, dtype=torch.float64)
            for a, n in enumerate((nx, ny, nz))]
    z, y, x = torch.meshgrid(axes[2], axes[1], axes[0], indexing="ij")
    pixels, far = camera.project(torch.stack([x, y, z], dim=-1))
    px = pixels.nan_to_num(-1, -1, -1).clamp(-1e6, 1e6).floor().long()
    within = (far > 1e-6) & (px >= 0).all(-1) & (px[..., 0] < camera.width) & (px[..., 1] < camera.height)
    seen = depth.double()[px[..., 1].clamp(0, camera.height - 1), px[..., 0].clamp(0, camera.width - 1)]
    d = ((seen - far) / truncation).clamp_max(1)
    counted = within & (seen > 0) & (d >= -1)
    weight = volume.weight.double()
    mean = volume.distance + (d.nan_to_num(0) - volume.distance) / (weight + 1)
    return torch.where(counted, mean, volume.distance.double()).float(), (weight + counted).float()


def examples() -> Iterator[dict[str, Any]]:
    """Keyword arguments of ``fuse_depth_`` on fresh volumes."""
    generator = torch.Generator().manual_seed(0)
    for shape, (width, height) in (((5, 6, 7), (8, 9)), ((9, 3, 17), (16, 5))):
        pose = torch.eye(4, dtype=torch.float64)
        pose[2, 3] = -2.0
        camera = Camera(width, height, torch.tensor([9.0, 9.0, width / 2, height / 2]), pose)
        depth = 1.5 + torch.rand(height, width, generator=generator)
        depth[0, 0] = 0.0
        depth[1, 1] = torch.inf
        yield {"volume": Volume.empty(shape, (-0.5,) * 3, (0.11,) * 3), "depth": depth,
               "rgb": torch.rand(height, width, 3, generator=generator), "camera": camera, "truncation": 0.3}
