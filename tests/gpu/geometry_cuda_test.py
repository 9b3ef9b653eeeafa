"""CUDA drivers of nearest points, distances to triangles, depth fusion and robust depth on the executor."""

from __future__ import annotations

import os
from types import ModuleType
from typing import Any

import pytest
import torch
from pretend import CUDA, Pretended, pretended_gpu
from tiny_capture import Fixed, camera_at, random_gaussians
from torch import Tensor

from recon.ops import cuda, knn, splat_depth, sweep, triangles, tsdf
from recon.ops.splat import Projection, project
from recon.renderers.splat import SplatRenderer
from recon.types import Camera

REAL = os.environ.get("RECON_TEST_DEVICE") == "cuda"
PRETENDED = pytest.mark.skipif(REAL, reason="needs the executor")
KNN = list(knn.examples())


def _same(mine: Tensor, theirs: Tensor) -> bool:
    """To the bit on the executor; a GPU joins products and sums, so that a number in a hundred may fall otherwise."""
    if not REAL:
        return torch.equal(mine, theirs)
    close = torch.isclose(mine.double(), theirs.double(), rtol=1e-5, atol=1e-5)
    return mine.shape == theirs.shape and (not close.numel() or float(close.double().mean()) > 0.99)


@pytest.mark.parametrize("case", range(len(KNN)))
def test_nearest_others_are_those_of_all_pairs(executor: ModuleType, monkeypatch: pytest.MonkeyPatch,
                                               case: int) -> None:
    cpu, exact = knn.nearest_squared(**KNN[case]), knn.reference(**KNN[case])
    monkeypatch.setattr(cuda, "kernels_for", lambda t: executor)
    for order in (0, 5):
        executor.set_order(order)
        found = knn.nearest_squared(**KNN[case])
        torch.testing.assert_close(found, cpu, rtol=1e-6, atol=0)
        torch.testing.assert_close(found.double(), exact, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize(("queries", "count", "k"), [(1, 1, 1), (130, 300, 3), (7, 129, 17), (5, 128, 64), (3, 0, 2)])
def test_nearest_names_the_points(executor: ModuleType, monkeypatch: pytest.MonkeyPatch, queries: int, count: int,
                                  k: int) -> None:
    generator = torch.Generator().manual_seed(count)
    query, points = torch.randn(queries, 3, generator=generator), torch.randn(count, 3, generator=generator)
    squared, index = knn.nearest(query, points, k)
    monkeypatch.setattr(cuda, "kernels_for", lambda t: executor)
    found, name = knn.nearest(query, points, k)
    torch.testing.assert_close(found, squared, rtol=1e-6, atol=0)
    assert _same(name, index)  # no two distances of random points are the same


@pytest.mark.parametrize("case", list(triangles.examples()), ids=lambda e: f"{len(e['faces'])} faces")
def test_distances_to_triangles(executor: ModuleType, monkeypatch: pytest.MonkeyPatch, case: dict[str, Tensor]) -> None:
    def asked() -> list[Tensor]:
        mesh = triangles.Triangles(case["vertices"], case["faces"])
        return [*mesh.closest(case["points"]), mesh.winding(case["points"]), mesh.distance(case["points"])]

    cpu = asked()
    monkeypatch.setattr(cuda, "kernels_for", lambda t: executor)
    for order in (0, 5):
        executor.set_order(order)
        for mine, theirs in zip(asked(), cpu, strict=True):
            assert _same(mine, theirs)  # the same code walks the same tree, in double precision
    assert len(case["faces"]) < 4 or float(cpu[2].abs().max()) > 0.01


def test_depth_is_fused_as_on_the_cpu(executor: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def fused() -> list[tsdf.Volume]:
        out = []
        for example in tsdf.examples():
            for _ in range(2):
                tsdf.fuse_depth_(**example)
            out.append(example["volume"])
        return out

    cpu = fused()
    monkeypatch.setattr(cuda, "kernels_for", lambda t: executor)
    for order in (0, 5):
        executor.set_order(order)
        for mine, theirs in zip(fused(), cpu, strict=True):
            assert float(theirs.weight.max()) == 2
            for name in ("distance", "weight", "colour", "colour_weight"):
                assert _same(getattr(mine, name), getattr(theirs, name)), name


def test_planes_are_swept_as_on_the_cpu(executor: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = [sweep.correlations(**example) for example in sweep.examples()]
    monkeypatch.setattr(cuda, "kernels_for", lambda t: executor)
    for order in (0, 5):
        executor.set_order(order)
        for theirs, example in zip(cpu, sweep.examples(), strict=True):
            assert _same(sweep.correlations(**example), theirs)


def _splats(n: int, width: int, height: int) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(n)
    rows = (torch.randn(n, 3, generator=g) * 0.4, torch.randn(n, 3, generator=g) * 0.5 - 1.5,
            torch.randn(n, 4, generator=g), torch.randn(n, generator=g) + 1)
    pose = torch.eye(4, dtype=torch.float64)
    pose[2, 3] = -3.0
    at = Camera(width, height, torch.tensor([40.0, 41.0, width / 2, height / 2]), pose)
    records = project(*rows, torch.zeros(n, 3), torch.zeros(n, 0, 3), at, Projection(0))
    return records, splat_depth.depth_slopes(*rows[:3], at)


@pytest.mark.parametrize(("n", "width", "height"), [(0, 5, 4), (1, 8, 8), (60, 37, 29), (300, 33, 17)])
@pytest.mark.parametrize("middle", [splat_depth.MIDDLE, (0.0, 1.0)])
def test_robust_depth(executor: ModuleType, monkeypatch: pytest.MonkeyPatch, n: int, width: int, height: int,
                      middle: tuple[float, float]) -> None:
    records, slopes = _splats(n, width, height)
    cpu = splat_depth.splat_depth(records, slopes, width, height, middle)
    exact = splat_depth.reference(records.double(), slopes.double(), width, height, middle)
    monkeypatch.setattr(cuda, "kernels_for", lambda t: executor)
    for order in (0, 5):
        executor.set_order(order)
        found = splat_depth.splat_depth(records, slopes, width, height, middle)
        for mine, theirs, true, tolerance in zip(found, cpu, exact, (2e-4, 5e-3), strict=True):
            torch.testing.assert_close(mine, theirs, atol=tolerance, rtol=0)
            torch.testing.assert_close(mine.double(), true, atol=tolerance, rtol=0)
    assert n < 2 or float((cpu[0] > 0).float().mean()) > 0.3


@PRETENDED
@pytest.mark.usefixtures("gpu")
def test_surfaces_of_gaussians_are_drawn_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    truth, camera = random_gaussians(), camera_at(0.3)

    def drawn(field: Any) -> Any:
        with torch.no_grad():
            return SplatRenderer().render(field, camera, want=("rgb", "surface", "spread"))

    cpu = drawn(Fixed(truth))
    with pretended_gpu():
        moved = type(truth)(*(getattr(truth, n).to(CUDA) for n in ("means", "log_scales", "quaternions", "logits",
                                                                   "sh")))
        ours = drawn(Fixed(moved))
        assert isinstance(ours.surface, Pretended)
        torch.testing.assert_close(ours.surface.cpu(), cpu.surface, atol=2e-4, rtol=0)
        torch.testing.assert_close(ours.spread.cpu(), cpu.spread, atol=5e-3, rtol=0)
    assert float(cpu.surface.max()) > 0


@PRETENDED
@pytest.mark.usefixtures("gpu")
def test_ops_take_tensors_on_a_gpu() -> None:
    case = list(triangles.examples())[-1]
    example = next(tsdf.examples())
    cpu = triangles.Triangles(case["vertices"], case["faces"]).distance(case["points"])
    near = knn.nearest(case["points"], case["vertices"], 2)
    volume: tsdf.Volume = example["volume"]
    with pretended_gpu():
        there = {n: t.to(CUDA) for n, t in case.items()}
        mesh = triangles.Triangles(there["vertices"], there["faces"])
        assert torch.equal(mesh.distance(there["points"]).cpu(), cpu)
        found = knn.nearest(there["points"], there["vertices"], 2)
        assert torch.equal(found[1].cpu(), near[1])
        other = tsdf.Volume.empty(volume.distance.shape, volume.origin, volume.spacing, CUDA)
        tsdf.fuse_depth_(other, example["depth"].to(CUDA), example["rgb"].to(CUDA), example["camera"],
                         truncation=example["truncation"])
        with pytest.raises(ValueError, match="depth must be on cuda"):
            tsdf.fuse_depth_(other, example["depth"], example["rgb"], example["camera"], truncation=0.1)
        weight = other.weight.cpu()
    tsdf.fuse_depth_(**example)
    assert torch.equal(weight, volume.weight)


def test_wrong_arguments_are_refused(executor: ModuleType) -> None:
    points, out = torch.zeros(4, 3), torch.zeros(4, 2)
    nothing = torch.zeros(0, dtype=torch.uint8)
    with pytest.raises(ValueError, match=r"outputs must be \[n, k\]"):
        executor.nearest_others(points, torch.zeros(3, 2), 0)
    with pytest.raises(ValueError, match="same shape"):
        executor.nearest(points, points, out, torch.zeros(4, 3, dtype=torch.int32), 0)
    with pytest.raises(ValueError, match="parts of a tree"):
        executor.triangles_winding(torch.zeros(5, dtype=torch.uint8), nothing, nothing, points, torch.zeros(4), 0)
