"""Lists with more room than entries: what lies behind the last entry changes no bit, and nobody waits for a length."""

from __future__ import annotations

from contextlib import nullcontext
from types import ModuleType

import pytest
import torch
from pretend import CUDA, WAITS, pretended_gpu
from torch import Tensor
from volume_cuda_test import LOOKUPS, Lookup

from recon.losses.squared import SquaredError
from recon.ops import room as rooms
from recon.ops.chosen import Counted, choose, mean_of, places
from recon.ops.grid import trilinear
from recon.ops.grid_cuda import GridKernels
from recon.ops.march import distances
from recon.ops.mlp_cuda import MlpKernels
from recon.ops.room import Room
from recon.renderers.march import MarchRenderer
from recon.types import Camera, Observation, Rays, Render, Volume
from recon.types.perspective import Perspective


def _random(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("lookup", LOOKUPS, ids=[x.name for x in LOOKUPS])
def test_points_without_a_gradient_change_no_bit(executor: ModuleType, lookup: Lookup) -> None:
    kernels = GridKernels(executor)
    found = []
    for more in (0, 90):
        u = torch.cat([lookup.points, torch.zeros(more, 3)])
        g = torch.cat([_random(1, len(lookup.points), lookup.width), torch.zeros(more, lookup.width)])
        into = [torch.ones_like(p) for p in lookup.parameters]
        getattr(kernels, f"grid_{lookup.name}_backward")(*lookup.backward(lookup.parameters, u, g), *into)
        found.append(into)
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_rows_without_a_gradient_change_no_bit_of_a_network(executor: ModuleType) -> None:
    sizes, count = [3, 4, 2], 4500  # more than one part of the sum over rows
    parameters, x, g = _random(1, 4 * 4 + 5 * 2), _random(2, count, 3), _random(3, count, 2)
    none = torch.empty(0, 0), torch.empty(0, dtype=torch.int32)
    found = []
    for more in (0, 4000):
        rows, g_out = torch.cat([x, x[:more]]), torch.cat([g, torch.zeros(more, 2)])
        g_x, g_parameters = torch.empty_like(rows), torch.zeros_like(parameters)
        MlpKernels(executor).mlp_backward(sizes, parameters, rows, *none, True, g_out, g_x, g_parameters)
        found.append((g_x[:count], g_parameters))
        assert (g_x[count:] == 0).all()
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("count", [0, 1, 5000])
def test_means_of_what_counts(count: int) -> None:
    values, found = _random(4, count), []
    for more in (1, 3000):
        counted = torch.cat([torch.ones(count, dtype=torch.bool), torch.zeros(more, dtype=torch.bool)])
        rows = torch.cat([values, torch.full((more,), float("inf"))])
        with pretended_gpu():
            part = Counted(rows.to(CUDA).requires_grad_(), counted.to(CUDA))
            before = len(WAITS)
            mean = mean_of(lambda r: 2 * r, part, part)
            mean.backward()
            assert WAITS[before:] == []
            g = part.rows.grad
            assert g is not None
            found.append((mean.detach().cpu(), g.cpu()[:count]))
            assert (g.cpu()[count:] == 0).all()
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
    exact = 2 * values.double().mean() if count else torch.zeros(())
    torch.testing.assert_close(found[0][0].double(), exact.double(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found[0][1], torch.full((count,), 2 / max(count, 1)))


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("size", [40, 100, 7])
def test_rows_are_chosen_into_the_room_there_is(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(rooms, "_UNIT", 1)
    x, mask = _random(5, 100, 3), _random(6, 100) > 0.4
    heavy = mask & (_random(7, 100) > 0)
    exact, few = choose(mask, "exact"), choose(heavy, "few")
    total = len(exact)
    assert 7 < total <= 40
    room = Room()
    room.sizes.update(front=size, heavy=size)
    with pretended_gpu():
        on, all_of_them, some = x.to(CUDA).requires_grad_(), mask.to(CUDA), heavy.to(CUDA)
        before = len(WAITS)
        with room.opened(1):
            chosen, second = choose(all_of_them, "front"), choose(some, "heavy")
            rows = chosen.of(on)
            where = places(second, chosen, chosen.before())
        weight = torch.where(chosen.index >= 0, 1.0, 0.0)
        (rows * weight[:, None] * rows.detach()).sum().backward()
        assert WAITS[before:] == []
        held = min(total, size)
        assert len(rows) == size
        assert torch.equal(chosen.index.cpu()[:held], exact.index[:held])
        assert (chosen.index.cpu()[held:] == -1).all()
        assert torch.equal(rows.detach().cpu()[:held], x[exact.index[:held]])
        assert torch.equal(chosen.before().cpu(), exact.before().clamp_max(size))
        expected = torch.zeros_like(x).index_copy_(0, exact.index[:held], x[exact.index[:held]])
        assert torch.equal(on.grad.cpu(), expected)
        sought = places(few, exact, exact.before())[:size]
        assert torch.equal(where.cpu()[: len(sought)], torch.where(sought < size, sought, -1))
        assert (where.cpu()[len(sought):] == -1).all()
        enough = room.enough()
        assert enough is not None
        assert bool(enough) == (size >= total)
        assert room.lost(wait=True) == (size < total)
        assert room.sizes["front"] >= total


@pytest.mark.usefixtures("gpu")
def test_room_that_is_not_needed_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rooms, "_UNIT", 1)
    room = Room()

    def step(needed: int, *, wait: bool = False) -> int:
        with room.opened():
            size = room.take("list", torch.tensor([needed], dtype=torch.int32).to(CUDA, non_blocking=True))
        assert room.lost(wait=wait) == 0
        return size

    with pretended_gpu():
        sizes = [step(1000), step(900, wait=True), step(100)]
        assert sizes == [1250] * 3  # a few steps say little
        for needed in range(100, 100 + rooms.WINDOW):
            step(needed)
        assert step(50, wait=True) == 1250  # the first steps needed so much
        for needed in range(100, 100 + rooms.WINDOW):
            step(needed)
        assert step(50, wait=True) == 1250
        assert step(100) == int(1.25 * (99 + rooms.WINDOW))
        before = len(WAITS)
        for _ in range(5):
            step(100)
        assert WAITS[before:] == []
        assert not room.grown


class Cloud:
    """A dense grid of density and colour with a Volumetric's methods; half of its cells are empty."""

    def __init__(self, values: Tensor, cells: Tensor) -> None:
        self.values, self.cells = values, cells

    def volume(self) -> Volume:
        return Volume((-1.0, -1.0, -1.0), (1.0, 1.0, 1.0), 0.5, self.cells, 0.15, 0.6, -0.5)

    def density_and_more(self, u: Tensor, footprint: Tensor) -> tuple[Tensor, Tensor | None]:
        return trilinear(self.values, u)[:, 0].contiguous(), None

    def radiance(self, u: Tensor, footprint: Tensor, direction: Tensor, ray: Tensor, more: Tensor | None) -> Tensor:
        return torch.sigmoid(trilinear(self.values, u)[:, 1:] + direction.index_select(0, ray)).contiguous()


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("facing", [False, True])
def test_a_picture_of_rays_has_the_same_bits_with_more_room(monkeypatch: pytest.MonkeyPatch, facing: bool) -> None:
    monkeypatch.setattr(rooms, "_UNIT", 1)
    values, cells = 2 * _random(8, 5, 6, 4, 4), distances(_random(9, 6, 6, 6) > 0)
    direction = torch.nn.functional.normalize(_random(10, 20, 3) + torch.tensor([0.0, 0.0, 3.0]), dim=1)
    rays = Rays(torch.tensor([[0.0, 0.1, -2.5]]).repeat(20, 1), direction, torch.full((20,), 0.01), (20, 1), seed=3)
    names = ("samples", "coloured samples", "samples in front")
    found = []
    for size in (None, 2000, 3):
        room = Room()
        room.sizes.update({} if size is None else dict.fromkeys(names, size))
        with pretended_gpu():
            field = Cloud(values.to(CUDA).requires_grad_(), cells.to(CUDA))
            if facing:
                seen = Perspective(torch.eye(4), 0.5)
                monkeypatch.setattr(Cloud, "volume", lambda self, seen=seen: Volume(
                    (-1.0, -1.0, 0.0), (1.0, 1.0, 1.0), 0.0, self.cells, 0.05, 0.6, -0.5, seen))
            sent, before = rays.to(CUDA), len(WAITS)
            with nullcontext() if size is None else room.opened():
                picture = MarchRenderer().render_rays(field, sent, want=("rgb", "opacity"))
            assert picture.opacity is not None
            loss = picture.rgb.square().sum() + picture.opacity.sum() + picture.trace.distortion.sum()
            enough = room.enough()
            (loss if enough is None else loss * enough[0]).backward()
            assert bool(WAITS[before:]) == (size is None)
            g = field.values.grad
            assert g is not None
            if size == 3:
                assert room.lost(wait=True) == 1
                assert (g.cpu() == 0).all()
                assert min(room.sizes[n] for n in names) > 20
            else:
                found.append([t.detach().cpu() for t in (picture.rgb, picture.opacity, loss, g)])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
    assert float(found[0][3].norm()) > 0.1


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("share", [0.0, 0.5, 2.0])
def test_a_mask_is_counted_without_a_wait(share: float) -> None:
    rgb, target = torch.rand(4, 5, 3), torch.rand(3, 4, 5)
    mask = (torch.rand(4, 5) < share).to(torch.uint8)
    camera = Camera(5, 4, torch.ones(4), torch.eye(4))
    exact = SquaredError().value(Render(rgb), Observation(camera, target, mask, torch.zeros(3), 0))
    with pretended_gpu():
        seen = Observation(camera, target.to(CUDA), mask.to(CUDA), torch.zeros(3), 0)
        picture, before = Render(rgb.to(CUDA)), len(WAITS)
        found = SquaredError().value(picture, seen)
        assert WAITS[before:] == []
    assert torch.equal(found.cpu(), exact)
