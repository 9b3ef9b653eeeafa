"""Plane sweeps: how well a picture agrees with others where its pixels are taken to lie on planes. Kernel: cuda/sweep.

Source: Collins, "A space-sweep approach to true multi-image matching", CVPR 1996.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, grid_sample

from recon.ops import cuda
from recon.ops.checks import expect_tensor, place_of
from recon.ops.native import native
from recon.types import Camera

MOST_WINDOW = 15  # pixels


def homographies(camera: Camera, other: Camera) -> Tensor:
    """[3, 4] float64: homogeneous pixel in ``other``, times inverse depth, of a pixel (x, y, 1) of ``camera`` and an
    inverse depth. Pinhole cameras; coordinates in pixels, the first one's centre at 0.5, 0.5."""
    pose = other.camera_from_world @ torch.linalg.inv(camera.camera_from_world)
    inner = _matrix(other)
    return torch.cat([inner @ pose[:3, :3] @ torch.linalg.inv(_matrix(camera)), inner @ pose[:3, 3:]], dim=1)


def correlations(grey: Tensor, start: Tensor, step: float, planes: int, others: Sequence[Tensor],
                 valid: Sequence[Tensor], maps: Tensor, *, window: int, texture: float) -> Tensor:
    """[planes, height, width] float32 in -1..1: the mean of the two best normalised cross-correlations of the window
    around each pixel with others' windows, pixels taken to lie at inverse depths ``start + k * step``; -1 counts for
    others that do not see the pixel there.

    grey     [height, width] float32, brightness 0..1
    start    [height, width] float32 inverse depth; nan: -1 everywhere
    others   pictures [h, w] float32, brightness 0..1, of any sizes; ``valid`` [h, w] bool, what of them counts
    maps     [others, 3, 4] from ``homographies``
    window   side of the windows, pixels, odd, at most 15; ``texture``: no window's variance counts as less

    Not differentiable. Raises ValueError or TypeError naming the argument.
    """
    on = place_of(grey)
    expect_tensor("grey", grey, torch.float32, ("height", "width"), on=on)
    expect_tensor("start", start, torch.float32, tuple(grey.shape), on=on)
    if not 1 <= window <= MOST_WINDOW or window % 2 == 0:
        raise ValueError(f"window must be odd and in [1, {MOST_WINDOW}], got {window}")
    if not texture > 0:
        raise ValueError(f"texture must be positive, got {texture}")
    if planes < 1:
        raise ValueError(f"planes must be at least 1, got {planes}")
    if tuple(maps.shape) != (len(others), 3, 4) or len(valid) != len(others):
        raise ValueError(f"maps must be [{len(others)}, 3, 4] and valid {len(others)} masks, as there are others; got "
                         f"{list(maps.shape)} and {len(valid)}")
    for other, counts in zip(others, valid):
        expect_tensor("others", other, torch.float32, ("h", "w"), on=on)
        expect_tensor("valid", counts, torch.bool, tuple(other.shape), on=on)
    flat = [torch.where(counts, 1 + other, -1 - other).flatten() for other, counts in zip(others, valid)]
    pictures = torch.cat([grey.new_empty(0), *flat])
    sizes = torch.tensor([tuple(other.shape) for other in others], dtype=torch.int32, device=on).reshape(-1, 2)
    scores = torch.empty(planes, *grey.shape, device=on)
    arguments = (grey.detach(), start.detach(), step, pictures.detach(), sizes, maps.float().to(on).contiguous(),
                 window, texture, scores)
    module = cuda.kernels_for(grey)
    if module is None:
        native.sweep_planes(*arguments)
    else:
        module.sweep_planes(*arguments, cuda.stream(on))
    return scores


def _matrix(camera: Camera) -> Tensor:
    fx, fy, cx, cy = camera.intrinsics.double().tolist()
    return torch.tensor([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], dtype=torch.float64)


