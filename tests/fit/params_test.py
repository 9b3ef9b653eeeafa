"""Rows: parameters, moments and statistics follow one change."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_capture import tiny_capture

from recon.configs import gaussians
from recon.fit.loop import Fit
from recon.params import Params, RowChange


def _params(rows: int = 5) -> Params:
    return Params({"a": torch.arange(rows * 3.0).view(rows, 3), "b": torch.arange(float(rows))})


def test_select_by_mask_and_by_index() -> None:
    mask = torch.tensor([True, False, True, True, False])
    for rows in (mask, torch.tensor([0, 2, 3])):
        change = RowChange.select(rows)
        assert change.source.tolist() == [0, 2, 3]
        assert not change.fresh.any()
    params = _params()
    params.apply(RowChange.select(mask))
    assert params.rows == 3
    assert params["b"].tolist() == [0, 2, 3]
    assert params["a"][1].tolist() == [6, 7, 8]


def test_append_copies_values_and_starts_moments_at_zero() -> None:
    params, moment = _params(), torch.ones(5, 3)
    change = RowChange(torch.tensor([0, 1, 2, 3, 4, 1, 1]), torch.tensor([False] * 5 + [True, True]))
    params.apply(change)
    assert params["b"].tolist() == [0, 1, 2, 3, 4, 1, 1]
    assert change.follow(moment).tolist() == [[1.0] * 3] * 5 + [[0.0] * 3] * 2
    assert moment.sum() == 15, "the old state was changed in place"


@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), max_size=20))
def test_parameters_and_moments_never_fall_out_of_step(rows: list[tuple[int, bool]]) -> None:
    params = Params({"id": torch.arange(7.0)})
    moment = torch.arange(7.0) + 100
    change = RowChange(torch.tensor([r for r, _ in rows], dtype=torch.int64), torch.tensor([f for _, f in rows],
                                                                                           dtype=torch.bool))
    params.apply(change)
    moved = change.follow(moment)
    for value, m, (row, fresh) in zip(params["id"].tolist(), moved.tolist(), rows, strict=True):
        assert value == row
        assert m == (0 if fresh else row + 100)


def test_leaves_stay_leaves_and_state_comes_back() -> None:
    params = _params()
    params["a"].sum().backward()
    assert params["a"].grad is not None
    params.apply(RowChange.select(torch.tensor([4, 0])))
    assert params["a"].is_leaf
    assert params["a"].requires_grad
    assert params["a"].grad is None, "a gradient of other rows must not survive"
    assert params["a"].is_contiguous()
    other = Params()
    other.load_state(params.state())
    assert list(other) == ["a", "b"]
    assert torch.equal(other["a"], params["a"])
    assert other.nbytes == 2 * 4 * 4


def test_adam_follows_and_forgets() -> None:
    fit = Fit(tiny_capture(), gaussians.PRESETS["fast"])
    fit.optimizer.step(fit.problem)
    n = fit.field.num_primitives
    before = fit.optimizer.moments["means"][0].clone()
    assert before.abs().sum() > 0
    change = RowChange.select(torch.arange(n - 1, -1, -1))
    fit.field.params.apply(change)
    fit.optimizer.follow(change)
    assert torch.equal(fit.optimizer.moments["means"][0], before.flip(0))
    fit.optimizer.forget("means")
    assert fit.optimizer.moments["means"][0].abs().sum() == 0
    assert fit.optimizer.moments["sh0"][0].abs().sum() > 0
    fit.optimizer.step(fit.problem)  # and the next step runs on the new order
