"""CUDA drivers of splatting on the executor, against the CPU kernels and the same in double precision."""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType

import pytest
import torch
from torch import Tensor

from recon.ops import room as rooms
from recon.ops import splat
from recon.ops.room import Room
from recon.ops.splat import DEPTH, RADIUS, Projection, camera_numbers
from recon.ops.splat_cuda import Lists, SplatKernels
from recon.ops.splat_reference import PARAMETERS, Example, cloud, examples, turned_camera

EXAMPLES = {e.name: e for e in examples()}
TILE = 16


def _crowd() -> Example:
    """More Gaussians in a tile than a batch holds, over tiles that the picture's edge cuts, some of them opaque."""
    camera = turned_camera(37, 21, 30, 30)
    return Example("crowd", cloud(camera, 700, 3, degree=2, pixels=(0.5, 9), logits=(-4, 4)), camera, Projection(2))


def _single() -> Example:
    camera = turned_camera(5, 3, 6, 6)
    return Example("single", cloud(camera, 1, 2, degree=1, pixels=(1, 2), logits=(0, 2)), camera, Projection(1))


def _glass() -> Example:
    """So faint that no pixel ends: every batch of every tile counts."""
    camera = turned_camera(35, 18, 30, 30)
    return Example("glass", cloud(camera, 900, 4, degree=1, pixels=(0.5, 9), logits=(-5.2, -3.5)), camera,
                   Projection(1))


CASES = [*EXAMPLES.values(), _crowd(), _glass(), _single()]


