"""CUDA drivers of FlexiCubes on the executor, against the CPU kernels and double precision."""

from __future__ import annotations

import os
from contextlib import nullcontext
from types import ModuleType
from typing import Any

import pytest
import torch
from pretend import CUDA, WAITS, pretended_gpu
from torch import Tensor

from recon.ops import cuda
from recon.ops import room as rooms
from recon.ops.flexicubes import (
    FlexibleMesh,
    dual_topology,
    examples,
    flexicubes,
    reference_sign_change_loss,
    sign_change_loss,
)
from recon.ops.marching_cubes import marching_cubes, marching_cubes_edges
from recon.ops.room import Room

PRETENDED = pytest.mark.skipif(os.environ.get("RECON_TEST_DEVICE") == "cuda", reason="needs the executor")
CASES = list(examples())


def _mesh(case: dict[str, Any], dtype: torch.dtype) -> list[Tensor]:
    """Vertices, deviation, and the gradients of all that a mesh is made of; signs of single precision."""
    topology = dual_topology(case["values"])
    leaves = {k: v.to(dtype).requires_grad_() for k, v in case.items() if isinstance(v, Tensor)}
    mesh = flexicubes(**(case | leaves), topology=topology)
    generator = torch.Generator().manual_seed(1)
    along = torch.randn(mesh.vertices.shape, generator=generator).to(dtype)
    loss = (mesh.vertices * along).sum() + (mesh.deviation * torch.linspace(1, 2, len(mesh.deviation)).to(dtype)).sum()
    gradients = torch.autograd.grad(loss, list(leaves.values()))
    return [mesh.vertices.detach(), mesh.deviation.detach(), *gradients]


def _away(a: Tensor, exact: Tensor) -> float:
    """Relative distance of whole tensors; 0 / 0 is 0."""
    size, away = float(exact.double().norm()), float((a.double() - exact.double()).norm())
    return away / size if size > 0 else away


@pytest.mark.parametrize("case", range(len(CASES)))
def test_meshes_agree(executor: ModuleType, monkeypatch: pytest.MonkeyPatch, case: int) -> None:
    cpu, exact = _mesh(CASES[case], torch.float32), _mesh(CASES[case], torch.float64)
    monkeypatch.setattr(cuda, "kernels_for", lambda t: executor)
    results = []
    for order in (0, 1, 5):
        executor.set_order(order)
        results.append(_mesh(CASES[case], torch.float32))
    for mine, theirs, true in zip(results[0], cpu, exact, strict=True):
        assert torch.isfinite(mine).all()
        assert _away(mine, true) < 2 * _away(theirs, true) + 1e-5
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(other, results[0], strict=True))
    assert case < 3 or all(float(t.abs().sum()) > 0 for t in results[0] if t.numel())


def _all_patterns() -> Tensor:
    """Every sign pattern of two cubes that share a face, 12 corners, in rows apart from each other."""
    bits = torch.arange(4096)[:, None] >> torch.arange(12) & 1
    return torch.where(bits > 0, -1.0, 1.0).view(4096, 2, 2, 3)


@pytest.mark.parametrize("case", range(len(CASES)))
def test_the_topology_is_that_of_the_cpu(executor: ModuleType, monkeypatch: pytest.MonkeyPatch, case: int) -> None:
    values = CASES[case]["values"]
    cpu = dual_topology(values)
    monkeypatch.setattr(cuda, "kernels_for", lambda t: executor)
    for order in (0, 1, 5):
        executor.set_order(order)
        found = dual_topology(values)
        assert torch.equal(found.cube, cpu.cube)
        assert torch.equal(found.members.view(torch.int16), cpu.members.view(torch.int16))
        assert torch.equal(found.quads, cpu.quads)
    assert case < 3 or len(cpu.quads) > 10


