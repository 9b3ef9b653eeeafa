"""Grid lookups and small networks: against plain torch in float64, on any number of threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from recon.ops import grid, mlp
from recon.ops.native import native

Case = tuple[Callable[..., Tensor], Callable[..., Tensor], list[Tensor], list[Any]]


def _cases(dtype: torch.dtype) -> dict[str, Case]:
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=dtype)

    u = torch.rand(133, 3, generator=generator, dtype=dtype)
    u[0], u[1], u[2] = 0.0, 1.0, torch.tensor([0.5, 1.0, 0.0])
    row = torch.randint(0, 11, (133,), generator=generator).to(torch.int32)
    nodes = [3, 5, 9, 17]

    def hashed(op: Callable[..., Tensor]) -> Callable[..., Tensor]:
        return lambda table, u: op(table, nodes, u)

    table = torch.arange(2 * 3 * 2).reshape(2, 3, 2).to(torch.int32) - 2  # two sites are empty
    table[table < 0] = -1

    def local(op: Callable[..., Tensor]) -> Callable[..., Tensor]:
        return lambda lines, u: op(lines, table, 0.7, u)

    def network(op: Callable[..., Tensor], **options: Any) -> Callable[..., Tensor]:
        return lambda p, x, shared: op(p, [9, 21, 16, 3], x, shared, row, **options)

    count = mlp.parameter_count([9, 21, 16, 3])
    return {
        "trilinear 1": (grid.trilinear, grid.trilinear_reference, [random(4, 5, 6, 1)], [u]),
        "trilinear 12": (grid.trilinear, grid.trilinear_reference, [random(2, 9, 3, 12)], [u]),
        "trilinear 5": (grid.trilinear, grid.trilinear_reference, [random(7, 2, 4, 5)], [u]),
        "vector matrix": (grid.vector_matrix, grid.vector_matrix_reference, [random(3, 6, 6, 8), random(3, 6, 8)], [u]),
        "tri-vector": (grid.tri_vector, grid.tri_vector_reference, [random(3, 6, 16)], [u]),
        "hash": (hashed(grid.hash_grid), hashed(grid.hash_grid_reference), [random(4, 256, 2)], [u]),
        "local": (local(grid.local_tensors), local(grid.local_tensors_reference), [random(10, 3, 4, 8)], [u]),
        "local 5": (local(grid.local_tensors), local(grid.local_tensors_reference), [random(10, 3, 2, 5)], [u]),
        "mlp": (network(mlp.mlp), network(mlp.reference), [0.3 * random(count), random(133, 4)], [random(11, 5)]),
        "mlp, squashed": (network(mlp.mlp, squash=True), network(mlp.reference, squash=True),
                          [0.3 * random(count), random(133, 4)], [random(11, 5)]),
    }


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", list(_cases(torch.float32)))
def test_values_and_gradients(name: str, dtype: torch.dtype) -> None:
    op, reference, parameters, others = _cases(dtype)[name]
    tolerance = 1e-11 if dtype == torch.float64 else 1e-4
    results = []
    for f in (op, reference):
        leaves = [p.clone().requires_grad_() for p in parameters]
        out = f(*leaves, *others)
        (out.sin() * torch.arange(1, out.shape[1] + 1)).sum().backward()
        results.append([out, *(p.grad for p in leaves)])
    for ours, theirs in zip(*results):
        assert float(ours.detach().abs().max()) > 1e-3
        torch.testing.assert_close(ours, theirs, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("name", list(_cases(torch.float32)))
def test_same_bits_on_two_threads(name: str) -> None:
    op, _, parameters, others = _cases(torch.float32)[name]
    before, results = native.get_threads(), []
    for n in (1, 2):
        native.set_threads(n)
        leaves = [p.clone().requires_grad_() for p in parameters]
        out = op(*leaves, *others)
        out.square().sum().backward()
        results.append([out.detach(), *(p.grad for p in leaves)])
    native.set_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(*results))


@pytest.mark.parametrize("name", list(_cases(torch.float64)))
def test_rows_without_gradient_are_passed_over(name: str) -> None:
    op, reference, parameters, others = _cases(torch.float64)[name]
    results = []
    for f in (op, reference):
        leaves = [p.clone().requires_grad_() for p in parameters]
        out = f(*leaves, *others)
        wanted = torch.rand(len(out), 1, generator=torch.Generator().manual_seed(4)) < 0.3
        (out * wanted * torch.arange(1, out.shape[1] + 1)).sum().backward()
        results.append([p.grad for p in leaves])
    for ours, theirs in zip(*results):
        assert float(theirs.abs().max()) > 1e-3
        torch.testing.assert_close(ours, theirs, atol=1e-11, rtol=1e-11)


@pytest.mark.parametrize("rows", [[0] * 133, sorted(i % 11 for i in range(133)), [i % 11 for i in range(133)]])
def test_shared_inputs_in_any_order(rows: list[int]) -> None:
    """All rows share, neighbours share, none do."""
    generator = torch.Generator().manual_seed(2)
    sizes, row = [9, 21, 3], torch.tensor(rows, dtype=torch.int32)
    x, shared = (torch.randn(n, k, generator=generator, dtype=torch.float64) for n, k in ((133, 4), (11, 5)))
    p = mlp.initial(sizes, generator).double()
    results = []
    for f in (mlp.mlp, mlp.reference):
        leaves = [t.clone().requires_grad_() for t in (p, x)]
        out = f(leaves[0], sizes, leaves[1], shared, row)
        out.sin().sum().backward()
        results.append([out.detach(), *(t.grad for t in leaves)])
    for ours, theirs in zip(*results):
        torch.testing.assert_close(ours, theirs, atol=1e-11, rtol=1e-11)


def test_gradients_add_up_in_the_parameter() -> None:
    values, u = torch.rand(3, 3, 3, 2, requires_grad=True), torch.rand(4, 3)
    for _ in range(2):
        grid.trilinear(values, u).sum().backward()
    assert values.grad is not None
    assert abs(float(values.grad.sum()) - 16) < 1e-4
    scaled = torch.rand(3, 3, 3, 2, requires_grad=True)
    grid.trilinear(scaled * 2, u).sum().backward()
    assert scaled.grad is not None
    assert abs(float(scaled.grad.sum()) - 16) < 1e-4


def test_points_outside_and_nan_stay_inside() -> None:
    values = torch.arange(8.0).view(2, 2, 2, 1)
    u = torch.tensor([[-1.0, 0, 0], [2.0, 1, 1], [float("nan"), 0, 0], [1e30, 1, 1]])
    assert grid.trilinear(values, u).squeeze(1).tolist() == [0, 7, 0, 7]


def test_a_larger_network_in_many_blocks() -> None:
    sizes = [39, 64, 64, 3]
    generator = torch.Generator().manual_seed(0)
    p = mlp.initial(sizes, generator).double().requires_grad_()
    x = torch.randn(1000, 39, generator=generator, dtype=torch.float64)
    ours, theirs = mlp.mlp(p, sizes, x), mlp.reference(p, sizes, x)
    torch.testing.assert_close(ours, theirs, atol=1e-11, rtol=1e-11)
    a, b = (torch.autograd.grad(y.square().sum(), p)[0] for y in (ours, theirs))
    torch.testing.assert_close(a, b, atol=1e-9, rtol=1e-9)


def test_wrong_arguments_are_named() -> None:
    u = torch.rand(4, 3)
    with pytest.raises(TypeError, match="u must be float64"):
        grid.trilinear(torch.zeros(2, 2, 2, 1, dtype=torch.float64), u)
    with pytest.raises(ValueError, match="lines"):
        grid.vector_matrix(torch.zeros(3, 4, 4, 2), torch.zeros(3, 5, 2), u)
    with pytest.raises(ValueError, match="two nodes"):
        grid.trilinear(torch.zeros(1, 2, 2, 1), u)
    with pytest.raises(ValueError, match="power of two"):
        grid.hash_grid(torch.zeros(1, 3, 2), [2], u)
    with pytest.raises(ValueError, match="parameters"):
        mlp.mlp(torch.zeros(3), [3, 2], u)


def test_gradients_across_slabs() -> None:
    """More nodes along x than one task writes to: as the reference, and the same bits on two threads."""
    generator, before, found = torch.Generator().manual_seed(2), native.get_threads(), []
    u, g = torch.rand(3000, 3, generator=generator), torch.randn(3000, 5, generator=generator)
    for n in (1, 2):
        native.set_threads(n)
        values = torch.zeros(42, 6, 5, 5, requires_grad=True)
        grid.trilinear(values, u).backward(g)
        assert values.grad is not None
        found.append(values.grad)
    native.set_threads(before)
    exact = torch.zeros(42, 6, 5, 5, dtype=torch.float64, requires_grad=True)
    grid.trilinear_reference(exact, u.double()).backward(g.double())
    assert exact.grad is not None
    assert torch.equal(found[0], found[1])
    torch.testing.assert_close(found[0].double(), exact.grad, atol=2e-5, rtol=0)


def test_single_numbers_are_added_up_in_the_order_of_the_points() -> None:
    """Tasks that share planes of nodes: as the reference, and the same bits on any number of threads. Of some hundred
    points around each node another order has other bits."""
    generator, before = torch.Generator().manual_seed(5), native.get_threads()
    u, g = torch.rand(9001, 3, generator=generator), torch.randn(9001, 1, generator=generator)
    u[:3000, 0] *= 0.1  # parts of unequal width

    def gradient(threads: int, order: Tensor) -> Tensor:
        native.set_threads(threads)
        values = torch.zeros(7, 5, 4, 1, requires_grad=True)
        grid.trilinear(values, u[order]).backward(g[order])
        assert values.grad is not None
        return values.grad

    given = torch.arange(len(u))
    one, two, three = (gradient(n, given) for n in (1, 2, 3))
    other = gradient(1, given.flip(0))
    native.set_threads(before)
    exact = torch.zeros(7, 5, 4, 1, dtype=torch.float64, requires_grad=True)
    grid.trilinear_reference(exact, u.double()).backward(g.double())
    assert exact.grad is not None
    torch.testing.assert_close(one.double(), exact.grad, atol=1e-4, rtol=0)
    assert torch.equal(one, two)
    assert torch.equal(one, three)
    assert float((one != other).float().mean()) > 0.5
