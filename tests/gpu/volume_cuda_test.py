"""CUDA drivers of ray marching, grids and small networks on the executor, against the CPU and double precision."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from recon.ops import grid, grid_sum, march, mlp
from recon.ops.grid_cuda import GridKernels
from recon.ops.march_cuda import MarchKernels
from recon.ops.mlp_cuda import MlpKernels
from recon.ops.native import native

ORDERS = (0, 1, 9)


def _random(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _away(a: Tensor, exact: Tensor) -> float:
    """Relative distance of whole tensors; 0 / 0 is 0."""
    size, away = float(exact.double().norm()), float((a.double() - exact.double()).norm())
    return away / size if size > 0 else away


def _points(count: int, seed: int = 5) -> Tensor:
    """Inside, on nodes and edges, and outside of 0..1; many in one cell."""
    u = torch.rand(count, 3, generator=torch.Generator().manual_seed(seed)) * 1.1 - 0.05
    u[count // 2:] = u[count // 2:] * 0.05 + 0.4
    if count > 3:
        u[0], u[1], u[2, 0] = 0.0, 1.0, 0.5
    return u


# ---------------------------------------------------------------- grids

class Lookup:
    """One op over grids: how its result comes from parameters, and the reference of that."""

    def __init__(self, name: str, parameters: list[Tensor], points: int, width: int,
                 arguments: Callable[[list[Tensor], Tensor], list[Any]],
                 backward: Callable[[list[Tensor], Tensor, Tensor], list[Any]],
                 reference: Callable[[list[Tensor], Tensor], Tensor]) -> None:
        self.name, self.parameters, self.points, self.width = name, parameters, _points(points), width
        self.arguments, self.backward, self.reference = arguments, backward, reference

    def run(self, kernels: Any) -> list[Tensor]:
        """Result, then the gradient of every parameter on top of what was there."""
        u, out = self.points, torch.full((len(self.points), self.width), float("nan"))
        getattr(kernels, f"grid_{self.name}")(*self.arguments(self.parameters, u), out)
        into = [torch.ones_like(p) for p in self.parameters]
        getattr(kernels, f"grid_{self.name}_backward")(*self.backward(self.parameters, u, _random(1, *out.shape)),
                                                       *into)
        return [out, *into]

    def exact(self) -> list[Tensor]:
        """The same in double precision."""
        parameters = [p.double().requires_grad_() for p in self.parameters]
        out = self.reference(parameters, self.points.double().clamp(0, 1))
        gradients = torch.autograd.grad(out, parameters, _random(1, *out.shape).double())
        return [out.detach(), *(g + 1 for g in gradients)]


def _lookups(points: int = 70) -> list[Lookup]:
    half = 0.8
    table = torch.tensor([0, 1, -1, 2, 3, -1, 4, 5], dtype=torch.int32).view(2, 2, 2)
    levels = [4, 6, 9]
    return [
        *(Lookup("trilinear", [_random(channels, 4, 5, 3, channels)], points, channels,
                 lambda p, u: [p[0], u], lambda p, u, g: [u, g],
                 lambda p, u: grid.trilinear_reference(p[0], u)) for channels in (1, 5, 33, 48)),
        Lookup("hash", [_random(2, 3, 128, 2)], points, 6, lambda p, u: [p[0], levels, u],
               lambda p, u, g: [levels, u, g], lambda p, u: grid.hash_grid_reference(p[0], levels, u)),
        *(Lookup("vector_matrix", [_random(3, 3, 6, 6, rank), _random(4, 3, 6, rank)], points, 3 * rank,
                 lambda p, u: [*p, u], lambda p, u, g: [*p, u, g],
                 lambda p, u: grid.vector_matrix_reference(*p, u)) for rank in (1, 12)),
        Lookup("tri_vector", [_random(5, 3, 7, 24)], points, 24, lambda p, u: [p[0], u],
               lambda p, u, g: [p[0], u, g], lambda p, u: grid.tri_vector_reference(p[0], u)),
        *(Lookup("local", [_random(6, 6, 3, 4, rank)], points, rank, lambda p, u: [p[0], table, half, u],
                 lambda p, u, g: [p[0], table, half, u, g],
                 lambda p, u: grid.local_tensors_reference(p[0], table, half, u)) for rank in (3, 40)),
    ]


LOOKUPS = _lookups()


@pytest.mark.parametrize("deterministic", [True, False], ids=["fixed order", "atomics"])
@pytest.mark.parametrize("case", range(len(LOOKUPS)), ids=[x.name for x in LOOKUPS])
def test_lookups_agree(executor: ModuleType, case: int, deterministic: bool) -> None:
    lookup = LOOKUPS[case]
    ours, cpu, exact = lookup.run(GridKernels(executor, deterministic)), lookup.run(native), lookup.exact()
    for mine, theirs, true in zip(ours, cpu, exact, strict=True):
        assert torch.isfinite(mine).all()
        assert _away(mine, true) < 2 * _away(theirs, true) + 1e-6
    for gradient in ours[1:]:
        assert not torch.equal(gradient, torch.ones_like(gradient))


@pytest.mark.parametrize("count", [0, 1, 3])
def test_lookups_of_few_points(executor: ModuleType, count: int) -> None:
    for lookup in _lookups(count):
        for mine, theirs in zip(lookup.run(GridKernels(executor)), lookup.run(native), strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)


def test_gradients_of_lookups_do_not_depend_on_the_order_of_threads(executor: ModuleType) -> None:
    results = []
    for order in ORDERS:
        executor.set_order(order)
        results.append([t for x in LOOKUPS for t in x.run(GridKernels(executor))])
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(other, results[0], strict=True))


@pytest.mark.parametrize("case", range(4))
@pytest.mark.parametrize("deterministic", [True, False], ids=["fixed order", "atomics"])
def test_sums_of_grids_agree(executor: ModuleType, case: int, deterministic: bool) -> None:
    arguments = list(grid_sum.examples())[case]
    values, nodes, u = arguments["values"], arguments["nodes"], arguments["u"]
    results = []
    for kernels in (GridKernels(executor, deterministic), native):
        out, slope = torch.full((len(u),), float("nan")), torch.full((len(u), 3), float("nan"))
        kernels.grid_sum(values, nodes, u, out, slope)
        into = torch.ones_like(values)
        kernels.grid_sum_backward(nodes, u, _random(1, len(u)), _random(2, len(u), 3), into)
        results.append([out, slope, into])
    exact = values.double().requires_grad_()
    out, slope = grid_sum.reference(exact, nodes, u.double())
    true = [out.detach(), slope.detach(), torch.ones_like(values).double()]
    if len(u):
        loss = (out * _random(1, len(u)).double()).sum() + (slope * _random(2, len(u), 3).double()).sum()
        true[2] = 1 + torch.autograd.grad(loss, exact)[0]
    for mine, theirs, right in zip(*results, true, strict=True):
        assert _away(mine, right) < 2 * _away(theirs, right) + 1e-6
    spare = sum(n**3 for n in nodes)
    assert (results[0][2][spare:] == 1).all()


# ---------------------------------------------------------------- ray marching

def _rays(count: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    origin = torch.randn(count, 3, generator=generator) * 2
    direction = torch.nn.functional.normalize(torch.randn(count, 3, generator=generator) * 0.7 - origin, dim=1)
    if count > 2:
        origin[1], direction[1] = torch.tensor([9.0, 9, 9]), torch.tensor([1.0, 0, 0])  # never meets the box
        direction[2] = torch.tensor([0.0, 0, 1])
    return origin.contiguous(), direction.contiguous(), torch.rand(count, generator=generator)


@pytest.mark.parametrize("margin", [0.0, 1.0])
@pytest.mark.parametrize("count", [0, 1, 150])
def test_samples_are_the_same(executor: ModuleType, count: int, margin: float) -> None:
    occupied = torch.rand(9, 7, 5, generator=torch.Generator().manual_seed(1)) < 0.1
    box = torch.tensor([-1, -1.1, -0.9, 1, 0.9, 1.2, margin])
    cells = march.distances(occupied)
    given = (*_rays(count), box, cells)
    ours = MarchKernels(executor).march_sample(*given, 0.1, 6.0, 0.05)
    cpu = march.sample(*given, near=0.1, far=6.0, step=0.05)
    assert torch.equal(ours[2], cpu.offsets)
    assert torch.equal(ours[0], cpu.position)
    assert torch.equal(ours[1], cpu.t)
    if count > 2:
        assert len(ours[1]) > 100
        assert margin or cpu.offsets[1] == cpu.offsets[2]


def test_no_sample_is_written_beyond_the_room(executor: ModuleType) -> None:
    cells = torch.zeros(4, 4, 4, dtype=torch.uint8)
    given = (*_rays(40), torch.tensor([-1.0, -1, -1, 1, 1, 1, 0]), cells, 0.1, 6.0, 0.05)
    position, t, offsets = MarchKernels(executor).march_sample(*given)
    room = len(t) // 2
    some, some_t = torch.full((room + 9, 3), -7.0), torch.full((room + 9,), -7.0)
    executor.march_write(*given, offsets, some[:room], some_t[:room], 0)
    assert torch.equal(some_t[:room], t[:room])
    assert torch.equal(some[:room], position[:room])
    assert (some_t[room:] == -7).all()
    assert (some[room:] == -7).all()


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 1, 5), (20, 9, 13)])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 1.0])
def test_distances_are_the_same(executor: ModuleType, shape: tuple[int, int, int], share: float) -> None:
    occupied = torch.rand(shape, generator=torch.Generator().manual_seed(3)) < share
    ours = occupied.to(torch.uint8)
    MarchKernels(executor).march_distances(ours)
    assert torch.equal(ours, march.distances(occupied))


def _rendered(kernels: Any, a: dict[str, Any], dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """rgb, depth, transmittance, distortion, gradients of raw and colour, weights."""
    a = {k: v.to(dtype) if isinstance(v, Tensor) and v.is_floating_point() else v for k, v in a.items()}
    n, nan = len(a["offsets"]) - 1, float("nan")
    out = [torch.full(s, nan, dtype=dtype) for s in ((n, 3), (n,), (n,), (n,))]
    inputs = [a[k] for k in ("raw", "t", "offsets", "colour", "index", "background", "delta", "shift")]
    kernels.march_composite(*inputs, *out)
    gradients = [torch.full_like(a["raw"], nan), torch.full_like(a["colour"], nan)]
    given = [_random(7, n, 3), _random(8, n), _random(9, n)]
    given[2][::5] = 0
    kernels.march_composite_backward(*inputs, *(g.to(dtype) for g in given), *gradients)
    weight = torch.full_like(a["raw"], nan)
    kernels.march_weights(a["raw"], a["offsets"], a["delta"], a["shift"], 1e-3, weight)
    return [*out, *gradients, weight]


MARCH = list(march.examples())


@pytest.mark.parametrize("case", range(len(MARCH)))
def test_rendering_agrees(executor: ModuleType, case: int) -> None:
    ours = _rendered(MarchKernels(executor), MARCH[case])
    cpu, exact = _rendered(native, MARCH[case]), _rendered(native, MARCH[case], torch.float64)
    for mine, theirs, true in zip(ours, cpu, exact, strict=True):
        assert torch.isfinite(mine).all()
        assert _away(mine, true) < 2 * _away(theirs, true) + 1e-6
    results = []
    for order in ORDERS[1:]:
        executor.set_order(order)
        results.append(_rendered(MarchKernels(executor), MARCH[case]))
    for other in results:
        assert all(torch.equal(a, b) for a, b in zip(ours, other, strict=True))


# ---------------------------------------------------------------- networks

NETWORKS = [([3, 2], 5, False), ([7, 9, 1], 1, True), ([39, 64, 64, 3], 130, True), ([65, 130, 4], 70, False),
            ([4, 8, 8, 8, 8, 8, 8, 2], 33, False), ([5, 6, 2], 0, True)]


@pytest.mark.parametrize("case", range(len(NETWORKS)))
@pytest.mark.parametrize("own", ["all", "some", "none"])
def test_networks_agree(executor: ModuleType, case: int, own: str) -> None:
    sizes, count, squash = NETWORKS[case]
    width = {"all": sizes[0], "some": sizes[0] - 2, "none": 0}[own]
    generator = torch.Generator().manual_seed(4)
    parameters = mlp.initial(sizes, generator) + 0.1 * torch.randn(mlp.parameter_count(sizes), generator=generator)
    x = torch.randn(count, width, generator=generator)
    shared = torch.randn(6 if width < sizes[0] else 0, sizes[0] - width, generator=generator)
    row = torch.randint(0, 6, (count if width < sizes[0] else 0,), generator=generator, dtype=torch.int32)

    def run(kernels: Any, dtype: torch.dtype) -> list[Tensor]:
        y = torch.full((count, sizes[-1]), float("nan"), dtype=dtype)
        g_x = torch.full_like(x, float("nan"), dtype=dtype)
        into = torch.ones_like(parameters, dtype=dtype)
        given = sizes, parameters.to(dtype), x.to(dtype), shared.to(dtype), row, squash
        kernels.mlp_forward(*given, y)
        kernels.mlp_backward(*given, _random(3, *y.shape).to(dtype), g_x, into)
        return [y, g_x, into]

    ours, cpu = run(MlpKernels(executor), torch.float32), run(native, torch.float32)
    for mine, theirs, true in zip(ours, cpu, run(native, torch.float64), strict=True):
        assert torch.isfinite(mine).all()
        assert _away(mine, true) < 2 * _away(theirs, true) + 1e-6
    executor.set_order(7)
    assert all(torch.equal(a, b) for a, b in zip(ours, run(MlpKernels(executor), torch.float32), strict=True))


def test_the_gradient_of_many_rows_is_cut_into_parts(executor: ModuleType) -> None:
    sizes, count = [2, 3, 1], 9000  # three parts of 4096 rows
    parameters, x = _random(1, mlp.parameter_count(sizes)), _random(2, count, 2)
    empty, none = torch.empty(0, 0), torch.empty(0, dtype=torch.int32)
    results = []
    for kernels in (MlpKernels(executor), native):
        g_x, into = torch.empty_like(x), torch.zeros_like(parameters)
        kernels.mlp_backward(sizes, parameters, x, empty, none, False, _random(3, count, 1), g_x, into)
        results.append((g_x, into))
    for mine, theirs in zip(*results, strict=True):
        assert _away(mine, theirs) < 1e-5


# ---------------------------------------------------------------- arguments

def test_wrong_arguments_are_refused(executor: ModuleType) -> None:
    u, out = torch.rand(4, 3), torch.empty(4, 5)
    with pytest.raises(ValueError, match="does not fit"):
        executor.grid_trilinear(torch.rand(3, 3, 3, 4), u, out, 0)
    with pytest.raises(ValueError, match="scratch"):
        executor.grid_trilinear_backward(u, out, torch.zeros(3, 3, 3, 5), torch.empty(8, dtype=torch.uint8), 0)
    with pytest.raises(ValueError, match="power of two"):
        executor.grid_hash(torch.rand(1, 6, 5), [3], u, out, 0)
    with pytest.raises(ValueError, match="sizes"):
        executor.mlp_forward([3, 5], torch.rand(19), u, torch.empty(0, 0), torch.empty(0, dtype=torch.int32), False,
                             out, torch.empty(0), 0)
    with pytest.raises(TypeError):
        executor.grid_trilinear(torch.rand(3, 3, 3, 5).double(), u, out, 0)
