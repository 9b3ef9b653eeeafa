"""Gaussian kernels in feature space: range, gradients, exact interpolation."""

from __future__ import annotations

import torch

from recon.ops.rbf import kernels, rbf, rbf_row_by_row


def _random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_kernels_are_one_at_their_centre_and_below_elsewhere() -> None:
    centres, sharpness = _random(7, 5), 0.3 * _random(7, 5, seed=1)
    assert torch.allclose(kernels(centres, centres, sharpness).diagonal(), torch.ones(7, dtype=torch.float64))
    phi = kernels(_random(200, 5, seed=2), centres, sharpness)
    assert float(phi.max()) <= 1
    assert float(phi.min()) > 0


def test_kernels_are_what_the_formula_says() -> None:
    z, centres, sharpness = _random(20, 4), _random(6, 4, seed=1), 0.3 * _random(6, 4, seed=2)
    difference = z[:, None] - centres
    expected = torch.exp(-((2 * sharpness).exp() * difference.square()).sum(-1))
    torch.testing.assert_close(kernels(z, centres, sharpness), expected, atol=1e-12, rtol=1e-10)


def test_gradients_against_differences() -> None:
    inputs = [_random(6, 3), _random(4, 3, seed=1), 0.3 * _random(4, 3, seed=2), _random(4, 2, seed=3),
              _random(2, seed=4)]
    for tensor in inputs:
        tensor.requires_grad_()
    assert torch.autograd.gradcheck(rbf, inputs)


def test_as_many_narrow_kernels_as_points_interpolate_anything() -> None:
    z, target = _random(30, 3), _random(30, 2, seed=5)
    phi = kernels(z, z, torch.full((30, 3), 1.0, dtype=torch.float64))
    weights = torch.linalg.solve(phi, target)
    assert float((phi @ weights - target).abs().max()) < 1e-8


def test_products_row_by_row_are_the_same_function() -> None:
    inputs = [_random(40, 3), _random(7, 3, seed=1), 0.3 * _random(7, 3, seed=2), _random(7, 2, seed=3),
              _random(2, seed=4)]
    for tensor in inputs:
        tensor.requires_grad_()
    plain, ours = rbf(*inputs), rbf_row_by_row(*inputs)
    torch.testing.assert_close(ours, plain, atol=1e-12, rtol=1e-10)
    along = _random(40, 2, seed=5)
    for mine, true in zip(torch.autograd.grad(ours, inputs, along), torch.autograd.grad(plain, inputs, along),
                          strict=True):
        torch.testing.assert_close(mine, true, atol=1e-11, rtol=1e-9)
    assert torch.equal(rbf_row_by_row(inputs[0][:11], *inputs[1:]), ours[:11])
