"""FlexiCubes: the tables, values and derivatives, and that no sign pattern gives a mesh that is not a surface."""

from __future__ import annotations

import math
from collections import Counter
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from recon.mesh.check import check
from recon.ops import flexicubes as ops
from recon.ops import flexicubes_cuda
from recon.ops.flexicubes import examples, flexicubes, grid_points, reference
from recon.types import Mesh


@pytest.fixture(autouse=True)
def _kernels(kernels: ModuleType, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setattr(flexicubes_cuda, "native", kernels)
    return kernels


def mesh_of(values: Tensor, **options: Any) -> Mesh:
    found = flexicubes(values, **options)
    return Mesh(found.vertices.detach().float(), found.faces)


def closed_noise(size: int, seed: int) -> Tensor:
    """Random values that are outside on the border."""
    values = torch.randn(size, size, size, generator=torch.Generator().manual_seed(seed))
    for axis in range(3):
        for end in (0, size - 1):
            values.select(axis, end).abs_()
    return values


def torus(points: Tensor, ring: float, tube: float) -> Tensor:
    around = points[..., :2].norm(dim=-1) - ring
    return (around.square() + points[..., 2].square()).sqrt() - tube


def test_tables_have_the_known_counts(kernels: ModuleType) -> None:
    tables = kernels.case_tables()
    assert Counter(len(plain) for plain, _, _ in tables) == {0: 2, 1: 162, 2: 82, 3: 8, 4: 2}
    assert sum(face != 6 for _, _, face in tables) == 36  # C16, C19 and what turns into them


def test_every_crossed_edge_belongs_to_one_piece(kernels: ModuleType) -> None:
    ends = ops.edge_corners().tolist()
    for case, (plain, flipped, _) in enumerate(kernels.case_tables()):
        crossed = sum(1 << e for e, (a, b) in enumerate(ends) if (case >> a ^ case >> b) & 1)
        for pieces in (plain, flipped):
            assert sum(pieces) == crossed  # disjoint sets add up without carries only if each edge is in one
            assert all(x & y == 0 for i, x in enumerate(pieces) for y in pieces[:i])


def test_pieces_turn_with_the_cube(kernels: ModuleType) -> None:
    """A quarter of a symmetry: permuting the axes x -> y -> z maps pieces to pieces."""
    tables = kernels.case_tables()

    def turned_corner(c: int) -> int:
        return (c << 1 & 7) | c >> 2

    def turned_edge(e: int) -> int:
        return (e + 4) % 12

    for case, (plain, _, _) in enumerate(tables):
        turned = sum(1 << turned_corner(c) for c in range(8) if case >> c & 1)
        want = {sum(1 << turned_edge(e) for e in range(12) if piece >> e & 1) for piece in plain}
        assert set(tables[turned][0]) == want


def test_backward_of_a_cube_against_dual_numbers(kernels: ModuleType) -> None:
    rng = np.random.default_rng(0)
    ends = ops.edge_corners().numpy()
    for _ in range(200):
        signs = rng.integers(0, 2, 8) * 2 - 1
        members = sum(1 << e for e in range(12) if signs[ends[e, 0]] != signs[ends[e, 1]])
        if not members:
            continue
        inputs = np.concatenate([signs * rng.uniform(0.05, 1, 8), rng.normal(size=24), rng.uniform(0.1, 1.9, 20)])
        by_hand, by_dual = np.zeros(52), np.zeros(52)
        kernels.flexible_derivatives(inputs, rng.normal(size=4), members, by_hand, by_dual)
        assert np.abs(by_dual).max() > 1e-3
        np.testing.assert_allclose(by_hand, by_dual, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_and_gradients_against_reference(dtype: torch.dtype) -> None:
    tolerance = 1e-11 if dtype == torch.float64 else 2e-5
    seen = 0
    for example in examples(dtype):
        given = {k: v.clone().requires_grad_() if isinstance(v, Tensor) else v for k, v in example.items()}
        got, want = flexicubes(**given), reference(**given)
        torch.testing.assert_close(got.vertices, want.vertices, rtol=tolerance, atol=tolerance)
        torch.testing.assert_close(got.deviation, want.deviation, rtol=tolerance, atol=tolerance)
        assert torch.equal(got.faces, want.faces)
        if not len(got.vertices):
            continue
        seen += 1
        generator = torch.Generator().manual_seed(1)
        g_v = torch.randn(got.vertices.shape, generator=generator, dtype=dtype)
        g_d = torch.randn(got.deviation.shape, generator=generator, dtype=dtype)
        inputs = [v for v in given.values() if isinstance(v, Tensor)]
        grads = [torch.autograd.grad((m.vertices * g_v).sum() + (m.deviation * g_d).sum(), inputs)
                 for m in (got, want)]
        for mine, theirs in zip(*grads):
            assert theirs.norm() > 0
            assert (mine - theirs).norm() <= tolerance * theirs.norm()
    assert seen >= 7


def test_gradients_against_central_differences() -> None:
    generator = torch.Generator().manual_seed(3)
    values = torch.randn(4, 4, 4, generator=generator, dtype=torch.float64)
    values = values.sign() * (0.3 + values.abs())  # no sign flips within the step
    inputs = {"values": values, "deformation": torch.randn(4, 4, 4, 3, generator=generator, dtype=torch.float64),
              "weights": torch.randn(27, ops.WEIGHTS, generator=generator, dtype=torch.float64)}
    weigh = torch.randn(10_000, 3, generator=generator, dtype=torch.float64)

    def loss(**x: Tensor) -> Tensor:
        v = flexicubes(**x).vertices
        return (v.square() * weigh[: len(v)]).sum()

    given = {k: v.clone().requires_grad_() for k, v in inputs.items()}
    gradient = dict(zip(given, torch.autograd.grad(loss(**given), list(given.values()))))
    for name, x in inputs.items():
        direction = torch.randn(x.shape, generator=generator, dtype=torch.float64)
        high, low = (float(loss(**(inputs | {name: x + sign * 1e-6 * direction}))) for sign in (1, -1))
        want = (high - low) / 2e-6
        assert abs(want) > 1e-3
        assert float((gradient[name] * direction).sum()) == pytest.approx(want, rel=1e-5)


def test_sign_change_loss() -> None:
    for shape in ((2, 2, 2), (5, 4, 7)):
        values = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64,
                             ).requires_grad_()
        got, want = ops.sign_change_loss(values), ops.reference_sign_change_loss(values)
        torch.testing.assert_close(got, want)
        torch.testing.assert_close(torch.autograd.grad(got, values), torch.autograd.grad(want, values))
    assert float(ops.sign_change_loss(torch.ones(3, 3, 3))) == 0


def test_noise_within_the_grid_is_watertight() -> None:
    for seed in range(350):
        mesh = mesh_of(closed_noise(4 + seed % 6, seed), split=("centre", "diagonal")[seed % 2])
        if len(mesh):
            report = check(mesh)
            assert report.watertight, f"seed {seed}: {report}"
            assert report.unused_vertices == 0
            assert report.euler % 2 == 0


def test_noise_that_leaves_the_grid_is_manifold() -> None:
    for seed in range(250):
        shape = [2 + (seed * k) % 5 for k in (1, 3, 7)]
        values = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
        mesh = mesh_of(values, split=("centre", "diagonal")[seed % 2])
        if len(mesh):
            report = check(mesh)
            assert report.manifold, f"seed {seed}: {report}"
            assert report.inverted_edges == 0
            assert report.unused_vertices == 0


def test_without_the_rule_for_ambiguous_faces_noise_is_not_manifold(kernels: ModuleType) -> None:
    """The test above can fail: the checker sees four faces on an edge."""
    faces = torch.tensor([[0, 1, 2], [1, 0, 3], [0, 1, 4], [1, 0, 5]], dtype=torch.int32)
    assert not check(Mesh(torch.rand(6, 3), faces)).manifold


@pytest.mark.parametrize("split", ["centre", "diagonal"])
def test_sphere_and_torus(split: str) -> None:
    points = grid_points((33, 33, 33), (-1,) * 3, (1 / 16,) * 3)
    place = {"origin": (-1,) * 3, "spacing": (1 / 16,) * 3}
    sphere = mesh_of((points.norm(dim=-1) - 0.6).contiguous(), split=split, **place)
    report = check(sphere, intersections=True)
    assert (report.watertight, report.euler, report.parts, report.self_intersections) == (True, 2, 1, 0)
    assert sphere.volume == pytest.approx(4 / 3 * math.pi * 0.6**3, rel=0.03)  # positive: wound outwards
    assert float((sphere.vertices.norm(dim=1) - 0.6).abs().mean()) < 0.1 / 16
    ring = check(mesh_of(torus(points, 0.55, 0.25).contiguous(), split=split, **place))
    assert (ring.watertight, ring.euler, ring.parts) == (True, 0, 1)


def test_scaled_values_give_the_same_mesh() -> None:
    values = closed_noise(7, 0)
    a, b = flexicubes(values), flexicubes(4 * values)
    assert torch.equal(a.faces, b.faces)
    torch.testing.assert_close(a.vertices, b.vertices)


def test_threads_do_not_change_bits(threads: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(21, 20, 19, generator=generator)
    weights = torch.randn(20 * 19 * 18, ops.WEIGHTS, generator=generator)
    deformation = torch.randn(21, 20, 19, 3, generator=generator)
    results = []
    for n in (1, 2, 5):
        threads(n)
        given = [t.clone().requires_grad_() for t in (values, weights, deformation)]
        mesh = flexicubes(given[0], weights=given[1], deformation=given[2])
        loss = (mesh.vertices**2).sum() + mesh.deviation.sum()
        results.append((mesh.vertices.detach(), mesh.faces, *torch.autograd.grad(loss, given)))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other))


