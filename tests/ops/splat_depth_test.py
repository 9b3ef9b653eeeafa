"""Robust depth of splats: the kernel against plain torch, the slopes against rays, and what haze does to it."""

from __future__ import annotations

import pytest
import torch

from recon.ops.native import native
from recon.ops.splat import Projection, project
from recon.ops.splat_depth import depth_slopes, reference, splat_depth
from recon.types import Camera


def camera(width: int = 37, height: int = 29) -> Camera:
    pose = torch.eye(4, dtype=torch.float64)
    pose[2, 3] = -3.0
    return Camera(width, height, torch.tensor([40.0, 41.0, width / 2, height / 2]), pose)


def gaussians(n: int) -> tuple[torch.Tensor, ...]:
    g = torch.Generator().manual_seed(n)
    return (torch.randn(n, 3, generator=g) * 0.4, torch.randn(n, 3, generator=g) * 0.5 - 1.5,
            torch.randn(n, 4, generator=g), torch.randn(n, generator=g) + 1)


def records_of(rows: tuple[torch.Tensor, ...], at: Camera) -> torch.Tensor:
    n = len(rows[0])
    return project(*rows, torch.zeros(n, 3), torch.zeros(n, 0, 3), at, Projection(0))


@pytest.mark.parametrize(("n", "width", "height"), [(0, 5, 4), (1, 8, 8), (60, 37, 29), (200, 65, 33)])
def test_kernel_against_reference(n: int, width: int, height: int) -> None:
    at = camera(width, height)
    rows = gaussians(n)
    records, slopes = records_of(rows, at), depth_slopes(*rows[:3], at)
    depth, spread = splat_depth(records, slopes, width, height)
    wanted, wanted_spread = reference(records.double(), slopes.double(), width, height)
    if n > 1:
        assert float((wanted > 0).float().mean()) > 0.3
    torch.testing.assert_close(depth.double(), wanted, atol=2e-4, rtol=0)
    torch.testing.assert_close(spread.double(), wanted_spread, atol=5e-3, rtol=0)


def test_threads_agree() -> None:
    at = camera(130, 97)
    rows = gaussians(300)
    records, slopes = records_of(rows, at), depth_slopes(*rows[:3], at)
    before = native.get_threads()
    native.set_threads(1)
    one = splat_depth(records, slopes, 130, 97)
    native.set_threads(2)
    two = splat_depth(records, slopes, 130, 97)
    native.set_threads(before)
    assert torch.equal(one[0], two[0])
    assert torch.equal(one[1], two[1])


def test_a_flat_gaussian_is_a_plane_and_haze_in_front_does_not_count() -> None:
    at = camera(64, 64)
    half = torch.tensor(0.5).sqrt()
    # a disc turned by 45 degrees about y, and thin haze in front of it
    means = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, -1.5]])
    log_scales = torch.tensor([[1.0, 1.0, 1e-3], [1.0, 1.0, 1.0]]).log()
    angle = torch.tensor(torch.pi / 8)
    quaternions = torch.stack([torch.stack([angle.cos(), torch.tensor(0.0), angle.sin(), torch.tensor(0.0)]),
                               torch.tensor([1.0, 0.0, 0.0, 0.0])])
    logits = torch.tensor([6.0, -2.5])
    rows = (means, log_scales, quaternions, logits)
    depth, spread = splat_depth(records_of(rows, at), depth_slopes(*rows[:3], at), 64, 64)
    x = torch.arange(64)[None] + 0.5
    ray = ((x - 32) / 40).expand(64, 64)
    normal = torch.tensor([half, 0.0, half])  # the disc's z axis, turned towards x
    true = 3 * normal[2] / (normal[0] * ray + normal[2])
    middle = slice(26, 38)
    torch.testing.assert_close(depth[middle, middle], true[middle, middle], atol=2e-3, rtol=0)
    assert float(depth[32, 28] - depth[32, 36]) > 0.3  # it does slope
    assert float(spread[middle, middle].max()) < 0.02


def test_bad_arguments() -> None:
    rows = gaussians(3)
    at = camera()
    records, slopes = records_of(rows, at), depth_slopes(*rows[:3], at)
    with pytest.raises(TypeError, match="slopes"):
        splat_depth(records, slopes.double(), 5, 5)
    with pytest.raises(ValueError, match="slopes"):
        splat_depth(records, slopes[:2], 5, 5)
    with pytest.raises(ValueError, match="middle"):
        splat_depth(records, slopes, 5, 5, (0.7, 0.2))
