"""How kernels take arrays: as they lie in memory, and none that would have to be converted."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from recon.ops.native import native


def near(points: object, out: object) -> None:
    native.nearest_others(points, out)


@pytest.fixture
def points() -> Tensor:
    return torch.rand(40, 3, generator=torch.Generator().manual_seed(0))


def test_numpy_and_tensors_are_the_same(points: Tensor) -> None:
    one, other = torch.empty(40, 3), np.empty((40, 3), np.float32)
    near(points, one)
    fixed = points.numpy().copy()
    fixed.flags.writeable = False
    near(fixed, other)
    expected = torch.cdist(points.double(), points.double()).square().sort(1).values[:, 1:4].float()
    assert torch.allclose(one, expected, atol=1e-6)
    assert np.array_equal(one.numpy(), other)


def test_a_part_of_a_tensor_is_written_in_place(points: Tensor) -> None:
    whole, alone = torch.full((40, 3), -1.0), torch.empty(20, 3)
    near(points[10:30], whole[10:30])
    near(points[10:30].clone(), alone)
    assert torch.equal(whole[10:30], alone)
    assert bool((whole[:10] == -1).all())
    assert bool((whole[30:] == -1).all())
    near(points[:0], whole[:0])
    near(torch.nn.Parameter(points, requires_grad=False), whole)  # another type than Tensor, between tensors
    near(points, whole)


@pytest.mark.parametrize("change", [
    Tensor.double, Tensor.half, lambda p: p[:, :2], lambda p: p[::2], lambda p: p.T.contiguous().T,
    lambda p: p.to("meta"), lambda p: p.to_sparse(), Tensor.tolist,
], ids=["double", "half", "columns", "rows", "transposed", "meta", "sparse", "list"])
def test_nothing_is_converted(points: Tensor, change) -> None:
    with pytest.raises(TypeError):
        near(change(points), torch.empty(40, 3))
    with pytest.raises(TypeError):
        near(points, change(torch.empty(40, 3)))


def test_what_may_not_be_written_is_refused(points: Tensor) -> None:
    fixed = np.empty((40, 3), np.float32)
    fixed.flags.writeable = False
    with pytest.raises(TypeError):
        near(points, fixed)
