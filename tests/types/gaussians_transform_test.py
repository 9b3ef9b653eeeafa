"""Moving a set of Gaussians must not change what it looks like: shape, colour, and back again."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from recon.types import Gaussians, Similarity
from recon.types.sh import basis, rotate_sh, rotation_matrices


def rotation(seed: int, mirror: bool = False) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    q, _ = torch.linalg.qr(torch.randn(3, 3, generator=g, dtype=torch.float64))
    q = q * torch.linalg.det(q).sign()
    return -q if mirror else q


def directions(n: int = 1000) -> Tensor:
    g = torch.Generator().manual_seed(7)
    return torch.nn.functional.normalize(torch.randn(n, 3, generator=g, dtype=torch.float64), dim=1)


def gaussians(n: int = 40, dtype: torch.dtype = torch.float64) -> Gaussians:
    g = torch.Generator().manual_seed(1)
    parts = [torch.randn(n, *shape, generator=g, dtype=dtype) for shape in ((3,), (3,), (4,), (), (16, 3))]
    return Gaussians(*parts)


def covariance(g: Gaussians) -> Tensor:
    """[n, 3, 3], written out here on its own as the reference."""
    w, x, y, z = torch.nn.functional.normalize(g.quaternions, dim=1).unbind(1)
    r = torch.stack([
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ], dim=1).reshape(-1, 3, 3)  # fmt: skip
    m = r * g.log_scales.exp()[:, None, :]
    return m @ m.mT


MIRROR = pytest.mark.parametrize("mirror", [False, True])


@MIRROR
@pytest.mark.parametrize("seed", range(5))
def test_shape_and_position_follow(seed: int, mirror: bool) -> None:
    g, r = gaussians(), rotation(seed, mirror)
    s = Similarity(2.5, r, torch.tensor([1.0, -2.0, 3.0]))
    moved = g.transformed(s)
    expected = 2.5**2 * r @ covariance(g) @ r.T
    torch.testing.assert_close(covariance(moved), expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(moved.means, 2.5 * g.means @ r.T + s.translation, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(moved.logits, g.logits)


@MIRROR
def test_colour_turns_along(mirror: bool) -> None:
    g, d = gaussians(), directions()
    for seed in range(20):
        r = rotation(seed, mirror)
        before = torch.einsum("dk,nkc->ndc", basis(d, 3), g.sh)
        after = torch.einsum("dk,nkc->ndc", basis(d @ r.T, 3), rotate_sh(g.sh, r))
        assert (before - after).abs().max() < 1e-12


@MIRROR
def test_there_and_back(mirror: bool) -> None:
    g = gaussians(dtype=torch.float32)
    s = Similarity(0.3, rotation(3, mirror), torch.tensor([4.0, 5.0, 6.0]))
    back = g.transformed(s).transformed(s.inverse())
    torch.testing.assert_close(back.means, g.means, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(back.log_scales, g.log_scales, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(back.sh, g.sh, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(covariance(back), covariance(g), rtol=1e-4, atol=1e-5)


@MIRROR
def test_band_matrices_are_orthogonal_and_compose(mirror: bool) -> None:
    for seed in range(8):
        a, b = rotation(seed, mirror), rotation(seed + 100)
        for d_a, d_b, d_ab in zip(*(rotation_matrices(r, 3) for r in (a, b, a @ b)), strict=True):
            assert (d_a @ d_a.T - torch.eye(len(d_a), dtype=torch.float64)).abs().max() < 1e-12
            assert (d_a @ d_b - d_ab).abs().max() < 1e-12


def test_band_one_has_the_closed_form() -> None:
    s = torch.tensor([[0.0, -1, 0], [0, 0, 1], [-1, 0, 0]], dtype=torch.float64)
    for seed in range(10):
        r = rotation(seed)
        torch.testing.assert_close(rotation_matrices(r, 1)[0], s @ r @ s.T, rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    ("diagonal", "signs"),
    [
        ((1, -1, -1), "--+ -++-+ -+--+-+"),
        ((-1, -1, 1), "-+- +-+-+ -+-+-+-"),
        ((1, -1, 1), "-++ --+++ ---++++"),
    ],
)
def test_axis_flips_change_signs_only_and_exactly(diagonal: tuple[int, ...], signs: str) -> None:
    sh = gaussians(dtype=torch.float32).sh
    turned = rotate_sh(sh, torch.diag(torch.tensor(diagonal, dtype=torch.float64)))
    expected = torch.tensor([1.0] + [1.0 if c == "+" else -1.0 for c in signs.replace(" ", "")])
    assert torch.equal(turned, sh * expected[None, :, None])


def test_quaternion_order_with_a_turn_that_tells() -> None:
    """(0.8, 0.6, 0, 0) turns about x; after a quarter turn about z it turns about y."""
    g = gaussians(1)
    q = torch.tensor([[0.8, 0.6, 0, 0]], dtype=torch.float64)
    quarter = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]], dtype=torch.float64)
    moved = Gaussians(g.means, g.log_scales, q, g.logits, g.sh).transformed(Similarity(rotation=quarter))
    h = math.sqrt(0.5)
    expected = torch.tensor([[h * 0.8, h * 0.6, h * 0.6, h * 0.8]], dtype=torch.float64)
    torch.testing.assert_close(moved.quaternions, expected)


@pytest.mark.parametrize("degree", range(4))
def test_any_degree_and_no_rows(degree: int) -> None:
    k = (degree + 1) ** 2
    assert rotate_sh(torch.zeros(0, k, 3), rotation(1)).shape == (0, k, 3)
    assert rotate_sh(torch.ones(2, k, 3), rotation(1)).shape == (2, k, 3)


def test_half_turns_take_every_branch_of_the_quaternion() -> None:
    """Turns by 180 degrees have w = 0; the largest of x, y, z then carries the result."""
    for axis in torch.eye(3, dtype=torch.float64):
        r = 2 * torch.outer(axis, axis) - torch.eye(3, dtype=torch.float64)
        g = gaussians()
        torch.testing.assert_close(covariance(g.transformed(Similarity(rotation=r))), r @ covariance(g) @ r.T)
