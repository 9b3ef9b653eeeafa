"""Adam in place against torch's own and against the reference, with chosen rows and broken gradients."""

from __future__ import annotations

import math

import pytest
import torch

from recon.ops.adam import adam_, adam_many_, examples, reference

EXAMPLES = list(examples())
STATE = ("param", "m", "v")


def _copy(example):
    return {k: v.clone() if k in STATE else v for k, v in example.items()}


def _many(kernels, example):
    """The kernel of one instruction set on one tensor, in place."""
    e = {"beta1": 0.9, "beta2": 0.999, "eps": 1e-15, "rows": None} | example
    per_row = isinstance(e["lr"], torch.Tensor)
    ids = e["rows"] is not None and e["rows"].dtype == torch.int32
    return kernels.adam_many([e["param"]], [e["grad"]], [e["m"]], [e["v"]], [0.0 if per_row else e["lr"]],
                             [e["lr"] if per_row else None], e["step"], e["beta1"], e["beta2"], e["eps"],
                             None if ids else e["rows"], e["rows"] if ids else None)


@pytest.mark.parametrize("example", EXAMPLES)
def test_matches_reference(example, kernels):
    in_double = {k: v.double() if getattr(v, "is_floating_point", bool)() else v for k, v in example.items()}
    *want, skipped = reference(**in_double)
    got = _copy(example)
    assert _many(kernels, got) == skipped
    for name, expected, atol in zip(STATE, want, (2e-7, 1e-9, 0)):  # the first moment may cancel, the second cannot
        torch.testing.assert_close(got[name].double(), expected, rtol=3e-6, atol=atol)


@pytest.mark.parametrize("example", [e for e in EXAMPLES if "rows" in e])
def test_other_rows_keep_their_bits(example, kernels):
    rows, n = example["rows"], len(example["param"])
    if n == 0:
        assert _many(kernels, _copy(example)) == 0
        return
    chosen = rows != 0 if rows.dtype == torch.uint8 else (torch.arange(n)[:, None] == rows).any(1)
    sound = torch.isfinite(example["grad"]).reshape(n, -1).all(1)
    got = _copy(example)
    _many(kernels, got)
    for name in STATE:
        moved = (got[name] != example[name]).reshape(n, -1).any(1)
        assert not moved[~(chosen & sound)].any()
        assert moved[chosen & sound].all()


def test_matches_torch_over_steps():
    generator = torch.Generator().manual_seed(0)
    ours = torch.randn(50, 7, generator=generator)
    theirs = torch.nn.Parameter(ours.clone())
    m, v = torch.zeros_like(ours), torch.zeros_like(ours)
    optimizer = torch.optim.Adam([theirs], lr=0.02, betas=(0.8, 0.99), eps=1e-8)
    for step in range(1, 30):
        grad = torch.randn(50, 7, generator=generator)
        theirs.grad = grad.clone()
        optimizer.step()
        assert adam_(ours, grad, m, v, lr=0.02, step=step, beta1=0.8, beta2=0.99, eps=1e-8) == 0
    torch.testing.assert_close(ours, theirs.detach(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("share", [None, 0.3])
def test_many_is_one_after_the_other_on_any_threads(share, threads):
    generator = torch.Generator().manual_seed(1)
    widths, n = [(3,), (4,), (), (15, 3)], 3001
    start = [torch.randn(n, *w, generator=generator) for w in widths]
    grads = [torch.randn(n, *w, generator=generator) for w in widths]
    grads[2][17] = math.inf
    rows = None if share is None else (torch.rand(n, generator=generator) < share).to(torch.uint8)
    rates = [0.1, torch.rand(n, generator=generator), 0.01, 1.0]

    def state():
        return [t.clone() for t in start], [t * 0.01 for t in start], [t**2 for t in start]

    single = state()
    expected = sum(adam_(p, g, m, v, lr=lr, step=3, rows=rows) for p, g, m, v, lr in
                   zip(single[0], grads, single[1], single[2], rates))
    for count in (1, 2, 3):
        threads(count)
        together = state()
        assert adam_many_(together[0], grads, together[1], together[2], lr=rates, step=3, rows=rows) == expected
        for one, many in zip(single, together):
            assert all(torch.equal(a, b) for a, b in zip(one, many))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e20])
