"""Products with the Jacobian of a splatted picture: dual numbers, adjoint, central differences, dense J, float32."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from types import ModuleType

import pytest
import torch
from torch import Tensor

from recon.ops import native as loader
from recon.ops import splat, splat_normal
from recon.ops.splat import RADIUS, Projection, camera_numbers
from recon.ops.splat_normal import SplatLinearisation
from recon.ops.splat_reference import Example, cloud, examples, turned_camera

EXAMPLES = list(examples())
NAMES = ("means", "log_scales", "quaternions", "logits", "sh0", "sh_rest")


def _built() -> list[ModuleType]:
    found = []
    for isa in loader.supported():
        try:
            found.append(loader.load(isa))
        except ImportError:
            continue
    return found


@pytest.fixture(params=_built(), ids=lambda m: m.instruction_set)
def kernels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The Python face on the kernels of one instruction set, on one thread."""
    module, before = request.param, request.param.get_threads()
    for face in (splat, splat_normal):
        monkeypatch.setattr(face, "native", module)
    monkeypatch.setattr(splat_normal, "_ROOM", {})
    module.set_threads(1)
    yield module
    module.set_threads(before)


def _random(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _direction(rows: list[Tensor], seed: int) -> list[Tensor]:
    return [0.1 * _random(seed + i, *r.shape).to(r.dtype) for i, r in enumerate(rows)]


def _zeros(rows: list[Tensor]) -> list[Tensor]:
    return [torch.zeros_like(r) for r in rows]


def _linear(example: Example, dtype: torch.dtype = torch.float64) -> tuple[SplatLinearisation, list[Tensor]]:
    rows = [example.rows(dtype)[n] for n in NAMES]
    return SplatLinearisation(rows, example.camera, example.settings, example.background.to(dtype),
                              check=dtype == torch.float64), rows


def _inner(a: list[Tensor], b: list[Tensor]) -> Tensor:
    return torch.stack([(x.double() * y.double()).sum() for x, y in zip(a, b)]).sum()


def _flat(rows: list[Tensor]) -> Tensor:
    return torch.cat([r.flatten() for r in rows])


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_forward_product_agrees_with_dual_numbers(example: Example, kernels: ModuleType) -> None:
    near, rows = _linear(example)
    v = _direction(rows, 1)
    width, height = example.camera.size
    numbers = camera_numbers(example.camera, example.settings)
    records, tangent = torch.empty_like(near.records), torch.empty_like(near.records)
    kernels.splat_project_jvp(*rows, *v, numbers, example.settings.degree, example.settings.antialiased, records,
                              tangent)
    hidden = near.records[:, RADIUS] == 0
    records[hidden], tangent[hidden] = 0, 0
    value, want = torch.empty(4, height, width).double(), torch.empty(4, height, width).double()
    end, end_moved = torch.empty(height, width).double(), torch.empty(height, width).double()
    kernels.splat_composite_jvp(records, tangent, width, height, example.background, value, want, end, end_moved)
    got, want = near.jvp(v), want[:3]
    assert want.norm() > 0
    assert (got - want).norm() <= 1e-9 * want.norm()


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_products_are_adjoint_and_the_fused_one_is_their_chain(example: Example, kernels: ModuleType) -> None:
    near, rows = _linear(example)
    v, u = _direction(rows, 1), _random(9, *near.picture.shape)
    pulled, fused, chained = _zeros(rows), _zeros(rows), _zeros(rows)
    near.vjp_(u, pulled)
    moved = near.jvp(v)
    size = (moved * u).abs().sum()
    assert size > 0
    assert ((moved * u).sum() - _inner(v, pulled)).abs() <= 1e-10 * size
    weights = _random(10, *near.picture.shape).abs()
    near.normal_(v, weights, fused)
    near.vjp_(weights * moved, chained)
    assert (_flat(fused) - _flat(chained)).norm() <= 1e-10 * _flat(chained).norm()
    near.normal_(v, weights, fused)  # adds
    assert (_flat(fused) - 2 * _flat(chained)).norm() <= 1e-9 * _flat(chained).norm()


@pytest.mark.parametrize("antialiased", [False, True])
def test_forward_product_agrees_with_central_differences(antialiased: bool) -> None:
    camera = turned_camera(10, 10, 14, 14)
    example = Example("toy", cloud(camera, 6, 3, pixels=(1, 4)), camera, Projection(3, antialiased=antialiased))
    near, rows = _linear(example)
    v, h = _direction(rows, 4), 1e-5

    def drawn(step: float) -> Tensor:
        moved = [r + step * t for r, t in zip(rows, v)]
        return SplatLinearisation(moved, camera, example.settings, example.background, check=True).picture

    want = (drawn(h) - drawn(-h)) / (2 * h)
    assert (near.jvp(v) - want).norm() <= 1e-5 * want.norm()


def _dense(near: SplatLinearisation, rows: list[Tensor]) -> Tensor:
    columns = []
    for i in range(len(_flat(rows))):
        unit = torch.zeros(len(_flat(rows)), dtype=torch.float64)
        unit[i] = 1
        parts = torch.split(unit, [r.numel() for r in rows])
        columns.append(near.jvp([p.view(r.shape).contiguous() for p, r in zip(parts, rows)]).flatten())
    return torch.stack(columns, dim=1)


@pytest.mark.parametrize("name", ["degree 0", "degree 2", "antialiased", "7 elements", "opaque", "needles"])
def test_diagonal_is_that_of_the_dense_matrix(name: str) -> None:
    example = next(e for e in EXAMPLES if e.name == name)
    near, rows = _linear(example)
    weights, got = _random(5, *near.picture.shape).abs(), _zeros(rows)
    near.diagonal_(weights, got)
    J = _dense(near, rows)
    want = torch.split((J * J * weights.flatten()[:, None]).sum(0), [r.numel() for r in rows])
    for parameter, g, w in zip(NAMES, got, want):
        if parameter == "means" and example.settings.degree > 0:  # the view direction is left out there
            near_enough = (g.flatten() - w).norm() <= 0.2 * w.norm()
        else:
            near_enough = (g.flatten() - w).norm() <= 1e-9 * w.norm()
        assert near_enough, f"{parameter}: {(g.flatten() - w).norm() / w.norm():.2e}"


@pytest.mark.parametrize("name", ["degree 0", "antialiased", "7 elements", "opaque", "needles"])
def test_blocks_are_those_of_the_dense_matrix(name: str, kernels: ModuleType) -> None:
    """And their factors solve as a dense Cholesky does. Degree 0: there the diagonal of the means is exact."""
    example = next(e for e in EXAMPLES if e.name == name)
    if example.settings.degree > 0:
        example = replace(example, settings=replace(example.settings, degree=0))
    near, rows = _linear(example)
    weights, diagonal, blocks = _random(5, *near.picture.shape).abs(), _zeros(rows), near.blocks()
    near.diagonal_(weights, diagonal, blocks.values)
    plain = _zeros(rows)
    near.diagonal_(weights, plain)
    assert torch.equal(_flat(plain), _flat(diagonal))
    J, n = _dense(near, rows), len(rows[0])
    H = (J * weights.flatten()[:, None]).T @ J
    begins = [0, 3 * n, 6 * n, 10 * n]
    lower = torch.tril_indices(11, 11)
    added = [0.1 * d + 0.01 * d.mean() for d in diagonal]
    r = _direction(rows, 7)
    solved = [t.clone() for t in r]
    blocks.inverse(added, diagonal)(solved)
    for i in range(n):
        at = torch.cat([b + k * i + torch.arange(k) for b, k in zip(begins, (3, 3, 4, 1))])
        want = H[at][:, at]
        got = torch.zeros(11, 11, dtype=torch.float64)
        got[lower[0], lower[1]] = blocks.values[i]
        got = got + got.tril(-1).T
        assert (got - want).norm() <= 1e-9 * want.norm() + 1e-15
        system = want + torch.diag(_flat(added)[at])
        if want.norm() > 0:
            x = torch.cholesky_solve(_flat(r)[at][:, None], torch.linalg.cholesky(system))[:, 0]
            assert (_flat(solved)[at] - x).norm() <= 1e-7 * x.norm()
    for k in (4, 5):
        torch.testing.assert_close(solved[k], r[k] / (diagonal[k] + added[k]))


def test_float_blocks_solve_what_rounding_has_made_indefinite(kernels: ModuleType) -> None:
    """Blocks of rank one, hardly damped: the answer is finite, and a descent."""
    from recon.ops.splat_normal import SplatBlocks

    blocks, lower = SplatBlocks(37), torch.tril_indices(11, 11)
    v = _random(3, 37, 11).float() * torch.logspace(-6, 3, 37)[:, None]
    blocks.values = (v[:, :, None] * v[:, None])[:, lower[0], lower[1]].contiguous()
    shapes = [(37, 3), (37, 3), (37, 4), (37,), (37, 3), (37, 0, 3)]
    diagonal, r = [torch.ones(s) for s in shapes], [_random(9 + i, *s).float() for i, s in enumerate(shapes)]
    x = [t.clone() for t in r]
    blocks.inverse([torch.full(s, 1e-8) for s in shapes], diagonal)(x)
    assert bool(torch.isfinite(_flat(x)).all())
    assert _inner(x, r) > 0


@pytest.mark.parametrize("name", ["degree 0", "degree 3", "antialiased", "crowded"])
def test_camera_columns_agree_with_central_differences(name: str) -> None:
    example = next(e for e in EXAMPLES if e.name == name)
    near, rows = _linear(example)
    columns, h = near.camera_columns(), 1e-6
    for k in range(6):

        def drawn(step: float, k: int = k) -> Tensor:
            moved = torch.eye(4, dtype=torch.float64)
            if k < 3:
                a, b = [i for i in range(3) if i != k]
                c, s = math.cos(step), math.sin(step)
                moved[a, a], moved[b, b] = c, c
                moved[a, b], moved[b, a] = (-s, s) if k != 1 else (s, -s)
            else:
                moved[k - 3, 3] = step
            pose = example.camera.world_from_camera @ moved
            camera = replace(example.camera, world_from_camera=pose)
            return SplatLinearisation(rows, camera, example.settings, example.background, check=True).picture

        want = (drawn(h) - drawn(-h)) / (2 * h)
        close = (columns[k] - want).abs() <= 1e-4 * want.abs().max()
        # where a Gaussian's edge crosses a pixel's centre between the two pictures, their difference is no derivative
        assert close.double().mean() > 0.97
        assert (columns[k] - want)[close].norm() <= 1e-4 * want.norm()
        assert want.norm() > 0


@pytest.mark.parametrize("name", ["degree 0", "degree 3", "antialiased", "crowded", "opaque", "behind and near"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_camera_columns_in_one_pass_are_six_products(name: str, dtype: torch.dtype, kernels: ModuleType) -> None:
    near, _ = _linear(next(e for e in EXAMPLES if e.name == name), dtype)
    got, want = near.camera_columns(), near._one_by_one(torch.empty(6, *near.picture.shape, dtype=dtype))
    for a, b in zip(got, want):
        assert b.norm() > 0
        assert (a - b).norm() <= (1e-12 if dtype == torch.float64 else 2e-5) * b.norm()


@pytest.mark.parametrize("name", ["degree 3", "crowded", "opaque", "antialiased", "behind and near"])
def test_float_lanes_against_double(name: str, kernels: ModuleType) -> None:
    example = next(e for e in EXAMPLES if e.name == name)
    near, rows = _linear(example)
    single, rows32 = _linear(example, torch.float32)
    v = _direction(rows, 1)
    v32 = [t.float() for t in v]
    weights = _random(10, *near.picture.shape).abs()
    want, got, diagonal, diagonal32 = _zeros(rows), _zeros(rows32), _zeros(rows), _zeros(rows32)
    moved = near.jvp(v)
    assert (single.jvp(v32) - moved).norm() <= 1e-3 * moved.norm()
    near.normal_(v, weights, want)
    single.normal_(v32, weights.float(), got)
    near.diagonal_(weights, diagonal)
    single.diagonal_(weights.float(), diagonal32)
    for g, w in zip(got + diagonal32, want + diagonal):
        assert (g - w).norm() <= 2e-3 * w.norm()


def test_the_same_bits_on_any_number_of_threads() -> None:
    camera = turned_camera(150, 90, 120, 120)
    example = Example("large", cloud(camera, 3000, 1, pixels=(1, 9)), camera)
    before, found = splat_normal.native.get_threads(), []
    for threads in (1, 2, 3):
        splat_normal.native.set_threads(threads)
        near, rows = _linear(example, torch.float32)
        out, diagonal = _zeros(rows), _zeros(rows)
        weights = _random(3, *near.picture.shape).abs().float()
        near.normal_(_direction(rows, 2), weights, out)
        near.diagonal_(weights, diagonal)
        found.append(torch.cat([_flat(out), _flat(diagonal)]))
    splat_normal.native.set_threads(before)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_wrong_arguments_are_named() -> None:
    near, rows = _linear(EXAMPLES[0], torch.float32)
    with pytest.raises(ValueError, match="weights must be"):
        near.normal_(_direction(rows, 0), torch.ones(3, 1, 1), _zeros(rows))
    with pytest.raises(TypeError, match="v must be float32"):
        near.jvp([r.double() for r in rows])