def test_extreme_values_stay_finite() -> None:
    values = closed_noise(6, 1)
    for scale in (1e-40, 1e-20, 1e20, 3e37):
        given = (values * scale).requires_grad_()
        mesh = flexicubes(given, weights=torch.full((125, 21), 50.0))
        assert torch.isfinite(mesh.vertices).all()
        mesh.vertices.sum().backward()
    zeros = values.clone()
    zeros[zeros > 0] = 0.0
    assert torch.isfinite(flexicubes(zeros).vertices).all()


@pytest.mark.parametrize(("change", "word"), [
    ({"values": torch.zeros(1, 2, 2)}, "2 or more"), ({"values": torch.zeros(3, 3)}, "values"),
    ({"values": torch.full((2, 2, 2), torch.nan)}, "finite"),
    ({"values": torch.zeros(2, 2, 2, dtype=torch.int32)}, "values"),
    ({"weights": torch.zeros(2, 21)}, "weights"), ({"deformation": torch.zeros(2, 2, 2, 2)}, "deformation"),
    ({"weights": torch.zeros(1, 21, dtype=torch.float64)}, "weights"), ({"spacing": (1, 0, 1)}, "spacing"),
    ({"split": "middle"}, "split"), ({"origin": (0, math.inf, 0)}, "origin"),
    ({"values": torch.zeros(4, 4, 4)[::2, ::2, ::2]}, "contiguous"),
])  # fmt: skip
def test_bad_arguments_are_named(change: dict[str, Any], word: str) -> None:
    with pytest.raises((TypeError, ValueError), match=word):
        flexicubes(**({"values": torch.randn(2, 2, 2)} | change))