@pytest.mark.parametrize("width", [1, 3, 45, 3000])
def test_unusable_gradients_are_skipped_and_counted(value, width):
    param = torch.ones(40, width)
    grad = torch.full((40, width), 0.1)
    grad[5, width - 1] = grad[39, 0] = value
    m, v = torch.zeros_like(param), torch.zeros_like(param)
    assert adam_(param, grad, m, v, lr=0.1, step=1) == 2
    untouched = torch.zeros(40, dtype=torch.bool)
    untouched[[5, 39]] = True
    assert (param[untouched] == 1).all()
    assert (m[untouched] == 0).all()
    assert torch.isfinite(param).all()
    assert torch.isfinite(v).all()
    assert (param[~untouched] < 1).all()


def test_zero_and_tiny_gradients_stay_finite():
    param, m, v = torch.ones(9, 3), torch.zeros(9, 3), torch.zeros(9, 3)
    grad = torch.zeros(9, 3)
    grad[1] = 1e-30
    grad[2] = 1e-44  # denormal
    for step in (1, 2, 100_000):
        adam_(param, grad, m, v, lr=0.1, step=step)
    assert torch.isfinite(param).all()
    assert (param[0] == 1).all()


def test_repeated_ids_count_once():
    def updated(ids):
        param, m, v = torch.ones(4, 2), torch.zeros(4, 2), torch.zeros(4, 2)
        adam_(param, torch.ones(4, 2), m, v, lr=0.1, step=1, rows=torch.tensor(ids, dtype=torch.int32))
        return m

    assert torch.equal(updated([3, 1, 3, 3]), updated([1, 3]))


def test_autograd_notices_the_write():
    param = torch.ones(3, 2, requires_grad=True)
    loss = (param * param).sum()
    adam_(param, torch.ones(3, 2), torch.zeros(3, 2), torch.zeros(3, 2), lr=0.1, step=1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.parametrize(("change", "error", "words"), [
    ({"param": torch.zeros(4, 3, dtype=torch.float64)}, TypeError, "param must be float32, got float64"),
    ({"param": torch.zeros(4, 6)[:, ::2]}, ValueError, "param must be contiguous"),
    ({"param": torch.tensor(1.0)}, ValueError, "param must be"),
    ({"grad": torch.zeros(4, 2)}, ValueError, r"grad must be \[4, 3\]"),
    ({"grad": torch.zeros(3, 4).T}, ValueError, "grad must be contiguous"),
    ({"grad": None}, TypeError, "grad must be a tensor"),
    ({"m": torch.zeros(4, 3, dtype=torch.float64)}, TypeError, "m must be float32"),
    ({"v": torch.zeros(5, 3)}, ValueError, "v must be"),
    ({"lr": torch.zeros(3)}, ValueError, r"lr must be \[4\]"),
    ({"lr": math.nan}, ValueError, "lr must be finite"),
    ({"step": 0}, ValueError, "step counts from 1"),
    ({"beta2": 1.0}, ValueError, "betas"),
    ({"rows": torch.zeros(3, dtype=torch.uint8)}, ValueError, r"rows must be \[4\]"),
    ({"rows": torch.zeros(4, dtype=torch.int64)}, TypeError, "rows must be uint8 or int32"),
    ({"rows": torch.tensor([0, 4], dtype=torch.int32)}, ValueError, r"rows must be ids in \[0, 4\)"),
    ({"rows": torch.tensor([-1], dtype=torch.int32)}, ValueError, "rows must be ids"),
])
def test_bad_arguments_are_named(change, error, words):
    good = {"param": torch.zeros(4, 3), "grad": torch.zeros(4, 3), "m": torch.zeros(4, 3), "v": torch.zeros(4, 3),
            "lr": 0.1, "step": 1}
    with pytest.raises(error, match=words):
        adam_(**good | change)


def test_kernels_never_convert(kernels):
    t = torch.zeros(4, 3)
    for bad in (t.double(), torch.zeros(4, 6)[:, ::2]):
        with pytest.raises(TypeError):
            kernels.adam_many([bad], [t], [t], [t], [0.1], [None], 1)


def test_nothing_to_do():
    assert adam_many_([], [], [], [], lr=[], step=1) == 0
