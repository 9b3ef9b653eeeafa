"""Tri-vector tensors on a lattice: what they can represent exactly, continuity, growth."""

from __future__ import annotations

import pytest
import torch
from tiny_capture import tiny_capture
from torch import Tensor

from recon.fields.local_tensors import LocalTensorField, LocalTensorSettings, _longer
from recon.ops.adam import adam_touched_
from recon.ops.grid import local_tensors

ONE = torch.zeros(1, 1, 1, dtype=torch.int32)


def _nodes(n: int) -> Tensor:
    """[n^3, 3] the nodes of one tensor that reaches half a site beyond the unit cube, in its own order."""
    axis = torch.arange(n) / (n - 1)
    return torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1).reshape(-1, 3)


def _best(target: Tensor, rank: int, n: int) -> float:
    """Least relative error from four starts: fits of several components can stop at saddle points."""
    return min(_fitted(target, rank, n, seed) for seed in range(4))


def _fitted(target: Tensor, rank: int, n: int, seed: int) -> float:
    """Relative error of one tensor fitted by Adam to values at its nodes."""
    half = 0.5 + 1e-6  # one site, nothing beside it: the tensor ends where the cube ends
    generator = torch.Generator().manual_seed(seed)
    lines = (0.5 * torch.randn(1, 3, n, rank, generator=generator)).requires_grad_()
    moments = torch.zeros_like(lines.detach()), torch.zeros_like(lines.detach())
    u = _nodes(n)
    for step in range(1, 1501):
        out = local_tensors(lines, ONE, half, u).sum(1)
        (out - target).square().mean().backward()
        assert lines.grad is not None
        adam_touched_(lines, lines.grad, *moments, lr=0.02 * 0.01 ** (step / 1500), step=step)
    return float((local_tensors(lines.detach(), ONE, half, u).sum(1) - target).norm() / target.norm())


def _separable(n: int, terms: int) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    total = torch.zeros(n, n, n)
    for _ in range(terms):
        a, b, c = torch.randn(3, n, generator=generator)
        total = total + a[:, None, None] * b[None, :, None] * c[None, None, :]
    return total.flatten()


def test_one_component_recovers_a_product_exactly() -> None:
    assert _fitted(_separable(6, 1), 1, 6, 0) < 1e-3


def test_three_products_need_three_components() -> None:
    target = _separable(6, 3)
    assert _best(target, 3, 6) < 1e-3
    assert _best(target, 2, 6) > 1e-2


def test_constant_factors_give_one_without_a_step_at_borders() -> None:
    table = torch.arange(24, dtype=torch.int32).reshape(2, 4, 3)
    lines = torch.ones(24, 3, 5, 1)
    generator = torch.Generator().manual_seed(1)
    u = torch.rand(5000, 3, generator=generator)
    torch.testing.assert_close(local_tensors(lines, table, 0.7, u), torch.ones(5000, 1), atol=1e-6, rtol=0)


def test_the_blend_of_different_tensors_is_continuous() -> None:
    generator = torch.Generator().manual_seed(2)
    table = torch.arange(64, dtype=torch.int32).reshape(4, 4, 4)
    lines = torch.randn(64, 3, 6, 4, generator=generator)
    u = torch.rand(1, 3, generator=generator).repeat(200_001, 1)
    u[:, 1] = torch.linspace(0, 1, 200_001)
    out = local_tensors(lines, table, 0.625, u)
    assert float((out[1:] - out[:-1]).abs().max()) < 2e-3 * float(out.abs().max())


def test_longer_vectors_keep_the_values_at_old_nodes() -> None:
    vectors = torch.randn(3, 3, 5, 2)
    torch.testing.assert_close(_longer(vectors, 9)[:, :, ::2], vectors, atol=1e-6, rtol=1e-6)


@pytest.fixture
def field() -> LocalTensorField:
    field = LocalTensorSettings(voxels=8000).build()
    field.initialise(tiny_capture(), 0)
    return field


def _ball(field: LocalTensorField, centre: tuple[float, float, float]) -> Tensor:
    """Raw density [x, y, z, 1]: dense in a small ball, nothing elsewhere."""
    axes = [torch.arange(n) / (n - 1) for n in field.params["density"].shape[:3]]
    at = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
    far = (at - torch.tensor(centre)).norm(dim=-1, keepdim=True)
    return torch.where(far < 0.12, 10.0, -10.0)


def test_tensors_stand_where_something_is_and_are_added_later(field: LocalTensorField) -> None:
    assert all(int(t.max()) == -1 for t in field.tables)
    field.params["density"] = _ball(field, (0.3, 0.3, 0.3))
    field.grow()
    table = field.tables[2]
    sites = (table >= 0).nonzero() + 0.5
    away = (sites / torch.tensor(table.shape) - 0.3).norm(dim=1)
    assert len(sites) > 10
    assert float(away.max()) < 0.3
    kept = field.params["2.density_vectors"].detach().clone()
    first = int(table[tuple((sites[0] - 0.5).long())])
    field.params["density"] = torch.maximum(field.params["density"].detach(), _ball(field, (0.7, 0.7, 0.7)))
    field.grow()
    assert len(field.params["2.density_vectors"]) > 1.5 * len(kept)
    now = int(field.tables[2][tuple((sites[0] - 0.5).long())])
    assert torch.equal(field.params["2.density_vectors"].detach()[now], kept[first])


def test_density_is_the_same_after_a_checkpoint(field: LocalTensorField) -> None:
    field.params["density"] = _ball(field, (0.5, 0.5, 0.5))
    field.refine(8000)
    again = field.settings.build()
    again.params.load_state(field.params.state())
    again.load_state(field.state())
    u = torch.rand(100, 3)
    assert torch.equal(field.density(u, torch.zeros(100)), again.density(u, torch.zeros(100)))
    assert again.num_primitives == field.num_primitives > 0