def test_the_topology_of_every_pair_of_cubes(executor: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """All patterns at once, inside of one grid whose other values are drawn at random."""
    values = torch.randn(34, 34, 97, generator=torch.Generator().manual_seed(4))
    patterns = _all_patterns().view(16, 16, 16, 2, 2, 3)
    for i in range(16):
        for j in range(16):
            for k in range(16):
                values[1 + 2 * i:3 + 2 * i, 1 + 2 * j:3 + 2 * j, 6 * k:6 * k + 3] = patterns[i, j, k]
    cpu = dual_topology(values)
    monkeypatch.setattr(cuda, "kernels_for", lambda t: executor)
    found = dual_topology(values)
    assert torch.equal(found.cube, cpu.cube)
    assert torch.equal(found.members.view(torch.int16), cpu.members.view(torch.int16))
    assert torch.equal(found.quads, cpu.quads)


@pytest.mark.parametrize("shape", [(2, 2, 2), (3, 4, 5), (9, 8, 7), (6, 3, 17), (18, 17, 16)])
@pytest.mark.parametrize("holes", [False, True])
def test_marching_cubes_are_those_of_the_cpu(executor: ModuleType, monkeypatch: pytest.MonkeyPatch,
                                             shape: tuple[int, int, int], holes: bool) -> None:
    generator = torch.Generator().manual_seed(6)
    values = torch.randn(shape, generator=generator)
    known = (torch.rand(shape, generator=generator) < 0.95).to(torch.uint8) if holes else None
    place = {"origin": (-1.0, 0.5, 2.0), "spacing": (0.5, 0.25, 1.5)}
    cpu, edges = marching_cubes(values, known=known, **place), marching_cubes_edges(values, known=known)
    monkeypatch.setattr(cuda, "kernels_for", lambda t: executor)
    for order in (0, 1, 5):
        executor.set_order(order)
        found, other = marching_cubes(values, known=known, **place), marching_cubes_edges(values, known=known)
        for mine, theirs in zip((*found, *other), (*cpu, *edges), strict=True):
            assert torch.equal(mine, theirs)
            assert mine.dtype == theirs.dtype
    assert len(cpu[1]) > 0


@PRETENDED
@pytest.mark.usefixtures("gpu")
def test_meshes_of_values_on_a_gpu() -> None:
    values = torch.randn(7, 8, 9, generator=torch.Generator().manual_seed(7))
    known = torch.ones(7, 8, 9, dtype=torch.uint8)
    cpu, topology = marching_cubes(values, known=known), dual_topology(values)
    with pretended_gpu():
        there = values.to(CUDA)
        vertices, faces = marching_cubes(there, known=known.to(CUDA))
        assert torch.equal(vertices.cpu(), cpu[0])
        assert torch.equal(faces.cpu(), cpu[1])
        assert torch.equal(dual_topology(there).quads.cpu(), topology.quads)


def _mesh_in(room: Room | None, case: dict[str, Any]) -> tuple[FlexibleMesh, list[Tensor]]:
    """The mesh on a pretended GPU, and the gradients of a function of its vertices and deviations."""
    leaves = {k: v.to(CUDA).requires_grad_() for k, v in case.items() if isinstance(v, Tensor)}
    with nullcontext() if room is None else room.opened():
        mesh = flexicubes(**(case | leaves))
    loss = mesh.vertices.square().sum() + (mesh.deviation * mesh.deviation.detach()).sum()
    return mesh, [g.cpu() for g in torch.autograd.grad(loss, list(leaves.values()))]


@PRETENDED
@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("case", [3, 4, 6, 8])
def test_rows_behind_the_last_vertex_and_quad_change_no_bit(monkeypatch: pytest.MonkeyPatch, case: int) -> None:
    monkeypatch.setattr(rooms, "_UNIT", 1)
    with pretended_gpu():
        exact, gradients = _mesh_in(None, CASES[case])
        v, q = len(exact.topology.cube), len(exact.topology.quads)
        room = Room()
        room.sizes.update(vertices=v + 300, quads=q + 70)
        before = len(WAITS)
        mesh, others = _mesh_in(room, CASES[case])
        assert not [w for w in WAITS[before:] if "_to_copy" not in w]  # but for the gradients, which the test reads
        assert all(torch.equal(a, b) for a, b in zip(others, gradients, strict=True))
        counted = mesh.topology.counted()
        assert counted is not None
        assert torch.equal(counted.cpu(), torch.arange(v + 300) < v)
        assert torch.equal(mesh.vertices.cpu()[:v], exact.vertices.cpu()[:v])
        assert (mesh.vertices.cpu()[v:v + 300] == 0).all()
        assert (mesh.topology.quads.cpu()[q:] == -1).all()
        per_quad = len(exact.faces) // q
        faces = mesh.faces.cpu()
        shifted = torch.where(faces >= v + 300, faces - 300, faces)  # vertices in the middle of quads come last
        assert torch.equal(shifted[: per_quad * q], exact.faces.cpu())
        corners = mesh.vertices.detach().cpu()[faces[per_quad * q:].long()]
        assert (torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]) == 0).all()
        assert not room.lost(wait=True)


