"""Rows by number: as torch has them, on any number of threads, in all types and shapes."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from recon.ops.chosen import choose
from recon.ops.native import native
from recon.ops.rows import gathered, rows_where, scattered, taken


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("length", [0, 1, 63, 70_001])
def test_numbers_of_true_rows(length: int, share: float) -> None:
    mask = torch.rand(length, generator=torch.Generator().manual_seed(0)) < share
    assert torch.equal(rows_where(mask), mask.nonzero().squeeze(1))
    assert torch.equal(rows_where(3 * mask.to(torch.uint8)), mask.nonzero().squeeze(1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int32, torch.int64])
@pytest.mark.parametrize("shape", [(), (1,), (3,), (15,), (24,), (2, 5), (0,)])
def test_rows_and_back(dtype: torch.dtype, shape: tuple[int, ...], threads: Any) -> None:
    generator = torch.Generator().manual_seed(1)
    x = (100 * torch.randn(40_000, *shape, generator=generator)).to(dtype)
    index = (torch.rand(len(x), generator=generator) < 0.4).nonzero().squeeze(1)
    for count in (1, 2, 3):
        threads(count)
        rows = gathered(x, index)
        assert torch.equal(rows, x[index])
        assert torch.equal(scattered(rows, index, len(x)), torch.zeros_like(x).index_copy(0, index, rows))


def test_columns_that_are_no_copy() -> None:
    x = torch.rand(50, 4)
    index = torch.tensor([3, 7, 49])
    assert torch.equal(gathered(x[:, 1:], index), x[index][:, 1:])
    repeated = x[:, :1].expand(-1, 6)
    assert torch.equal(gathered(repeated, index), repeated[index])
    assert gathered(repeated, index).is_contiguous()


def test_gradients_of_chosen_rows() -> None:
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(300, 3, generator=generator, dtype=torch.float64)
    chosen = choose(torch.rand(300, generator=generator) < 0.5, "rows")
    weight = torch.randn(len(chosen), 3, generator=generator, dtype=torch.float64)
    found = []
    for pick in (chosen.of, lambda a: a[chosen.index]):
        leaf = x.clone().requires_grad_()
        (pick(leaf).sin() * weight).sum().backward()
        found.append(leaf.grad)
    assert torch.equal(*found)
    assert float(found[0].abs().max()) > 0.1


def test_wrong_numbers_are_refused() -> None:
    x = torch.rand(5, 3)
    for index in ([0, 5], [-1, 2]):
        with pytest.raises(ValueError, match="not there"):
            gathered(x, torch.tensor(index))
    with pytest.raises(ValueError, match="ascend"):
        scattered(x[:2], torch.tensor([3, 1]), 5)
    with pytest.raises(TypeError, match="index must be int64"):
        taken(x, torch.tensor([1], dtype=torch.int32))
    with pytest.raises(ValueError, match="as many entries"):
        native.rows_where(torch.ones(3, dtype=torch.uint8), torch.empty(2, dtype=torch.int64))