def reference(grey: Tensor, start: Tensor, step: float, planes: int, others: Sequence[Tensor],
              valid: Sequence[Tensor], maps: Tensor, *, window: int, texture: float) -> Tensor:
    """``correlations`` in plain torch and double precision."""
    def mean(x: Tensor) -> Tensor:
        return avg_pool2d(x, window, 1, window // 2, count_include_pad=False)

    height, width = grey.shape
    own = grey.double()[None, None]
    variance = (mean(own * own) - mean(own) ** 2).clamp_min(texture)
    y, x = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) + 0.5 for n in (height, width)), indexing="ij")
    inverse = start.double() + step * torch.arange(planes, dtype=torch.float64)[:, None, None]
    found = []
    for other, counts, m in zip(others, valid, maps.double()):
        h, w = other.shape
        p = [m[i, 0] * x + m[i, 1] * y + m[i, 2] + inverse * m[i, 3] for i in range(3)]
        z = torch.where(p[2] > 1e-6, p[2], torch.nan)
        u, v = p[0] / z, p[1] / z
        inside = (u >= 0.5) & (u <= w - 0.5) & (v >= 0.5) & (v <= h - 0.5)
        grid = torch.stack([u / w, v / h], dim=-1).nan_to_num(0.0) * 2 - 1
        both = torch.stack([other.double(), (~counts).double()]).expand(planes, -1, -1, -1)
        seen = grid_sample(both, grid, align_corners=False, padding_mode="border")
        value = torch.where(inside, seen[:, 0], 0.0)[:, None]
        varies = (mean(value * value) - mean(value) ** 2).clamp_min(texture)
        correlated = (mean(own * value) - mean(own) * mean(value)) / (variance * varies).sqrt()
        found.append(torch.where(inside & (seen[:, 1] == 0), correlated[:, 0], -1.0))
    best = [*found, *[torch.full((planes, height, width), -1.0, dtype=torch.float64)] * (not found)]
    return torch.stack(best).topk(min(2, len(best)), dim=0).values.mean(0)


def examples() -> Iterator[dict[str, Any]]:
    """Keyword arguments of ``correlations``: a textured wall and what other cameras see of it, noise, holes, few and
    many others, pictures smaller than a window and larger than a block or a strip."""
    generator = torch.Generator().manual_seed(0)

    def camera(k: int, width: int, height: int) -> Camera:
        pose = torch.eye(4, dtype=torch.float64)
        angle = torch.tensor(0.1 * k, dtype=torch.float64)
        pose[0, 0], pose[0, 2], pose[2, 0], pose[2, 2] = angle.cos(), angle.sin(), -angle.sin(), angle.cos()
        pose[:3, 3] = torch.tensor([-0.3 * k, 0.05 * k, -3.0])  # looks at the wall
        return Camera(width, height, torch.tensor([1.1 * width, 1.1 * width, width / 2, height / 2]), pose)

    def wall(at: Camera) -> Tensor:
        """Brightness of waves on the plane z = 0."""
        y, x = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) + 0.5 for n in (at.height, at.width)),
                              indexing="ij")
        origin, direction = at.rays(torch.stack([x, y], dim=-1).reshape(-1, 2))
        hit = origin - direction * (origin[..., 2:] / direction[..., 2:])
        waves = (9 * hit[:, 0] + 4 * hit[:, 1]).sin() + (7 * hit[:, 1] - 5 * hit[:, 0]).sin()
        return (0.5 + 0.2 * waves).float().view(at.height, at.width)

    for (width, height), count, planes, window in (((61, 47), 3, 5, 7), ((70, 33), 4, 3, 5), ((16, 16), 1, 2, 3),
                                                   ((5, 3), 2, 2, 15), ((1, 1), 1, 1, 1), ((20, 9), 0, 2, 3)):
        own = camera(0, width, height)
        sizes = [(width + 3 * k, height + 2) for k in range(1, count + 1)]
        cameras = [camera(k if k % 2 else -k, *size) for k, size in enumerate(sizes, 1)]
        start = torch.full((height, width), 0.30)
        start += 0.01 * torch.rand(height, width, generator=generator)
        if width > 20:
            start[3, 4:9] = torch.nan
            start[5] = -5.0  # behind the cameras
        pictures = [wall(c) for c in cameras]
        valid = [torch.rand(p.shape, generator=generator) > 0.05 for p in pictures]
        maps = torch.stack([homographies(own, c) for c in cameras]) if cameras else torch.empty(0, 3, 4)
        yield {"grey": wall(own), "start": start, "step": 0.02, "planes": planes, "others": pictures, "valid": valid,
               "maps": maps, "window": window, "texture": 2e-4}
