"""Bits that do not depend on threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from recon.ops.elementwise import logit, sigmoid

COUNTS = (20_011, 40_017, 65_537, 100_003)  # more than one thread works on them, and pieces are no whole vectors


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def _on(threads: int, call: Callable[[], Tensor]) -> Tensor:
    torch.set_num_threads(threads)
    return call()


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("function", [sigmoid, lambda x: logit(sigmoid(x))])
def test_any_number_of_threads_gives_the_same_bits(count: int, dtype: torch.dtype,
                                                   function: Callable[[Tensor], Tensor]) -> None:
    x = 6 * torch.randn(count, dtype=dtype, generator=torch.Generator().manual_seed(count))
    one = _on(1, lambda: function(x))
    for threads in (2, 3, 4):
        assert torch.equal(one, _on(threads, lambda: function(x)))


def test_sigmoid_and_its_gradient_are_right() -> None:
    x = torch.tensor([-300.0, -40.0, -3.0, 0.0, 0.5, 20.0, 300.0], dtype=torch.float64, requires_grad=True)
    y = sigmoid(x)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(y, torch.sigmoid(x), rtol=1e-14, atol=1e-34)
    torch.testing.assert_close(gradient, torch.sigmoid(x) * torch.sigmoid(-x), rtol=1e-12, atol=1e-34)


def test_logit_undoes_sigmoid() -> None:
    x = torch.linspace(-12, 12, 101, dtype=torch.float64)
    torch.testing.assert_close(logit(sigmoid(x)), x, rtol=1e-9, atol=1e-9)
