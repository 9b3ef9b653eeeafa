"""Sampling and volume rendering of rays against plain torch, float64 differences, and what theory says."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from recon.ops import march
from recon.ops.native import native
from recon.types import Volume
from recon.types.volume import unit_from_world

F64 = list(march.examples(torch.float64))


@pytest.mark.parametrize("index", range(len(F64)))
def test_composite_is_the_reference(index: int) -> None:
    for example, tolerance in ((F64[index], 1e-10), (list(march.examples())[index], 2e-5)):
        raw, colour = example["raw"].requires_grad_(), example["colour"].requires_grad_()
        results = []
        for op in (march.composite, march.reference):
            out = op(**example)
            generator = torch.Generator().manual_seed(1)
            loss = sum((o * torch.randn(o.shape, generator=generator, dtype=o.dtype)).sum()
                       for o in (out.rgb, out.transmittance, out.distortion))
            results.append((out, torch.autograd.grad(loss, [raw, colour], allow_unused=True)))
        for ours, theirs in zip(results[0][0], results[1][0]):
            torch.testing.assert_close(ours, theirs, atol=tolerance, rtol=tolerance)
        for ours, theirs in zip(results[0][1], results[1][1]):
            theirs = torch.zeros_like(ours) if theirs is None else theirs
            torch.testing.assert_close(ours, theirs, atol=5 * tolerance, rtol=5 * tolerance)


def _long_rays(dtype: torch.dtype) -> dict[str, Any]:
    """Rays of every length around that of a pack of samples, and some that are longer than what is kept at hand."""
    generator = torch.Generator().manual_seed(4)
    counts = [0, 1, 15, 16, 17, 31, 900, 0, 2, 33, 1600]
    m = sum(counts)
    index = (torch.rand(m, generator=generator) < 0.5).nonzero().squeeze(1).to(torch.int32)
    t = torch.cat([torch.rand(c, generator=generator, dtype=torch.float64).sort().values * 3 + 0.1 for c in counts])
    return {"raw": (torch.randn(m, generator=generator, dtype=torch.float64) - 3).to(dtype), "t": t.to(dtype),
            "colour": torch.rand(len(index), 3, generator=generator, dtype=torch.float64).to(dtype), "index": index,
            "offsets": torch.tensor([0, *torch.tensor(counts).cumsum(0).tolist()], dtype=torch.int32),
            "background": torch.rand(3, generator=generator, dtype=torch.float64).to(dtype), "delta": 0.2, "shift": 0.5}


@pytest.mark.parametrize(("dtype", "most"), [(torch.float64, 1e-11), (torch.float32, 2e-5)])
def test_rays_of_every_length(dtype: torch.dtype, most: float) -> None:
    results = []
    for op, given in ((march.composite, _long_rays(dtype)), (march.reference, _long_rays(torch.float64))):
        leaves = given["raw"].requires_grad_(), given["colour"].requires_grad_()
        out = op(**given)
        (out.rgb.square().sum() + out.transmittance.sum() + out.distortion.sum()).backward()
        results.append([*(o.detach().double() for o in out), *(leaf.grad.double() for leaf in leaves)])
    for ours, true in zip(*results, strict=True):
        assert float((ours - true).norm()) <= most * float(true.norm())


def test_the_example_has_gradients() -> None:
    example = F64[2]
    raw, colour = example["raw"].requires_grad_(), example["colour"].requires_grad_()
    g = torch.autograd.grad(march.composite(**example).rgb.sum(), [raw, colour])
    assert float(g[0].abs().max()) > 1e-3
    assert float(g[1].abs().max()) > 1e-3


def test_weights_and_what_is_left_make_one() -> None:
    for example in march.examples(torch.float64):
        raw, offsets = example["raw"], example["offsets"]
        w = march.weights(raw, offsets, delta=0.5, shift=-1.0, end=0.0)
        left = march.composite(**example).transmittance
        for ray, (a, b) in enumerate(zip(offsets[:-1].tolist(), offsets[1:].tolist())):
            assert math.isclose(float(w[a:b].sum() + left[ray]), 1.0, abs_tol=1e-12)


def test_opacity_of_extreme_densities() -> None:
    """1 - (1 + exp(x))^-delta for x in [-30, 30], relative."""
    x = torch.linspace(-30, 30, 601, dtype=torch.float64)
    offsets = torch.arange(602, dtype=torch.int32)
    truth = -torch.expm1(-0.5 * torch.nn.functional.softplus(x))
    for dtype, tolerance in ((torch.float64, 1e-10), (torch.float32, 2e-5)):
        w = march.weights(x.to(dtype), offsets, delta=0.5, shift=0.0)
        assert float(((w.double() - truth).abs() / truth).max()) < tolerance


def test_two_half_steps_are_one_step() -> None:
    raw = torch.full((8,), 0.7, dtype=torch.float64)
    one = march.weights(raw[:4], torch.tensor([0, 4], dtype=torch.int32), delta=0.5, shift=0.0).sum()
    two = march.weights(raw, torch.tensor([0, 8], dtype=torch.int32), delta=0.25, shift=0.0).sum()
    assert abs(float(one - two)) < 1e-12


def _rays(n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    origin = torch.nn.functional.normalize(torch.randn(n, 3, generator=generator), dim=1) * 3
    target = torch.rand(n, 3, generator=generator) - 0.5
    return origin, torch.nn.functional.normalize(target - origin, dim=1)


@pytest.mark.parametrize("margin", [0.0, 0.5])
def test_skipping_loses_no_sample(margin: float) -> None:
    """Samples of a sparse grid lie in occupied cells, and none of a dense march there is missing."""
    generator = torch.Generator().manual_seed(3)
    occupied = torch.rand(12, 9, 10, generator=generator) < 0.02
    origin, direction = _rays(200)
    box = torch.tensor([-1.0, -1.0, -1.0, 1.0, 1.0, 1.0, margin])
    settings = {"near": 0.1, "far": 20.0, "step": 0.02}
    found = march.sample(origin, direction, torch.full((200,), 0.5), box, march.distances(occupied), **settings)
    size = torch.tensor(occupied.shape)
    cell = (found.position * size).long().clamp(min=torch.zeros(3, dtype=torch.long), max=size - 1)
    assert bool(occupied[tuple(cell.T)].all())
    everywhere = march.sample(origin, direction, torch.full((200,), 0.5), box,
                              march.distances(torch.ones_like(occupied)), **settings)
    cell = (everywhere.position * size).long().clamp(min=torch.zeros(3, dtype=torch.long), max=size - 1)
    wanted = int(occupied[tuple(cell.T)].sum())
    assert wanted > 100
    if margin == 0:  # jumps are whole steps: the same samples, but for rounding at the faces of cells
        assert abs(len(found.t) - wanted) <= 0.01 * wanted
    else:  # steps of another phase: as many on average
        assert abs(len(found.t) - wanted) <= 0.05 * wanted


def test_rays_that_are_walked_together_are_those_walked_alone() -> None:
    generator = torch.Generator().manual_seed(8)
    origin, offset = 2 * torch.randn(37, 3, generator=generator), torch.rand(37, generator=generator)
    direction = torch.nn.functional.normalize(torch.randn(37, 3, generator=generator), dim=1)
    cells = march.distances(torch.rand(12, 9, 10, generator=generator) > 0.9)
    box = torch.tensor([-1.0, -0.7, -1.2, 1.0, 0.8, 1.0, 0.5])
    where: dict[str, Any] = {"near": 0.05, "far": 30.0, "step": 0.02}
    together = march.sample(origin, direction, offset, box, cells, **where)
    assert len(together.t) > 500
    for i in range(37):
        alone = march.sample(origin[i:i + 1], direction[i:i + 1], offset[i:i + 1], box, cells, **where)
        mine = slice(int(together.offsets[i]), int(together.offsets[i + 1]))
        assert torch.equal(together.t[mine], alone.t)
        assert torch.equal(together.position[mine], alone.position)


def test_steps_outside_of_the_box_grow_with_the_distance_from_its_centre() -> None:
    """Against a walk in double precision, everything occupied, contracted by ``unit_from_world``."""
    origin = torch.tensor([[0.2, -3.0, 0.1], [0.0, 0.0, 0.0], [5.0, 4.0, -3.0]])
    towards = torch.tensor([[0.1, 1.0, 0.0], [1.0, 2.0, 3.0], [-1.0, -1.0, 0.5]])
    direction = torch.nn.functional.normalize(towards, dim=1)
    low, high, margin = (-1.0, -0.7, -1.2), (1.0, 0.8, 1.0), 0.5
    cells = march.distances(torch.ones(4, 4, 4, dtype=torch.bool))
    found = march.sample(origin, direction, torch.tensor([0.0, 0.5, 0.9]), torch.tensor([*low, *high, margin]), cells,
                         near=0.1, far=20.0, step=0.05)
    centre, half = (torch.tensor([0.5 * (h + sign * s) for s, h in zip(low, high)], dtype=torch.float64)
                    for sign in (1, -1))
    volume = Volume(low, high, margin, cells, 0.05, 0.5, 0.0)
    for i, first in enumerate((0.1, 0.125, 0.145)):
        t, expected = first, []
        while t < 20.0:
            expected.append(t)
            t += 0.05 * max(float(((origin[i] + t * direction[i] - centre) / half).abs().max()), 1.0)
        mine = slice(int(found.offsets[i]), int(found.offsets[i + 1]))
        wanted = torch.tensor(expected, dtype=torch.float64)
        torch.testing.assert_close(found.t[mine].double(), wanted, atol=1e-4, rtol=1e-4)
        x = origin[i].double() + wanted[:, None] * direction[i].double()
        torch.testing.assert_close(found.position[mine].double(), unit_from_world(volume, x), atol=1e-4, rtol=0)


def _walked_alone(origin: Any, direction: Any, box: Any, occupied: Any, near: float, step: float) -> Any:
    """Distances along one ray in a box by numpy, in single precision: every step is looked at, none is jumped over."""
    f, size = np.float32, np.array(occupied.shape, dtype=np.float32)
    low, high = box[:3], box[3:6]
    inverse = f(1) / direction
    a, b = (low - origin) * inverse, (high - origin) * inverse
    first = np.maximum(f(near), np.minimum(a, b).max()) + f(0.5) * f(step)
    end, extent = np.maximum(a, b).min(), high - low
    t = first + np.arange(max(int((end - first) / f(step)), 0) + 2).astype(f) * f(step)
    t = t[t < end]
    unit = (origin - low) / extent + t[:, None] * (direction / extent)
    cell = np.clip((unit * size).astype(np.int64), 0, np.array(occupied.shape) - 1)
    return t[occupied[tuple(cell.T)]]


@pytest.mark.parametrize("share", [0.03, 0.5, 1.0])
def test_packs_of_samples_are_those_found_one_by_one(share: float) -> None:
    """Rays of all lengths, through next to nothing, through patches and where all is occupied: to the bit."""
    generator = torch.Generator().manual_seed(6)
    occupied = torch.rand(12, 9, 10, generator=generator) < share
    origin, direction = _rays(300)
    origin[100:] = 2.2 * torch.rand(200, 3, generator=generator) - 1.1  # some inside, some that miss
    box = torch.tensor([-1.0, -0.8, -1.2, 1.0, 0.9, 1.0, 0.0])
    found = march.sample(origin, direction, torch.full((300,), 0.5), box, march.distances(occupied), near=0.05,
                         far=100.0, step=0.02)
    expected = [_walked_alone(o, d, box.numpy(), occupied.numpy(), 0.05, 0.02)
                for o, d in zip(origin.numpy(), direction.numpy())]
    assert sum(len(t) for t in expected) > 200
    assert (found.offsets[1:] - found.offsets[:-1]).tolist() == [len(t) for t in expected]
    assert np.array_equal(found.t.numpy(), np.concatenate(expected))


def test_distances_are_exact() -> None:
    occupied = torch.rand(7, 9, 18, generator=torch.Generator().manual_seed(0)) < 0.01
    ours = march.distances(occupied)
    at = torch.stack(torch.meshgrid(*(torch.arange(n) for n in occupied.shape), indexing="ij"), -1).reshape(-1, 3)
    brute = (at[:, None] - occupied.nonzero()).abs().amax(-1).amin(1)
    assert torch.equal(ours.reshape(-1).long(), brute)


def test_no_cell_no_sample() -> None:
    origin, direction = _rays(5)
    cells = march.distances(torch.zeros(4, 4, 4, dtype=torch.bool))
    found = march.sample(origin, direction, torch.zeros(5), torch.tensor([-1.0, -1, -1, 1, 1, 1, 0]), cells, near=0.0,
                         far=10.0, step=0.1)
    assert len(found.t) == 0
    assert found.offsets.tolist() == [0] * 6


def test_same_bits_on_two_threads() -> None:
    example = list(march.examples())[4]
    raw = example["raw"].requires_grad_()
    before, out = native.get_threads(), []
    for n in (1, 2):
        native.set_threads(n)
        blended = march.composite(**example)
        out.append((blended.rgb, torch.autograd.grad((blended.rgb**2).sum(), raw)[0]))
    native.set_threads(before)
    assert torch.equal(out[0][0], out[1][0])
    assert torch.equal(out[0][1], out[1][1])


def test_wrong_arguments_are_named() -> None:
    example = F64[2]
    with pytest.raises(ValueError, match="colour"):
        march.composite(**example | {"colour": example["colour"][:-1]})
    with pytest.raises(TypeError, match="background"):
        march.composite(**example | {"background": torch.zeros(3)})
    with pytest.raises(ValueError, match="offsets"):
        march.composite(**example | {"offsets": example["offsets"][:-1]})
