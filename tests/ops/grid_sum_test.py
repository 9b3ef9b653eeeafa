"""Sums of grids: values, gradients by the point, and gradients of both by the nodes."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from recon.ops.grid_sum import examples, grid_sum, node_count, reference
from recon.ops.native import native

DOUBLES = list(examples(torch.float64))


@pytest.mark.parametrize("example", DOUBLES, ids=lambda e: f"{e['nodes']}-{len(e['u'])}")
def test_against_plain_torch(example: dict[str, Any]) -> None:
    mine = example["values"].clone().requires_grad_()
    theirs = example["values"].clone().requires_grad_()
    got, want = grid_sum(mine, example["nodes"], example["u"]), reference(theirs, example["nodes"], example["u"])
    for a, b in zip(got, want):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
    generator = torch.Generator().manual_seed(1)
    factors = [torch.randn(a.shape, generator=generator, dtype=a.dtype) for a in got]
    sum((a * f).sum() for a, f in zip(got, factors)).backward()
    if len(example["u"]):
        sum((b * f).sum() for b, f in zip(want, factors)).backward()
        assert mine.grad is not None
        assert float(mine.grad.abs().max()) > 0
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-10, atol=1e-12)
        assert float(mine.grad[node_count(example["nodes"]):].abs().sum()) == 0


def test_gradient_is_that_of_the_value() -> None:
    """Central differences inside cells."""
    example = DOUBLES[3]
    u = (example["u"] * 0.8 + 0.1).contiguous()
    inside = torch.ones(len(u), dtype=torch.bool)
    for n in example["nodes"]:
        inside &= ((u * (n - 1) - (u * (n - 1)).round()).abs() > 1e-3).all(1)
    u = u[inside].contiguous()
    _, gradient = grid_sum(example["values"], example["nodes"], u)
    for axis in range(3):
        h = torch.zeros(3, dtype=torch.float64)
        h[axis] = 1e-6
        up, down = (grid_sum(example["values"], example["nodes"], (u + s * h).contiguous())[0] for s in (1, -1))
        torch.testing.assert_close((up - down) / 2e-6, gradient[:, axis], rtol=1e-6, atol=1e-6)


def test_float_and_threads() -> None:
    example = list(examples())[3]
    wide = grid_sum(example["values"].double(), example["nodes"], example["u"].double())
    before, results = native.get_threads(), []
    try:
        for threads in (1, 2):
            native.set_threads(threads)
            values = example["values"].clone().requires_grad_()
            value, gradient = grid_sum(values, example["nodes"], example["u"])
            (value.square().sum() + gradient.square().sum()).backward()
            results.append((value.detach(), gradient.detach(), values.grad))
    finally:
        native.set_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(*results))
    torch.testing.assert_close(results[0][0].double(), wide[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(results[0][1].double(), wide[1], rtol=1e-4, atol=1e-4)


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="values must hold"):
        grid_sum(torch.zeros(7), [2], torch.zeros(1, 3))
    with pytest.raises(ValueError, match="nodes must be"):
        grid_sum(torch.zeros(8), [1], torch.zeros(1, 3))
    with pytest.raises(TypeError, match="u must be float32"):
        grid_sum(torch.zeros(8), [2], torch.zeros(1, 3).double())