@PRETENDED
@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize(("vertices", "quads"), [(1, 1), (1, 500), (500, 1), (40, 30)])
def test_lists_that_are_too_short_are_cut_off(monkeypatch: pytest.MonkeyPatch, vertices: int, quads: int) -> None:
    monkeypatch.setattr(rooms, "_UNIT", 1)
    case = CASES[6]
    exact = dual_topology(case["values"])
    assert vertices < len(exact.cube)
    room = Room()
    room.sizes.update(vertices=vertices, quads=quads)
    with pretended_gpu():
        mesh, gradients = _mesh_in(room, case)
        assert torch.equal(mesh.topology.cube.cpu(), exact.cube[:vertices])
        expected = torch.full((quads, 4), -1, dtype=torch.int32)
        kept = min(quads, len(exact.quads))
        whole = (exact.quads[:kept] < vertices).all(1)
        expected[:kept] = torch.where(whole[:, None], exact.quads[:kept], -1)
        assert torch.equal(mesh.topology.quads.cpu(), expected)
        assert all(torch.isfinite(g).all() for g in gradients)
        assert room.lost(wait=True) == 1
        assert room.sizes["vertices"] >= len(exact.cube)


@pytest.mark.parametrize("shape", [(2, 2, 2), (3, 5, 4), (9, 10, 11)])
@pytest.mark.parametrize("shift", [0.0, 10.0])
def test_sign_changes_agree(executor: ModuleType, monkeypatch: pytest.MonkeyPatch, shape: tuple[int, int, int],
                            shift: float) -> None:
    values = torch.randn(shape, generator=torch.Generator().manual_seed(2)) * 3 + shift
    monkeypatch.setattr(cuda, "kernels_for", lambda t: executor)
    leaf, exact = values.clone().requires_grad_(), values.double().requires_grad_()
    loss, true = sign_change_loss(leaf), reference_sign_change_loss(exact)
    (gradient,), (g_true,) = torch.autograd.grad(loss, leaf), torch.autograd.grad(true, exact)
    assert abs(float(loss.detach()) - float(true.detach())) < 1e-6 * max(1, abs(float(true.detach())))
    torch.testing.assert_close(gradient.double(), g_true, rtol=1e-5, atol=1e-8)
    assert shift or gradient.abs().sum() > 0


def test_wrong_arguments_are_refused(executor: ModuleType) -> None:
    raw = torch.zeros(2, 2, 2, 3)
    with pytest.raises(ValueError, match="shape of raw"):
        executor.deform_grid(raw, (0, 0, 0), (1, 1, 1), torch.zeros(2, 2, 2, 2), 0)
    ends, totals = torch.zeros(1, dtype=torch.int32), torch.zeros(2, dtype=torch.int32)
    scratch = torch.zeros(executor.topology_scratch(2, 2, 2), dtype=torch.uint8)
    with pytest.raises(ValueError, match="tables"):
        executor.topology_count(torch.zeros(2, 2, 2), torch.zeros(5, dtype=torch.uint8),
                                torch.zeros(1, dtype=torch.int16), ends, torch.zeros(24, dtype=torch.int32), totals,
                                scratch, 0)
    with pytest.raises(ValueError, match="scratch"):
        executor.sign_change(raw[..., 0].contiguous(), torch.zeros(2, 2, 2), torch.zeros(1).double(),
                             torch.zeros(1).double(), 0)
