"""Plain torch on one thread: the same values and gradients, and the same bits whatever the number of threads."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from recon.ops.one_thread import one_thread
from recon.ops.rbf import rbf


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def inputs(n: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    g = torch.Generator().manual_seed(1)
    shapes = ((n, 20), (128, 20), (128, 20), (128, 3), (3,))
    return [torch.randn(*s, generator=g).to(dtype).mul(0.3).requires_grad_(True) for s in shapes]


def test_gradients() -> None:
    torch.autograd.gradcheck(lambda *x: one_thread(rbf, *x), inputs(4, torch.float64), fast_mode=True)


def test_inputs_without_gradients() -> None:
    x = inputs(5)
    fixed = [x[0].detach(), *x[1:]]
    one_thread(rbf, *fixed).sum().backward()
    assert fixed[0].grad is None
    assert x[1].grad is not None
    with torch.no_grad():
        torch.testing.assert_close(one_thread(rbf, *x), rbf(*x))


def test_same_bits_on_any_number_of_threads() -> None:
    found = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        x = inputs(50_001)
        y = one_thread(rbf, *x)
        y.square().sum(dtype=torch.float64).backward()
        assert torch.get_num_threads() == threads
        found.append([y.detach(), *(t.grad for t in x)])
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            assert a is not None
            assert torch.equal(a, b)
