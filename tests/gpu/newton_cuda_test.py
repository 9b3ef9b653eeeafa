"""The CUDA driver of local Newton steps on the executor, against the CPU kernel."""

from __future__ import annotations

import os
from types import ModuleType

import pytest
import torch
from torch import Tensor

from recon.ops import splat_newton
from recon.ops.splat import RADIUS, Projection, project
from recon.ops.splat_newton import SplatCurvature, curvature_of, project_backward_newton_
from recon.ops.splat_normal import BLOCK, SplatBlocks
from recon.ops.splat_normal_cuda import NormalKernels
from recon.ops.splat_reference import PARAMETERS, Example, cloud, turned_camera

pytestmark = pytest.mark.skipif(os.environ.get("RECON_TEST_DEVICE") == "cuda",
                                reason="the executor takes the place of the CPU kernels")
BAD = 7  # row with a gradient that is not finite


def _random(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _example(degree: int) -> Example:
    camera = turned_camera(40, 30, 30, 30)
    return Example("newton", cloud(camera, 300, 3, degree=3, pixels=(0.5, 5), logits=(-2, 2)), camera,
                   Projection(degree, antialiased=degree % 2 == 1))


def _curvature(rows: list[Tensor]) -> SplatCurvature:
    n, lower = len(rows[0]), torch.tril_indices(11, 11)
    half = _random(3, n, 11, 15)
    blocks = SplatBlocks(n)
    blocks.values = (half @ half.mT / 15)[:, lower[0], lower[1]].contiguous()
    diagonal = [1 + _random(4 + i, *r.shape).abs() for i, r in enumerate(rows)]
    return curvature_of(blocks, diagonal, torch.linspace(0.2, 1.0, n), damping=0.3, floor=0.1)


@pytest.mark.parametrize("most", [0.02, 1e6], ids=["bounded", "free"])
@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_a_step_agrees_with_the_processor(executor: ModuleType, degree: int, most: float,
                                          monkeypatch: pytest.MonkeyPatch) -> None:
    example, results = _example(degree), []
    before = [example.rows(torch.float32)[k].contiguous() for k in PARAMETERS]
    with torch.no_grad():
        records = project(*before, camera=example.camera, settings=example.settings)
    assert records[BAD, RADIUS] > 0
    records[::5] = 0  # as if these were not drawn
    g_records = _random(5, *records.shape)
    g_records[BAD] = float("nan")
    extra = {"extra_log_scales": _random(6, *before[1].shape), "extra_logits": _random(7, *before[3].shape)}
    was = [0.1 * _random(8 + i, *r.shape) for i, r in enumerate(before)]
    for on_executor in (False, True):
        rows, momentum = [r.clone() for r in before], [m.clone() for m in was]
        with monkeypatch.context() as m:
            if on_executor:
                kernels = NormalKernels(executor)
                m.setattr(splat_newton, "_kernel_of", lambda _, name, k=kernels: getattr(k, name))
            refused = project_backward_newton_(rows, momentum, _curvature(before), example.camera, example.settings,
                                               records, g_records, rate=0.07, keep=0.4, most=most, **extra)
        assert isinstance(refused, Tensor) == on_executor
        assert int(refused) == 1
        results.append([*rows, *momentum])
    still = records[:, RADIUS] == 0
    still[BAD] = True
    for i, (cpu, ours) in enumerate(zip(*results)):
        old = [*before, *was][i]
        torch.testing.assert_close(ours, cpu, rtol=2e-4, atol=2e-5)
        assert torch.equal(ours[still], old[still])
        if i % 6 != 5 or degree > 0:
            assert float((ours - cpu).norm()) < 1e-3 * float((cpu - old).norm())
            assert (ours != old)[~still].any()


def test_wrong_shapes_are_refused(executor: ModuleType) -> None:
    example = _example(1)
    rows = [example.rows(torch.float32)[k].contiguous() for k in PARAMETERS]
    n, none = len(rows[0]), torch.empty(0)
    records, curvature = torch.zeros(n, 12), _curvature(rows)

    def step(momentum: list[Tensor], factors: Tensor, extra: Tensor) -> None:
        NormalKernels(executor).splat_project_backward_newton(
            rows, momentum, factors, curvature.sh0, curvature.sh_rest, torch.zeros(23, dtype=torch.float64), 1, False,
            records, records, extra, none, 0.5, 0.1, 0.02)

    with pytest.raises(ValueError, match="shapes of the parameters"):
        step([*rows[:5], rows[5][:, :4].contiguous()], curvature.factors, none)
    with pytest.raises(ValueError, match="rows of the parameters"):
        step(rows, torch.empty(n, BLOCK - 1), none)
    with pytest.raises(ValueError, match="extra gradients"):
        step(rows, curvature.factors, torch.empty(n, 2))
