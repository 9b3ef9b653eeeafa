"""Adam in place on rows of parameters, all tensors in one parallel region. CPU kernel: cuda/adam.

Kingma, Ba, "Adam: a method for stochastic optimization", ICLR 2015, algorithm 1, with two additions: rows can be
chosen (those of Gaussians that were on the screen; the others keep parameter and moments to the bit), and a row whose
gradient is NaN, infinite or above 1e18 is left alone and counted, so that one bad pixel cannot poison a fit.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from recon.ops import cuda
from recon.ops.adam_cuda import adam_many as adam_many_cuda
from recon.ops.checks import CPU, expect_tensor, place_of
from recon.ops.native import native


def _check_rate(name: str, lr: float | Tensor, rows: int, on: torch.device) -> tuple[float, Tensor | None]:
    if isinstance(lr, Tensor):
        expect_tensor(name, lr, torch.float32, (rows,), on=on)
        return 0.0, lr.detach()
    if not math.isfinite(lr):
        raise ValueError(f"{name} must be finite, got {lr}")
    return float(lr), None


def _check_rows(rows: Tensor | None, count: int, on: torch.device) -> tuple[Tensor | None, Tensor | None]:
    """(mask, ids), at most one of them not None."""
    if rows is None:
        return None, None
    expect_tensor("rows", rows, (torch.uint8, torch.int32), on=on)
    if rows.dtype == torch.uint8:
        expect_tensor("rows", rows, torch.uint8, (count,), on=on)
        return rows, None
    expect_tensor("rows", rows, torch.int32, ("ids",), on=on)
    if len(rows) and (int(rows.min()) < 0 or int(rows.max()) >= count):
        raise ValueError(f"rows must be ids in [0, {count}), got {int(rows.min())}..{int(rows.max())}")
    return None, rows


def adam_many_(params: Sequence[Tensor], grads: Sequence[Tensor], ms: Sequence[Tensor], vs: Sequence[Tensor], *,
               lr: Sequence[float | Tensor], step: int, beta1: float = 0.9, beta2: float = 0.999,
               eps: float = 1e-15, rows: Tensor | None = None, counts: Tensor | None = None) -> int | Tensor:
    """One Adam step on several parameters [n, ...] float32, in place together with their moments; see ``adam_``.

    ``lr`` holds a number or a tensor [n] (one rate per row) for every parameter. With ``rows`` all parameters must
    have the same n. Where ``counts`` [1] bool (on CUDA, in place of ``rows``) is false, nothing changes. Returns
    the number of chosen rows that were skipped, summed over the parameters (on CUDA a tensor [1], so that nobody waits
    for it).
    """
    if not len(params) == len(grads) == len(ms) == len(vs) == len(lr):
        raise ValueError("params, grads, ms, vs and lr must have the same length, got "
                         f"{len(params)}, {len(grads)}, {len(ms)}, {len(vs)}, {len(lr)}")
    if step < 1:
        raise ValueError(f"step counts from 1, got {step}")
    if not (0 <= beta1 < 1 and 0 <= beta2 < 1 and eps >= 0):
        raise ValueError(f"betas must be in [0, 1) and eps not negative, got {beta1}, {beta2}, {eps}")
    rates, row_rates = [], []
    on = place_of(params[0]) if params else CPU
    for i, (param, param_lr) in enumerate(zip(params, lr)):
        label = f"[{i}]" if len(params) > 1 else ""
        expect_tensor(f"param{label}", param, torch.float32, on=on)
        if param.ndim == 0:
            raise ValueError(f"param{label} must be [n, ...], got a scalar")
        for name, tensor in (("grad", grads[i]), ("m", ms[i]), ("v", vs[i])):
            expect_tensor(f"{name}{label}", tensor, torch.float32, tuple(param.shape), on=on)
        if rows is not None and len(param) != len(params[0]):
            raise ValueError(f"with rows, all parameters must have as many rows: {len(params[0])} and {len(param)}")
        rate, per_row = _check_rate(f"lr{label}", param_lr, len(param), on)
        rates.append(rate)
        row_rates.append(per_row)
    if counts is not None and (rows is not None or on.type != "cuda"):
        raise ValueError("counts is for CUDA, and not for chosen rows")
    mask, ids = _check_rows(rows, len(params[0]) if params else 0, on)
    # Kernels write behind autograd's back: say so, or a later backward would use overwritten values unnoticed.
    module = cuda.kernels_for(params[0]) if params else None
    skipped: int | Tensor
    with torch.no_grad():
        plain = [p.detach() for p in params], [g.detach() for g in grads], list(ms), list(vs), rates, row_rates
        if module is None:
            skipped = int(native.adam_many(*plain, step, beta1, beta2, eps, mask, ids))
        else:
            skipped = adam_many_cuda(module, *plain, step, beta1, beta2, eps, mask, ids, counts)
    torch.autograd.graph.increment_version([*params, *ms, *vs])
    return skipped


def adam_(param: Tensor, grad: Tensor, m: Tensor, v: Tensor, *, lr: float | Tensor, step: int, beta1: float = 0.9,
          beta2: float = 0.999, eps: float = 1e-15, rows: Tensor | None = None) -> int:
    """One Adam step on ``param`` [n, ...] float32, in place together with its moments ``m`` and ``v``.

    grad, m, v: the shape of param. lr: a number or a tensor [n], one rate per row. step: counted from 1, for the bias
    correction. rows: int32 ids (any order; a repeated id counts once) or a uint8 mask [n]; other rows keep their bits.
    Returns how many chosen rows were skipped because their gradient is NaN, infinite or above 1e18.
    Raises ValueError or TypeError naming the argument.
    """
    return int(adam_many_([param], [grad], [m], [v], lr=[lr], step=step, beta1=beta1, beta2=beta2, eps=eps, rows=rows))


def adam_touched_(param: Tensor, grad: Tensor, m: Tensor, v: Tensor, *, lr: float, step: int, beta1: float = 0.9,
                  beta2: float = 0.999, eps: float = 1e-15) -> None:
    """One Adam step, in place, on the numbers whose gradient is neither zero nor unusable; ``grad`` is then zero.

    All [...] float32 of one shape. Raises ValueError or TypeError naming the argument.
    """
    if step < 1 or not math.isfinite(lr):
        raise ValueError(f"step counts from 1 and lr must be finite, got {step} and {lr}")
    on = place_of(param)
    expect_tensor("param", param, torch.float32, on=on)
    for name, tensor in (("grad", grad), ("m", m), ("v", v)):
        expect_tensor(name, tensor, torch.float32, tuple(param.shape), on=on)
    module = cuda.kernels_for(param)
    with torch.no_grad():
        if module is None:
            native.adam_touched(param.detach(), grad, m, v, lr, step, beta1, beta2, eps)
        else:
            module.adam_touched(param.detach(), grad, m, v, lr, step, beta1, beta2, eps, cuda.stream(param.device))
    torch.autograd.graph.increment_version([param, grad, m, v])


def reference(
    param: Tensor, grad: Tensor, m: Tensor, v: Tensor, *, lr: float | Tensor, step: int, beta1: float = 0.9,
    beta2: float = 0.999, eps: float = 1e-15, rows: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, int]:
    """``adam_`` in plain torch, out of place: (param, m, v, skipped)."""
    n = len(param)
    chosen = torch.ones(n, dtype=torch.bool)
    if rows is not None:
        chosen = rows != 0 if rows.dtype == torch.uint8 else (torch.arange(n)[:, None] == rows).any(1)
    sound = (grad.abs() < 1e18).reshape(n, math.prod(grad.shape[1:])).all(1)
    take = (chosen & sound).reshape(n, *[1] * (param.ndim - 1))
    rate = lr.reshape(n, *[1] * (param.ndim - 1)) if isinstance(lr, Tensor) else lr
    new_m = beta1 * m + (1 - beta1) * grad
    new_v = beta2 * v + (1 - beta2) * grad**2
    denominator = (new_v / (1 - beta2**step)).sqrt() + eps
    new_param = param - rate / (1 - beta1**step) * new_m / denominator
    kept = [torch.where(take, new, old) for new, old in ((new_param, param), (new_m, m), (new_v, v))]
    return kept[0], kept[1], kept[2], int((chosen & ~sound).sum())


def examples() -> Iterator[dict[str, Any]]:
    """Keyword arguments of ``adam_``: widths around the lanes and beyond a block, all kinds of rows and rates."""
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    shapes = [(0, 3), (1,), (1, 1), (5, 3), (7, 4), (8, 1), (9, 2), (33, 15, 3), (100, 45), (5000, 3), (3, 2500),
              (2, 2048)]
    for i, shape in enumerate(shapes):
        n = shape[0]
        base: dict[str, Any] = {"param": random(*shape), "grad": random(*shape) * 1e-3, "m": random(*shape) * 1e-3,
                                "v": random(*shape) ** 2 * 1e-6, "lr": 1e-2, "step": 1 + 7 * i}
        yield base
        mask = (torch.rand(n, generator=generator) < 0.4).to(torch.uint8)
        yield base | {"rows": mask, "lr": torch.rand(n, generator=generator)}
        yield base | {"rows": mask.nonzero()[:, 0].flip(0).to(torch.int32), "beta1": 0.5, "beta2": 0.9, "eps": 1e-8}
        if n > 2:
            grad = base["grad"].clone()
            grad[1] = float("nan")
            grad.reshape(n, -1)[n - 1, -1] = float("-inf")
            yield base | {"grad": grad}
            yield base | {"grad": grad, "rows": mask}