def _random(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@dataclass
class Result:
    records: Tensor
    picture: Tensor
    transmittance: Tensor
    g_records: Tensor
    gradients: list[Tensor]


def _on_cpu(example: Example, dtype: torch.dtype, *, depth: bool) -> Result:
    check = dtype == torch.float64
    rows = example.rows(dtype, gradient=True)
    width, height = example.camera.size
    records = splat.project(**rows, camera=example.camera, settings=example.settings, check=check)
    records.retain_grad()
    picture, transmittance = splat.composite(records, width, height, example.background.to(dtype), depth=depth,
                                             absolute=True, check=check)
    loss = (picture * _random(1, *picture.shape).to(dtype)).sum()
    (loss + (transmittance * _random(2, height, width).to(dtype)).sum()).backward()
    assert records.grad is not None
    gradients = [g for k in PARAMETERS if (g := rows[k].grad) is not None]
    return Result(records.detach(), picture.detach(), transmittance.detach(), records.grad, gradients)


def _on_executor(executor: ModuleType, example: Example, *, depth: bool, deterministic: bool = True) -> Result:
    kernels = SplatKernels(executor, deterministic)
    rows = [example.rows(torch.float32)[k].contiguous() for k in PARAMETERS]
    width, height = example.camera.size
    settings, numbers = example.settings, camera_numbers(example.camera, example.settings)
    records = torch.full((len(rows[0]), 12), float("nan"))
    kernels.project(*rows, numbers, settings.degree, settings.antialiased, records)
    picture = torch.full((4 if depth else 3, height, width), float("nan"))
    transmittance = torch.full((height, width), float("nan"))
    lists = Lists()
    kernels.composite(lists, records, width, height, example.background.float(), picture, transmittance)
    g_records = torch.full_like(records, float("nan"))
    kernels.composite_backward(lists, records, picture, transmittance, _random(1, *picture.shape),
                               _random(2, height, width), True, g_records)
    gradients = [torch.full_like(t, float("nan")) for t in rows]
    kernels.project_backward(*rows, numbers, settings.degree, settings.antialiased, records, g_records, *gradients)
    return Result(records, picture, transmittance, g_records, gradients)


def _distance(a: Tensor, exact: Tensor) -> float:
    """Relative distance of whole tensors; 0 / 0 is 0."""
    size = float(exact.double().norm())
    away = float((a.double() - exact.double()).norm())
    return away / size if size > 0 else away


@pytest.mark.parametrize("example", CASES, ids=lambda e: e.name)
def test_agrees_with_the_processor_and_with_double_precision(executor: ModuleType, example: Example) -> None:
    depth = example.name != "degree 3"
    ours, cpu = _on_executor(executor, example, depth=depth), _on_cpu(example, torch.float32, depth=depth)
    exact = _on_cpu(example, torch.float64, depth=depth)
    drawn = cpu.records[:, RADIUS] > 0
    assert torch.equal(ours.records[:, RADIUS] > 0, drawn)
    torch.testing.assert_close(ours.records[drawn], cpu.records[drawn], rtol=2e-5, atol=2e-5)
    # Values: as near to double precision as the CPU's floats are, give or take a pixel on a Gaussian's rim.
    for name in ("picture", "transmittance", "g_records"):
        mine, theirs, true = (getattr(r, name) for r in (ours, cpu, exact))
        assert torch.isfinite(mine).all(), name
        assert _distance(mine, true) < 2 * _distance(theirs, true) + 2e-5, name
    for key, mine, theirs, true in zip(PARAMETERS, ours.gradients, cpu.gradients, exact.gradients):
        assert torch.isfinite(mine).all(), key
        assert _distance(mine, true) < 2 * _distance(theirs, true) + 5e-5, key


def test_gradients_are_there(executor: ModuleType) -> None:
    crowd, glass = (_on_executor(executor, e, depth=True) for e in (_crowd(), _glass()))
    assert (crowd.transmittance < 1e-4).any()  # pixels that end early
    assert (glass.transmittance > 1e-3).all()
    for result in (crowd, glass):
        for key, g in zip(PARAMETERS, result.gradients):
            assert g.abs().sum() > 0, key


def test_order_of_threads_does_not_matter(executor: ModuleType) -> None:
    results = []
    for order in (0, 1, 11):
        executor.set_order(order)
        results.append(_on_executor(executor, _crowd(), depth=True))
    for other in results[1:]:
        for name in ("records", "picture", "transmittance", "g_records"):
            assert torch.equal(getattr(other, name), getattr(results[0], name)), name
        assert all(torch.equal(a, b) for a, b in zip(other.gradients, results[0].gradients))


def test_atomics_give_the_same_sums(executor: ModuleType) -> None:
    fixed = _on_executor(executor, _crowd(), depth=True)
    loose = _on_executor(executor, _crowd(), depth=True, deterministic=False)
    assert _distance(loose.g_records, fixed.g_records) < 1e-5
    assert not torch.equal(loose.g_records, fixed.g_records) or fixed.g_records.abs().sum() == 0


@pytest.mark.parametrize("name", ["crowd", "outside", "behind and near"])
def test_tile_lists_are_complete_sorted_and_tight(executor: ModuleType, name: str) -> None:
    example = next(e for e in CASES if e.name == name)
    width, height = example.camera.size
    records = _on_cpu(example, torch.float32, depth=False).records
    lists = Lists()
    SplatKernels(executor).make_lists(lists, records, width, height)
    across, down = -(-width // TILE), -(-height // TILE)
    x, y = torch.meshgrid(torch.arange(width) + 0.5, torch.arange(height) + 0.5, indexing="xy")
    needed: set[tuple[int, int]] = set()
    for i in (records[:, RADIUS] > 0).nonzero()[:, 0].tolist():
        mx, my, a, b, c = records[i, :5].double().tolist()
        q = 0.5 * (a * (x.double() - mx) ** 2 + c * (y.double() - my) ** 2) + b * (x.double() - mx) * (y.double() - my)
        hit = float(records[i, 5]) * torch.exp(-q) >= 1 / 255
        tiles = ((y[hit] // TILE) * across + x[hit] // TILE).long().unique().tolist()
        needed |= {(t, i) for t in tiles}
    begin = lists.tile_begin.tolist()
    assert begin[0] == 0
    assert begin[-1] == lists.instances == int(lists.begin[-1])
    assert len(begin) == across * down + 1
    found: set[tuple[int, int]] = set()
    for t in range(across * down):
        rows = lists.row[begin[t]:begin[t + 1]].long()
        depths = records[rows, DEPTH]
        assert (depths[1:] >= depths[:-1]).all()
        found |= {(t, int(i)) for i in rows}
    assert len(found) == lists.instances  # none twice
    assert needed <= found
    assert len(found) <= 1.05 * len(needed) + 8  # opacity-aware: hardly a tile too many
    assert sorted(lists.slot.tolist()) == list(range(lists.instances))


def test_too_little_room_is_safe_and_said(executor: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rooms, "_UNIT", 1)
    example, kernels = _crowd(), SplatKernels(executor)
    width, height = example.camera.size
    records = _on_cpu(example, torch.float32, depth=False).records
    exact = Lists()
    kernels.make_lists(exact, records, width, height)
    room = Room()
    room.sizes["tiles"] = exact.instances // 3
    lists, drawn = Lists(), records.clone()
    picture, transmittance = torch.empty(3, height, width), torch.empty(height, width)
    with room.opened(len(records)):
        kernels.composite(lists, drawn, width, height, example.background.float(), picture, transmittance)
    assert lists.instances == exact.instances // 3
    assert (drawn[:, RADIUS] == 0).all()  # the step changes nothing
    g_records = torch.full_like(drawn, float("nan"))
    kernels.composite_backward(lists, drawn, picture, transmittance, _random(1, 3, height, width),
                               _random(2, height, width), False, g_records)
    assert torch.isfinite(g_records).all()
    assert torch.isfinite(picture).all()
    assert room.lost(wait=True) == 1
    assert room.sizes["tiles"] >= exact.instances
    again = records.clone()
    with room.opened(len(records)):
        kernels.make_lists(lists, again, width, height)
    assert room.lost(wait=True) == 0
    assert torch.equal(again, records)
    assert torch.equal(lists.tile_begin, exact.tile_begin)
    assert torch.equal(lists.row[:exact.instances], exact.row)
    assert torch.equal(lists.slot[:exact.instances], exact.slot)


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_update_agrees_with_the_processor(executor: ModuleType, degree: int) -> None:
    camera = turned_camera(40, 30, 30, 30)
    example = Example("update", cloud(camera, 300, 3, degree=3, pixels=(0.5, 5), logits=(-2, 2)), camera,
                      Projection(degree, antialiased=degree % 2 == 1))
    results = []
    for on_executor in (False, True):
        rows = [example.rows(torch.float32)[k].contiguous().clone() for k in PARAMETERS]
        ms = [_random(3 + i, *t.shape) * 1e-3 for i, t in enumerate(rows)]
        vs = [_random(13 + i, *t.shape).square() * 1e-6 for i, t in enumerate(rows)]
        with torch.no_grad():
            records = splat.project(*rows, camera=camera, settings=example.settings)
        g_records = _random(4, len(rows[0]), 12)
        g_records[7] = float("nan")
        extra = _random(5, len(rows[0]), 3), _random(6, len(rows[0]))
        rates = [1e-3, 2e-3, 3e-3, 4e-2, 5e-3, 6e-4]
        if on_executor:
            refused = int(SplatKernels(executor).update(
                rows, ms, vs, rates, camera_numbers(camera, example.settings), degree, example.settings.antialiased,
                records, g_records, *extra, 0.9, 0.999, 1e-15, 5))
        else:
            refused = splat.project_backward_adam_(rows, ms, vs, rates, camera, example.settings, records, g_records,
                                                   step=5, extra_log_scales=extra[0], extra_logits=extra[1])
        assert refused == int(records[7, RADIUS] > 0)
        results.append([*rows, *ms, *vs])
    before = [example.rows(torch.float32)[k] for k in PARAMETERS]
    for i, (cpu, ours) in enumerate(zip(*results)):
        torch.testing.assert_close(ours, cpu, rtol=2e-4, atol=2e-6)
        if i < 5 + (degree > 0):
            assert not torch.equal(ours, before[i])


def test_nothing_to_draw(executor: ModuleType) -> None:
    example = _single()
    for rows in (0, 1):
        records = torch.zeros(rows, 12)  # radius 0
        picture, transmittance, lists = torch.empty(3, 20, 33), torch.empty(20, 33), Lists()
        kernels = SplatKernels(executor)
        kernels.composite(lists, records, 33, 20, example.background.float(), picture, transmittance)
        assert lists.instances == 0
        assert (transmittance == 1).all()
        assert torch.equal(picture, example.background.float()[:, None, None].expand(3, 20, 33))
        g_records = torch.full_like(records, float("nan"))
        kernels.composite_backward(lists, records, picture, transmittance, picture, transmittance, False, g_records)
        assert (g_records == 0).all()


def test_wrong_arguments_are_refused(executor: ModuleType) -> None:
    example = _single()
    rows = [example.rows(torch.float32)[k].contiguous() for k in PARAMETERS]
    numbers = camera_numbers(example.camera, example.settings)
    with pytest.raises(ValueError, match="records"):
        executor.splat_project(rows, numbers, False, 1, False, torch.empty(3, 12), 0)
    with pytest.raises(ValueError, match="SH"):
        executor.splat_project(rows, numbers, False, 3, False, torch.empty(1, 12), 0)
    with pytest.raises(ValueError, match="23"):
        executor.splat_project(rows, numbers[:22].clone(), True, 1, False, torch.empty(1, 12), 0)
    with pytest.raises(TypeError):
        executor.splat_project([t.double() for t in rows], numbers, False, 1, False, torch.empty(1, 12), 0)
