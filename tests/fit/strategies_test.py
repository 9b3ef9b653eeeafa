"""What changes structure: clone, split, prune and budget by hand-made cases, MCMC's moves, SH degrees, memory order."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from tiny_capture import camera_at, picture, random_gaussians
from torch import Tensor

from recon.configs import gaussians
from recon.fields.gaussians import GaussianField
from recon.optim.adam import Adam
from recon.params import RowChange
from recon.strategies.average import AverageSteps
from recon.strategies.densify import Densify
from recon.strategies.mcmc import Mcmc, copy_rule, share_among_copies
from recon.strategies.sh_degree import RaiseShDegree
from recon.strategies.splat_surgery import morton_order, rotate, sample_offsets
from recon.types import Gaussians

RADIUS = 2.0


@dataclass
class Trace:
    """What densification reads of a render."""

    gradient: Tensor
    visible: Tensor
    absolute_gradient: Tensor | None = None
    size: tuple[int, int] = (100, 100)


@dataclass
class Picture:
    trace: Trace


@dataclass
class Step:
    """As much of the Problem protocol as strategies use."""

    field: GaussianField
    step: int
    render: Any = None
    seed: int = 0
    total_steps: int = 1000
    radius: float = RADIUS


def _field(scales: list[float], opacities: list[float]) -> GaussianField:
    n = len(scales)
    g = Gaussians(
        means=torch.arange(n, dtype=torch.float32)[:, None].repeat(1, 3),
        log_scales=torch.tensor(scales).log()[:, None].repeat(1, 3),
        quaternions=torch.tensor([1.0, 0, 0, 0]).repeat(n, 1),
        logits=torch.logit(torch.tensor(opacities)),
        sh=torch.zeros(n, 1, 3),
    )
    return GaussianField.from_gaussians(g)


def _adam(field: GaussianField) -> Adam:
    adam = gaussians.PRESETS["fast"].optimizer.build(field, RADIUS, 1000)
    adam.moments = {n: (torch.ones_like(t.detach()), torch.ones_like(t.detach())) for n, t in field.params.items()}
    return adam


def _densify_once(field: GaussianField, pulls: list[float], settings: Densify, step: int = 100
                  ) -> tuple[str | None, Adam]:
    """One round after one observation; ``pulls`` are in the units of the threshold."""
    adam = _adam(field)
    gradient = torch.tensor(pulls)[:, None] * torch.tensor([1 / 50, 0.0])  # half of 100 pixels
    trace = Trace(gradient, torch.ones(len(pulls), dtype=torch.bool))
    strategy = settings.build(field, RADIUS, 1000)
    return strategy.act(Step(field, step - 1, Picture(trace)), adam), adam  # type: ignore[arg-type]


SETTINGS = Densify(every=100, begin=0.05, until=0.5, threshold=1.0, reset_every=0.0)


def test_small_ones_are_cloned_and_large_ones_split() -> None:
    field = _field([0.001, 0.5, 0.001, 0.5], [0.5] * 4)
    what, adam = _densify_once(field, [2.0, 2.0, 0.5, 0.5], SETTINGS)
    assert what == "1 cloned, 1 split, 0 pruned"
    assert field.num_primitives == 6
    sizes = field.params["log_scales"].detach().exp()[:, 0].sort().values.tolist()
    assert sizes == pytest.approx([0.001] * 3 + [0.5 / 1.6] * 2 + [0.5])
    means = field.params["means"].detach()
    assert int((means == 0).all(1).sum()) == 2, "a clone starts where its source is"
    assert not (means == 1).all(1).any(), "the halves of a split are drawn from it; the whole is gone"
    moments = adam.moments["means"][0]
    assert moments.shape == means.shape
    assert int((moments == 0).all(1).sum()) == 3, "a clone and two halves start without moments"


def test_halves_lie_inside_their_source() -> None:
    field = _field([0.5] * 500, [0.5] * 500)
    params = field.params
    params["log_scales"].detach()[:] = torch.tensor([1.0, 0.1, 0.01]).log()
    turn = torch.tensor([math.cos(math.pi / 4), 0.0, 0.0, math.sin(math.pi / 4)])  # a quarter about z: x becomes y
    params["quaternions"].detach()[:] = 3 * turn
    offsets = sample_offsets(params, torch.arange(500), torch.Generator().manual_seed(0))
    assert offsets.std(0).tolist() == pytest.approx([0.1, 1.0, 0.01], rel=0.15)


def test_faint_and_oversized_ones_are_pruned() -> None:
    field = _field([0.01, 0.01, 0.3], [0.5, 0.004, 0.5])
    what, adam = _densify_once(field, [0.0] * 3, SETTINGS)
    assert what == "0 cloned, 0 split, 1 pruned", "without opacity resets size is no reason"
    assert field.num_primitives == 2
    assert (adam.moments["logits"][0] == 1).all(), "survivors keep their moments"
    field = _field([0.01, 0.3], [0.5, 0.5])
    resetting = replace(SETTINGS, reset_every=0.15)
    assert _densify_once(field, [0.0] * 2, resetting, step=200)[0] == "0 cloned, 0 split, 1 pruned"
    field = _field([0.01, 0.3], [0.5, 0.5])
    assert _densify_once(field, [0.0] * 2, resetting, step=100)[0] == "0 cloned, 0 split, 0 pruned", "before a reset"


def test_rows_that_are_not_finite_are_pruned_and_not_everything_is() -> None:
    field = _field([0.01] * 3, [0.5] * 3)
    field.params["means"].detach()[1, 2] = torch.nan
    assert _densify_once(field, [0.0] * 3, SETTINGS)[0] == "0 cloned, 0 split, 1 pruned"
    assert field.params["means"].isfinite().all()
    field = _field([0.01] * 3, [0.001] * 3)
    _densify_once(field, [0.0] * 3, SETTINGS)
    assert field.num_primitives == 3, "a field without rows cannot recover"


def test_the_budget_takes_the_strongest_first() -> None:
    field = _field([0.001] * 6, [0.5] * 6)
    what, _ = _densify_once(field, [2.0, 9.0, 3.0, 8.0, 0.1, 2.0], replace(SETTINGS, budget=8))
    assert what == "2 cloned, 0 split, 0 pruned"
    counts = torch.bincount(field.params["means"].detach()[:, 0].long())
    assert counts.tolist() == [1, 2, 1, 2, 1, 1]
    full = _field([0.001] * 6, [0.5] * 6)
    assert _densify_once(full, [9.0] * 6, replace(SETTINGS, budget=6))[0] == "0 cloned, 0 split, 0 pruned"


def test_absolute_gradients_and_invisible_rows() -> None:
    field = _field([0.001] * 3, [0.5] * 3)
    strategy = replace(SETTINGS, absolute=True).build(field, RADIUS, 1000)
    visible = torch.tensor([True, True, False])
    strong, none = torch.full((3, 2), 0.5), torch.zeros(3, 2)
    strategy.act(Step(field, 98, Picture(Trace(none, visible, strong))), _adam(field))  # type: ignore[arg-type]
    strategy.act(Step(field, 99, Picture(Trace(none, visible, none))), _adam(field))  # type: ignore[arg-type]
    assert field.num_primitives == 5, "two were pulled on: 0.5 px over two observations is above the threshold"
    assert strategy.pull.tolist() == [0.0] * 5, "statistics start anew after a round"


def test_when_rounds_happen() -> None:
    for step, happens in ((40, False), (50, False), (60, True), (65, False), (500, True), (520, False)):
        field = _field([0.001], [0.5])
        what, _ = _densify_once(field, [9.0], replace(SETTINGS, every=10), step=step)
        assert (what is not None) == happens, step


def test_opacity_reset() -> None:
    field = _field([0.01, 0.01], [0.9, 0.006])
    what, adam = _densify_once(field, [0.0] * 2, replace(SETTINGS, reset_every=0.03), step=90)
    assert what == "opacity reset"
    assert torch.sigmoid(field.params["logits"].detach()).tolist() == pytest.approx([0.01, 0.006])
    assert adam.moments["logits"][0].abs().sum() == 0
    assert adam.moments["means"][0].abs().sum() > 0


def _mcmc_field(count: int = 40) -> GaussianField:
    return GaussianField.from_gaussians(random_gaussians(count))


def test_mcmc_moves_dead_ones_and_keeps_the_picture() -> None:
    field = _mcmc_field()
    field.params["logits"].detach()[:5] = -9.0
    before = picture(field, camera_at(0.3))
    adam = _adam(field)
    settings = Mcmc(budget=40, every=100, begin=0.05, noise=0.0)
    what = settings.build(field, RADIUS, 1000).act(Step(field, 99), adam)  # type: ignore[arg-type]
    assert what == "5 moved, 0 added"
    assert field.num_primitives == 40
    assert float(torch.sigmoid(field.params["logits"].detach()).min()) > 0.005, "all live again"
    after = picture(field, camera_at(0.3))
    assert -10 * math.log10(float((after - before).square().mean())) > 30.0
    means = field.params["means"].detach()
    for i in range(5):
        copies = (means == means[i]).all(1)
        assert int(copies.sum()) >= 2, "a moved Gaussian sits on a live one"
        assert (adam.moments["logits"][0][copies] == 0).all(), "donor and copies start without moments"


def test_mcmc_grows_to_its_budget_and_not_beyond() -> None:
    field = _mcmc_field()
    counts = []
    strategy = Mcmc(budget=45, every=10, begin=0.0, noise=0.0).build(field, RADIUS, 1000)
    before = picture(field, camera_at(0.3))
    for step in range(10, 101, 10):
        strategy.act(Step(field, step - 1), _adam(field))  # type: ignore[arg-type]
        counts.append(field.num_primitives)
    assert counts[:4] == [42, 45, 45, 45]
    assert counts[-1] == 45
    error = float((picture(field, camera_at(0.3)) - before).square().mean())
    assert -10 * math.log10(error) > 28.0
    strategy.act(Step(field, 899), _adam(field))  # type: ignore[arg-type]
    assert field.num_primitives == 45


def test_mcmc_noise_moves_faint_ones_only_and_is_repeatable() -> None:
    def moved() -> Tensor:
        field = _mcmc_field()
        field.params["logits"].detach()[:] = 3.0
        field.params["logits"].detach()[:4] = -6.0
        start = field.params["means"].detach().clone()
        Mcmc(begin=0.9).build(field, RADIUS, 1000).act(Step(field, 10), _adam(field))  # type: ignore[arg-type]
        return field.params["means"].detach() - start

    first = moved()
    assert (first[:4].abs().sum(1) > 0).all()
    assert (first[4:] == 0).all()
    assert torch.equal(first, moved())


def test_copies_together_look_like_one() -> None:
    """Eq. 9 of the paper: along a ray through the middle, and over the whole profile, n copies match the original."""
    opacity = torch.tensor([0.3, 0.6, 0.9], dtype=torch.float64)
    for n in (2, 3, 5):
        new, factor = copy_rule(opacity, torch.tensor([n] * 3))
        assert torch.allclose(1 - (1 - new) ** n, opacity), "the middle is exact"
        assert (factor <= 1).all()
        x = torch.linspace(-8, 8, 4001, dtype=torch.float64)
        one = opacity[:, None] * torch.exp(-0.5 * x**2)
        many = 1 - (1 - new[:, None] * torch.exp(-0.5 * (x / factor[:, None]) ** 2)) ** n
        assert torch.allclose(many.sum(1), one.sum(1), rtol=1e-3), "and so is the integral"
    alone, factor = copy_rule(opacity, torch.tensor([1, 1, 1]))
    assert torch.allclose(alone, opacity)
    assert torch.allclose(factor, torch.ones(3, dtype=torch.float64))


def test_many_copies_stay_finite() -> None:
    field = _mcmc_field(4)
    change = RowChange(torch.zeros(200, dtype=torch.int64), torch.ones(200, dtype=torch.bool))
    field.params["logits"].detach()[0] = 12.0
    field.params.apply(change)
    share_among_copies(field.params, torch.full((200,), 200), 0.005)
    for name, tensor in field.params.items():
        assert tensor.isfinite().all(), name


def test_sh_degree_rises_on_schedule() -> None:
    field = GaussianField.from_gaussians(random_gaussians(5, degree=2))
    strategy = RaiseShDegree(at=(0.1, 0.2, 0.3)).build(field, RADIUS, 100)
    assert field.active_degree == 0
    assert field.gaussians().sh[:, 1:].abs().sum() == 0, "bands that are not active yet are not exported"
    seen = []
    for step in range(40):
        strategy.act(Step(field, step), None)  # type: ignore[arg-type]
        seen.append(field.active_degree)
    assert seen[8] == 0
    assert seen[9] == 1  # after ten steps
    assert seen[18:20] == [1, 2]
    assert seen[-1] == 2, "never above what the field has"
    assert field.gaussians().sh[:, 1:].abs().sum() > 0


def _walk(field: GaussianField, strategy: Any, steps: range) -> list[str]:
    """Means wander by one a step; what the strategy said."""
    said = []
    for step in steps:
        field.params["means"].detach().copy_(torch.full((len(field.params["means"]), 3), float(step)))
        said.append(strategy.act(Step(field, step), None))
    return [what for what in said if what is not None]


def test_the_last_steps_are_averaged() -> None:
    field = GaussianField.from_gaussians(random_gaussians(5, degree=2))
    before = {n: t.detach().clone() for n, t in field.params.items()}
    strategy = AverageSteps(begin=0.5, every=4).build(field, RADIUS, 20)
    assert _walk(field, strategy, range(20)) == ["the mean of 3 of the last steps"]
    assert torch.allclose(field.params["means"], torch.tensor((11.0 + 15 + 19) / 3))
    for name in ("logits", "sh"):  # did not move
        if name in before:
            assert torch.allclose(field.params[name], before[name], atol=1e-6)
    assert strategy.state() == {"sums": {}, "count": 0}
    assert _walk(field, strategy, range(20, 40)) == [], "a fit that goes on is left alone"


def test_averaging_begins_anew_where_rows_change() -> None:
    field = GaussianField.from_gaussians(random_gaussians(5, degree=2))
    strategy = AverageSteps(begin=0.5, every=4).build(field, RADIUS, 20)
    _walk(field, strategy, range(14))
    field.params.apply(RowChange.select(torch.tensor([4, 3, 2, 1, 0])))  # as many rows, in another order
    assert _walk(field, strategy, range(14, 20)) == ["the mean of 2 of the last steps"]
    assert torch.allclose(field.params["means"], torch.tensor((15.0 + 19) / 2))


def test_averaging_goes_on_after_a_resume() -> None:
    field = GaussianField.from_gaussians(random_gaussians(5, degree=2))
    settings = AverageSteps(begin=0.5, every=4)
    first = settings.build(field, RADIUS, 20)
    _walk(field, first, range(13))
    resumed = settings.build(field, RADIUS, 20)
    resumed.load_state(first.state())
    field.params.load_state(field.params.state())
    assert _walk(field, resumed, range(13, 20)) == ["the mean of 3 of the last steps"]
    assert torch.allclose(field.params["means"], torch.tensor((11.0 + 15 + 19) / 3))


def test_morton_order_puts_neighbours_together() -> None:
    means = torch.rand(2000, 3, generator=torch.Generator().manual_seed(0))
    order = morton_order(means)
    assert sorted(order.tolist()) == list(range(2000))
    jumps = (means[order][1:] - means[order][:-1]).norm(dim=1).mean()
    assert float(jumps) < 0.25 * float((means[1:] - means[:-1]).norm(dim=1).mean())
    assert len(morton_order(torch.zeros(3, 3))) == 3
    with_nan = means.clone()
    with_nan[5] = torch.nan
    assert sorted(morton_order(with_nan).tolist()) == list(range(2000))


def test_rotate_agrees_with_the_matrix() -> None:
    quarter_about_z = torch.tensor([[math.sqrt(0.5), 0, 0, math.sqrt(0.5)]]) * 7
    assert rotate(quarter_about_z, torch.tensor([[1.0, 0, 0]]))[0].tolist() == pytest.approx([0, 1, 0], abs=1e-6)
