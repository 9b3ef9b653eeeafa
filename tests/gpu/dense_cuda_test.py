"""CUDA drivers of the photometric loss and of Adam on the executor, against the CPU kernels and the references."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from recon.ops import adam, photometric
from recon.ops.adam_cuda import adam_many
from recon.ops.photometric_cuda import photometric as photometric_cuda


def _loss(executor: ModuleType, image: Tensor, target: Tensor, mask: Tensor | None = None,
          ssim_weight: float = 0.2) -> tuple[Tensor, Tensor]:
    gradient = torch.full_like(image, float("nan"))
    loss = photometric_cuda(executor, image, target, mask, ssim_weight, gradient)
    without = photometric_cuda(executor, image, target, mask, ssim_weight, None)
    assert torch.equal(loss, without)
    return loss, gradient


@pytest.mark.parametrize("case", range(20))
def test_photometric_agrees(executor: ModuleType, case: int) -> None:
    arguments: dict[str, Any] = list(photometric.examples())[case]
    loss, gradient = _loss(executor, **arguments)
    value, cpu = photometric.photometric_gradient(**arguments)
    exact = {k: v.double() if k == "image" or (isinstance(v, Tensor) and v.is_floating_point()) else v
             for k, v in arguments.items()}
    image = exact["image"].requires_grad_()
    true = photometric.reference(**exact)
    (g_true,) = torch.autograd.grad(true, image)
    assert abs(float(loss[0]) - float(true.detach())) < 2e-6
    assert abs(float(loss[0]) - value) < 2e-6
    torch.testing.assert_close(gradient, cpu, rtol=1e-4, atol=2e-5 * float(cpu.abs().max()))
    assert float((gradient - g_true).norm()) < 1e-5 * float(g_true.norm()) + 1e-12


def test_photometric_with_everything_masked_or_black(executor: ModuleType) -> None:
    image = torch.rand(3, 40, 33, generator=torch.Generator().manual_seed(0))
    image[:, 3, 3] = float("nan")
    mask = torch.zeros(40, 33, dtype=torch.uint8)
    loss, gradient = _loss(executor, image, torch.zeros_like(image), mask)
    assert loss.tolist() == [0, 0, 1]
    assert (gradient == 0).all()
    mask[20:] = 1
    loss, gradient = _loss(executor, image, torch.zeros_like(image), mask)
    assert torch.isfinite(gradient).all()
    assert torch.isfinite(loss).all()


def test_photometric_does_not_depend_on_the_order_of_threads(executor: ModuleType) -> None:
    arguments: dict[str, Any] = list(photometric.examples())[17]
    results = []
    for order in (0, 1, 3):
        executor.set_order(order)
        results.append(_loss(executor, **arguments))
    for loss, gradient in results[1:]:
        assert torch.equal(loss, results[0][0])
        assert torch.equal(gradient, results[0][1])


ADAM = list(adam.examples())


@pytest.mark.parametrize("case", range(len(ADAM)))
def test_adam_agrees(executor: ModuleType, case: int) -> None:
    arguments = ADAM[case]
    param, grad, m, v = (arguments[k].clone() for k in ("param", "grad", "m", "v"))
    rows, lr = arguments.get("rows"), arguments["lr"]
    per_row = lr if isinstance(lr, Tensor) else None
    skipped = adam_many(executor, [param], [grad], [m], [v], [0.0 if per_row is not None else lr], [per_row],
                        arguments["step"], arguments.get("beta1", 0.9), arguments.get("beta2", 0.999),
                        arguments.get("eps", 1e-15), rows if rows is not None and rows.dtype == torch.uint8 else None,
                        rows if rows is not None and rows.dtype == torch.int32 else None)
    exact = {k: a.double() if isinstance(a, Tensor) and a.is_floating_point() else a for k, a in arguments.items()}
    *expected, expected_skipped = adam.reference(**exact)
    assert int(skipped) == expected_skipped
    for ours, true, before in zip((param, m, v), expected, (arguments["param"], arguments["m"], arguments["v"])):
        torch.testing.assert_close(ours.double(), true, rtol=2e-5, atol=1e-6)
        kept = (true == before.double())
        assert torch.equal(ours[kept], before[kept])  # rows left alone keep their bits


def test_adam_touched_agrees(executor: ModuleType) -> None:
    generator = torch.Generator().manual_seed(1)
    param, m = torch.randn(1000, generator=generator), torch.randn(1000, generator=generator) * 1e-3
    v, grad = m.square(), torch.randn(1000, generator=generator)
    grad[::3] = 0
    grad[5], grad[7] = float("nan"), float("inf")
    ours, cpu = ([t.clone() for t in (param, grad, m, v)] for _ in range(2))
    adam.adam_touched_(*cpu, lr=1e-2, step=3)
    executor.adam_touched(*ours, 1e-2, 3, 0.9, 0.999, 1e-15, 0)
    assert (ours[1] == 0).all()
    for a, b in zip(ours, cpu):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)
