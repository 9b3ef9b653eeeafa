"""Local Newton steps of Gaussians: the fused pass against dense algebra in double precision, and its contract."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import ModuleType

import pytest
import torch
from torch import Tensor

from recon.ops import splat, splat_normal
from recon.ops.splat import RADIUS, project
from recon.ops.splat_newton import SplatCurvature, curvature_of, project_backward_newton_
from recon.ops.splat_normal import BLOCK, SplatBlocks
from recon.ops.splat_reference import Example, examples

EXAMPLES = {e.name: e for e in examples()}
NAMES = ["degree 0", "degree 1 of 3", "degree 3", "1 elements", "17 elements", "outside", "behind and near",
         "antialiased"]
RATE, KEEP, MOST = 0.07, 0.4, 0.05


@pytest.fixture
def face(kernels: ModuleType, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    for module in (splat, splat_normal):
        monkeypatch.setattr(module, "native", kernels)
    return kernels


def _random(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _matrices(n: int) -> Tensor:
    """[n, 11, 11] symmetric positive definite."""
    a = _random(3, n, 11, 15).double()
    return a @ a.mT / 15


def _case(example: Example) -> tuple[list[Tensor], list[Tensor], SplatBlocks, list[Tensor], Tensor, Tensor, Tensor]:
    """Parameters, momentum, blocks and diagonal of some curvature, weights, records and their gradient."""
    rows = list(example.rows(torch.float32).values())
    records = project(*rows, camera=example.camera, settings=example.settings)
    n, lower = len(records), torch.tril_indices(11, 11)
    blocks, H = SplatBlocks(n), _matrices(n)
    blocks.values = H[:, lower[0], lower[1]].float().contiguous()
    d = H.diagonal(dim1=1, dim2=2).float()
    diagonal = [d[:, :3], d[:, 3:6], d[:, 6:10], d[:, 10], *(1 + _random(4, *r.shape).abs() for r in rows[4:])]
    momentum = [0.1 * _random(5, *r.shape) for r in rows]
    return (rows, momentum, blocks, [x.contiguous() for x in diagonal], 0.2 + torch.rand(n), records,
            _random(6, *records.shape))


def _step(example: Example, rows: list[Tensor], momentum: list[Tensor], curvature: SplatCurvature, records: Tensor,
          g_records: Tensor, most: float = MOST, **extra: Tensor) -> int:
    return project_backward_newton_(rows, momentum, curvature, example.camera, example.settings, records, g_records,
                                    rate=RATE, keep=KEEP, most=most, **extra)


def _gradients(example: Example, rows: list[Tensor], g_records: Tensor) -> list[Tensor]:
    leaves = [r.clone().requires_grad_() for r in rows]
    project(*leaves, camera=example.camera, settings=example.settings).backward(g_records)
    return [x.grad for x in leaves]  # type: ignore[misc]


@pytest.mark.parametrize("most", [MOST, 1e6], ids=["bounded", "free"])
@pytest.mark.parametrize("name", NAMES)
def test_fused_step_is_that_of_dense_algebra(name: str, most: float, face: ModuleType) -> None:
    example = EXAMPLES[name]
    rows, momentum, blocks, diagonal, weights, records, g_records = _case(example)
    drawn = records[:, RADIUS] > 0
    extra = {"extra_log_scales": _random(8, *rows[1].shape), "extra_logits": _random(9, *rows[3].shape)}
    g = _gradients(example, rows, g_records)
    g[1], g[3] = g[1] + extra["extra_log_scales"], g[3] + extra["extra_logits"]
    m = [KEEP * a.double() + (1 - KEEP) * b.double() for a, b in zip(momentum, g)]
    w, share, floor = weights.double(), 0.3, 0.2
    added = [share * d.double().clamp_min(floor * float(d.double().mean())) if d.numel() else d for d in diagonal]
    system = _matrices(len(rows[0])) + torch.diag_embed(torch.cat([a.view(len(w), -1) for a in added[:4]], 1))
    flat = torch.cat([x.view(len(w), -1) for x in m[:4]], 1)
    solved = torch.linalg.solve(system * w[:, None, None], flat[..., None])[..., 0]
    steps = [solved[:, :3], solved[:, 3:6], solved[:, 6:10], solved[:, 10],
             m[4] / (w.view(-1, 1) * (diagonal[4] + added[4])),
             m[5] / (w.view(-1, 1, 1) * (diagonal[5] + added[5]))]
    limits = [most * rows[1].double().exp().amax(1, keepdim=True), most, most * rows[2].norm(dim=1, keepdim=True),
              2 * most, most, most / 4]
    before, was = [r.clone() for r in rows], [x.clone() for x in momentum]
    curvature = curvature_of(blocks, diagonal, weights, damping=share, floor=floor)
    assert _step(example, rows, momentum, curvature, records, g_records, most, **extra) == 0
    cut = 0
    for k in range(6):
        limit = torch.as_tensor(limits[k], dtype=torch.float64)
        bounded = torch.maximum(torch.minimum(RATE * steps[k], limit), -limit)
        cut += int((bounded != RATE * steps[k]).sum())
        want = torch.where(drawn.view(-1, *[1] * (rows[k].dim() - 1)), (before[k] - bounded).float(), before[k])
        assert (rows[k] - want).abs().sum() <= 1e-3 * (want - before[k]).abs().sum() + 1e-5 * want.abs().sum()
        assert torch.equal(rows[k][~drawn], before[k][~drawn])
        assert torch.equal(momentum[k][~drawn], was[k][~drawn])
        torch.testing.assert_close(momentum[k][drawn], m[k].float()[drawn], rtol=1e-4, atol=1e-5)
        if rows[k].numel() and bool(drawn.any()):
            assert (rows[k] != before[k])[drawn].any()
    assert (cut > 0) == (most == MOST and bool(drawn.any()))


def test_what_is_not_finite_is_left_alone(face: ModuleType) -> None:
    example = EXAMPLES["17 elements"]
    rows, momentum, blocks, diagonal, weights, records, g_records = _case(example)
    drawn = (records[:, RADIUS] > 0).nonzero().squeeze(1)
    bad = drawn[:2]
    g_records[bad[0], 0], g_records[bad[1], 6] = math.nan, math.inf
    before = [t.clone() for t in (*rows, *momentum)]
    curvature = curvature_of(blocks, diagonal, weights, damping=0.3, floor=0.1)
    assert _step(example, rows, momentum, curvature, records, g_records) == 2
    for now, was in zip((*rows, *momentum), before):
        assert torch.isfinite(now).all()
        assert torch.equal(now[bad], was[bad])
        assert now.numel() == 0 or (now != was)[drawn[2:]].any()


def test_threads_and_repeats_give_the_same_bits(face: ModuleType, threads: Callable[[int], None]) -> None:
    example, found = EXAMPLES["crowded"], []
    for count in (1, 2, 2):
        threads(count)
        rows, momentum, blocks, diagonal, weights, records, g_records = _case(example)
        weights = torch.linspace(0.2, 1.0, len(weights))
        _step(example, rows, momentum, curvature_of(blocks, diagonal, weights, damping=0.3, floor=0.1), records,
              g_records)
        found.append(torch.cat([t.flatten() for t in (*rows, *momentum)]))
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[1], found[2])


@pytest.mark.parametrize("which", ["rows", "momentum", "factors", "sh0", "records", "g_records"])
@pytest.mark.parametrize("kind", ["dtype", "strided", "shape"])
def test_never_updates_a_copy(which: str, kind: str, face: ModuleType) -> None:
    example = EXAMPLES["17 elements"]
    rows, momentum, blocks, diagonal, weights, records, g_records = _case(example)
    curvature = curvature_of(blocks, diagonal, weights, damping=0.3, floor=0.1)

    def spoil(t: Tensor) -> Tensor:
        return {"dtype": t.double(), "strided": torch.stack([t, t], -1)[..., 0], "shape": t[:-1]}[kind]

    if which == "rows":
        rows[1] = spoil(rows[1])
    elif which == "momentum":
        momentum[1] = spoil(momentum[1])
    elif which in ("factors", "sh0"):
        setattr(curvature, which, spoil(getattr(curvature, which)))
    elif which == "records":
        records = spoil(records)
    else:
        g_records = spoil(g_records)
    with pytest.raises((TypeError, ValueError)):
        _step(example, rows, momentum, curvature, records, g_records)


def test_no_gaussians(face: ModuleType) -> None:
    example = EXAMPLES["degree 0"]
    rows = [r[:0].contiguous() for r in example.rows(torch.float32).values()]
    curvature = SplatCurvature(torch.zeros(0, BLOCK), torch.zeros(0, 3), rows[5].clone())
    assert _step(example, rows, [r.clone() for r in rows], curvature, torch.zeros(0, 12), torch.zeros(0, 12)) == 0
