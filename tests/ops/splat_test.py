"""Splatting: what it promises its callers, hostile numbers, the fused optimizer step, and closed forms."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Iterator
from types import ModuleType

import numpy as np
import psutil
import pytest
import torch
from torch import Tensor

from recon.ops import splat
from recon.ops.splat import COLOUR, CONIC, DEPTH, OPACITY, RADIUS, Projection, composite, project
from recon.ops.splat_reference import PARAMETERS, Example, cloud, examples, pixel_alphas, pixel_centres, turned_camera
from recon.strategies.mcmc import copy_rule
from recon.types import Camera
from recon.types.sh import basis, rotate_sh

EXAMPLES = {e.name: e for e in examples()}
Face = ModuleType


@pytest.fixture
def face(kernels: ModuleType, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """recon.ops.splat on the kernels of one instruction set."""
    monkeypatch.setattr(splat, "native", kernels)
    monkeypatch.setattr(splat, "_pool", splat._ListPool())
    return splat


@pytest.fixture(autouse=True)
def _on_one_thread(threads: Callable[[int], None]) -> Iterator[None]:
    """Pictures are tiny here: waiting for threads would take longer than the work."""
    threads(1)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _random(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(5))


def _render(example: Example, rows: dict[str, Tensor] | None = None, *, depth: bool = True) -> list[Tensor]:
    """Records, picture, transmittance and the gradients of all parameters, of records and of the background."""
    rows = example.rows(torch.float32, gradient=True) if rows is None else rows
    background = example.background.float().requires_grad_()
    width, height = example.camera.size
    records = project(**rows, camera=example.camera, settings=example.settings)
    records.retain_grad()
    picture, transmittance = composite(records, width, height, background, depth=depth, absolute=True)
    ((picture * _random(*picture.shape)).sum() + (transmittance * _random(height, width)).sum()).backward()
    return [records.detach(), picture.detach(), transmittance.detach(), *(rows[k].grad for k in PARAMETERS),
            records.grad, background.grad]


def _same_bits(a: list[Tensor], b: list[Tensor]) -> bool:
    return all(torch.equal(x.view(torch.int32), y.view(torch.int32)) for x, y in zip(a, b))


def _many(n: int = 6000) -> Example:
    """Enough Gaussians for several pieces of work, over many tiles."""
    camera = turned_camera(150, 90, 120, 120)
    return Example("many", cloud(camera, n, 1, degree=1, pixels=(0.5, 6), logits=(-3, 3)), camera, Projection(1))


# ---------------------------------------------------------------- contract


def test_threads_and_repeats_give_the_same_bits(face: Face, threads: Callable[[int], None]) -> None:
    example, results = _many(), []
    for n in (1, 2, 3, 2):
        threads(n)
        results.append(_render(example))
    assert (results[0][0][:, RADIUS] > 0).sum() > 4096  # more than one piece everywhere
    assert all(g.abs().sum() > 0 for g in results[0][3:])
    for other in results[1:]:
        assert _same_bits(results[0], other)


def test_a_row_does_not_depend_on_its_neighbours(face: Face) -> None:
    """Rows travel in packs; in another order and company each gives the same bits."""
    for name in ("outside", "behind and near", "antialiased"):
        example = EXAMPLES[name]
        order = torch.randperm(len(example.parameters["means"]), generator=torch.Generator().manual_seed(0))[:-3]
        results = []
        for pick in (torch.arange(len(example.parameters["means"])), order):
            rows = {k: v[pick].requires_grad_() for k, v in example.rows(torch.float32).items()}
            records = project(**rows, camera=example.camera, settings=example.settings)
            upstream = _random(len(example.parameters["means"]), 12)[pick]
            records.backward(upstream)
            drawn = (records[:, RADIUS] > 0).float()[:, None]
            results.append([records.detach() * drawn, *(v.grad for v in rows.values())])
        assert all(torch.equal(a[order], b) for a, b in zip(*results))


def test_gradients_do_not_depend_on_what_the_lists_held_before(face: Face) -> None:
    small, large = EXAMPLES["degree 3"], _many(3000)
    fresh = _render(small)
    _render(large)
    gc.collect()
    assert _same_bits(fresh, _render(small))


def test_two_pictures_at_once_keep_their_own_lists(face: Face) -> None:
    background = torch.zeros(3)
    records = [project(**EXAMPLES[k].rows(torch.float32), camera=EXAMPLES[k].camera, settings=EXAMPLES[k].settings)
               for k in ("degree 3", "outside")]
    sizes = [EXAMPLES[k].camera.size for k in ("degree 3", "outside")]
    alone = []
    for r, size in zip(records, sizes):
        leaf = r.clone().requires_grad_()
        composite(leaf, *size, background)[0].square().sum().backward()
        alone.append(leaf.grad)
    leaves = [r.clone().requires_grad_() for r in records]
    pictures = [composite(leaf, *size, background)[0] for leaf, size in zip(leaves, sizes)]
    pictures[0].square().sum().backward()
    pictures[1].square().sum().backward(retain_graph=True)
    first = leaves[1].grad.clone()
    pictures[1].square().sum().backward()  # a second time on the same lists
    assert torch.equal(leaves[0].grad, alone[0])
    assert torch.equal(first, alone[1])
    assert torch.equal(leaves[1].grad, 2 * alone[1])


def test_lists_are_reused_and_forward_alone_does_not_leak(face: Face) -> None:
    example = _many(1000)
    rows = example.rows(torch.float32, gradient=True)

    def forward() -> None:
        records = project(**rows, camera=example.camera, settings=example.settings)
        composite(records, *example.camera.size, torch.zeros(3))

    for _ in range(20):
        forward()
    gc.collect()
    (lists,) = face._pool._free[torch.float32]
    size, resident = lists.bytes, psutil.Process().memory_info().rss
    for _ in range(200):
        forward()
    gc.collect()
    assert face._pool._free[torch.float32] == [lists]
    assert lists.bytes == size
    # one picture's lists and tensors are about 0.5 MB: a leak would show as 100 MB
    assert psutil.Process().memory_info().rss - resident < 20e6


def test_nothing_to_draw(face: Face) -> None:
    for degree in (0, 3):
        camera = turned_camera()
        example = Example("empty", cloud(camera, 0, 0, degree=degree), camera, Projection(degree))
        records, picture, transmittance, *gradients = _render(example)
        assert records.shape == (0, 12)
        assert torch.equal(picture[:3], example.background.float()[:, None, None].expand(3, 17, 33))
        assert (picture[3] == 0).all()
        assert (transmittance == 1).all()
        assert all(g.numel() == 0 for g in gradients[:-1])


def test_everything_behind_the_camera(face: Face) -> None:
    camera = turned_camera()
    example = Example("behind", cloud(camera, 33, 0, depth=(-5, -1)), camera)
    records, _, transmittance, *gradients = _render(example)
    assert (records[:, RADIUS] == 0).all()
    assert (transmittance == 1).all()
    assert all((g == 0).all() for g in gradients[:-1])


@pytest.mark.parametrize("name", PARAMETERS)
def test_wrong_parameters_are_refused_by_name(name: str) -> None:
    example = EXAMPLES["degree 3"]
    good = example.rows(torch.float32)
    call = {"camera": example.camera, "settings": example.settings}
    with pytest.raises(TypeError, match=f"{name} must be torch.float32, got torch.float64"):
        project(**good | {name: good[name].double()}, **call)
    strided = torch.stack([good[name], good[name]], -1)[..., 0]
    with pytest.raises(ValueError, match=f"{name} must be contiguous"):
        project(**good | {name: strided}, **call)
    longer = torch.cat([good[name], good[name][:1]])
    with pytest.raises(ValueError, match="must be"):
        project(**good | {name: longer}, **call)
    with pytest.raises(TypeError, match=r"must be torch\.float64"):
        project(**good, **call, check=True)


@pytest.mark.parametrize(("change", "error", "words"), [
    ({"records": torch.zeros(4, 12, dtype=torch.float64)}, TypeError, "records must be torch.float32"),
    ({"records": torch.zeros(12, 4).T}, ValueError, "records must be contiguous"),
    ({"records": torch.zeros(4, 11)}, ValueError, r"records must be contiguous \[n, 12\], got \[4, 11\]"),
    ({"background": torch.zeros(3, dtype=torch.float64)}, TypeError, "background must be torch.float32"),
    ({"background": torch.zeros(4)}, ValueError, r"background must be \[3\]"),
    ({"width": 0}, ValueError, "picture size must be positive"),
    ({"height": -1}, ValueError, "picture size must be positive"),
])
def test_wrong_arguments_of_composite_are_refused(change: dict, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        composite(**{"records": torch.zeros(4, 12), "width": 8, "height": 8, "background": torch.zeros(3)} | change)


def test_wrong_degree_and_lens_are_refused() -> None:
    example = EXAMPLES["degree 1"]
    for degree in (2, 4, -1):
        with pytest.raises(ValueError, match="degree"):
            project(**example.rows(torch.float32), camera=example.camera, settings=Projection(degree))


def test_kernels_never_convert(kernels: ModuleType) -> None:
    lists, picture = kernels.SplatLists(), torch.empty(3, 8, 8)
    good = [torch.zeros(4, 12), 8, 8, torch.zeros(3), picture, torch.empty(8, 8)]
    kernels.splat_composite(lists, *good)
    for at, bad in ((0, torch.zeros(4, 12, dtype=torch.float64)), (0, torch.zeros(12, 4).T),
                    (4, torch.empty(3, 8, 16)[..., ::2]), (5, torch.empty(8, 8, dtype=torch.float64))):
        with pytest.raises(TypeError):
            kernels.splat_composite(lists, *good[:at], bad, *good[at + 1:])
    with pytest.raises(ValueError, match="picture must be"):
        kernels.splat_composite(lists, *good[:4], torch.empty(3, 8, 9), good[5])


# ---------------------------------------------------------------- hostile numbers

HOSTILE = (math.nan, math.inf, -math.inf, 1e-42, -1e-42, 0.0, 1e38, -1e38, 1e20, -1e20, 100.0, -100.0)


@pytest.mark.parametrize("antialiased", [False, True], ids=["plain", "antialiased"])
@pytest.mark.parametrize("seed", range(4))
def test_hostile_rows_do_no_harm_to_others(face: Face, seed: int, antialiased: bool) -> None:
    """NaN, Inf, denormals and huge numbers in any geometry: nothing crashes, and finite rows get finite gradients."""
    generator = torch.Generator().manual_seed(seed)
    camera = turned_camera(70, 40, 60, 60)
    example = Example("hostile", cloud(camera, 301, seed, margin=0.2), camera, Projection(3, antialiased))
    rows = example.rows(torch.float32)
    for name in ("means", "log_scales", "quaternions", "logits"):
        flat = rows[name].view(-1)
        where = torch.randperm(len(flat), generator=generator)[: len(flat) // 12]
        values = torch.tensor(HOSTILE)[torch.randint(len(HOSTILE), (len(where),), generator=generator)]
        flat[where] = values
    rows["quaternions"][:20] = 0  # no direction
    rows["quaternions"][20:30] = 1e-30
    rows["means"][30:40] = camera.centre.float()  # at the camera's centre
    rows["means"][40:50] = (camera.centre + 1e-7 * camera.forward).float()
    rows["log_scales"][50:60] = torch.tensor([30.0, -30.0, 12.0])  # a blade across everything
    sound = torch.stack([v.flatten(1).isfinite().all(1) if v.ndim > 1 else v.isfinite() for v in rows.values()]).all(0)
    assert 100 < sound.sum() < 301
    rows = {k: v.requires_grad_() for k, v in rows.items()}
    records, picture, transmittance, *gradients = _render(example, rows)
    drawn = records[:, RADIUS] > 0
    assert drawn.sum() > 50
    assert not drawn[30:40].any()
    assert torch.isfinite(records[drawn]).all()
    assert torch.isfinite(picture).all()
    assert ((transmittance >= 0) & (transmittance <= 1)).all()
    for name, gradient in zip(PARAMETERS, gradients):
        assert torch.isfinite(gradient[sound]).all(), name
        assert (gradient[~drawn] == 0).all(), name


def test_nan_colour_stays_with_its_gaussian(face: Face) -> None:
    example = EXAMPLES["degree 3"]
    rows = example.rows(torch.float32)
    rows["sh0"][3, 1] = math.nan
    rows["sh_rest"][5, 7, 2] = math.nan
    _, picture, _, *gradients = _render(example, {k: v.requires_grad_() for k, v in rows.items()})
    assert torch.isfinite(picture).all()
    others = [i for i in range(24) if i not in (3, 5)]
    assert all(torch.isfinite(g[others]).all() for g in gradients[:6])


def test_hostile_records_do_not_crash(face: Face) -> None:
    """composite() takes records from anywhere."""
    generator = torch.Generator().manual_seed(0)
    example = EXAMPLES["outside"]
    good = project(**example.rows(torch.float32), camera=example.camera, settings=example.settings)
    for value in (math.nan, math.inf, -math.inf, 1e38, -1e38, 0.0, 1e-42):
        for column in range(12):
            records = good.clone()
            records[torch.rand(len(records), generator=generator) < 0.3, column] = value
            records.requires_grad_()
            picture, transmittance = composite(records, *example.camera.size, torch.zeros(3), depth=True)
            (picture.sum() + transmittance.sum()).backward()
            assert records.grad.shape == good.shape
            assert ((transmittance >= 0) & (transmittance <= 1)).all()


def test_any_size_at_any_place_is_binned_right() -> None:
    """From 1/1000 to 30,000 pixels, round to needles, inside and out: tiles and block masks against every pixel."""
    generator = torch.Generator().manual_seed(0)
    camera = Camera(96, 80, torch.tensor([100.0, 100, 48, 40]), torch.eye(4))
    background = torch.zeros(3, dtype=torch.float64)

    def between(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(*shape, generator=generator, dtype=torch.float64)

    n = 200
    z = between(-2, 3, n, 1).exp()
    pixels = torch.cat([between(-80, 180, n, 1), between(-80, 160, n, 1)], 1)
    log_scales = between(math.log(1e-3), math.log(3e4), n, 3)
    log_scales[: n // 4] = torch.stack([between(math.log(100), math.log(3e4), n // 4), *between(-6, -4, 2, n // 4)], 1)
    quaternions = torch.randn(n, 4, generator=generator, dtype=torch.float64)
    quaternions[: n // 4, 1:3] = 0  # needles in the plane of the picture
    records = project(torch.cat([(pixels - torch.tensor([48.0, 40])) / 100 * z, z], 1), log_scales + (z / 100).log(),
                      quaternions, between(-5, 8, n), torch.zeros(n, 3, dtype=torch.float64),
                      torch.zeros(n, 0, 3, dtype=torch.float64), camera, Projection(0), check=True)
    drawn = records[records[:, RADIUS] > 0]
    assert len(drawn) > 120
    for record in drawn.split(1):
        _, transmittance = composite(record, 96, 80, background, check=True)
        want = 1 - pixel_alphas(record, 96, 80).clamp(max=float(torch.tensor(0.99))).reshape(80, 96)
        torch.testing.assert_close(transmittance, want, rtol=0, atol=1e-9)


# ---------------------------------------------------------------- backward of the projection fused with Adam


def _fused(example: Example, **change: object) -> tuple[dict[str, Tensor], list[Tensor], list[Tensor], Tensor, Tensor]:
    """Parameters, moments, records and their gradient, ready for project_backward_adam_."""
    rows = example.rows(torch.float32)
    records = project(**rows, camera=example.camera, settings=example.settings)
    ms = [0.1 * _random(*v.shape) for v in rows.values()]
    vs = [0.1 * _random(*v.shape).square() for v in rows.values()]
    return rows, ms, vs, records, _random(*records.shape)


@pytest.mark.parametrize("extra", [False, True], ids=["alone", "with regularizers"])
@pytest.mark.parametrize("name", ["degree 0", "degree 1 of 3", "degree 3", "1 elements", "17 elements", "outside",
                                  "behind and near", "antialiased"])
def test_fused_adam_is_backward_then_adam(name: str, extra: bool, face: Face) -> None:
    example, rates, step = EXAMPLES[name], [1e-3, 5e-3, 1e-3, 5e-2, 2.5e-3, 1e-4], 7
    rows, ms, vs, records, g_records = _fused(example)
    leaves = {k: v.clone().requires_grad_() for k, v in rows.items()}
    project(**leaves, camera=example.camera, settings=example.settings).backward(g_records)
    more = {"log_scales": _random(*rows["log_scales"].shape), "logits": _random(*rows["logits"].shape)} if extra else {}
    drawn = records[:, RADIUS] > 0
    wanted = []
    for (k, leaf), m, v, rate in zip(leaves.items(), ms, vs, rates):
        g = (leaf.grad + more.get(k, 0.0)).double()
        new_m, new_v = 0.9 * m.double() + 0.1 * g, 0.999 * v.double() + 0.001 * g * g
        x = leaf.detach() - rate * (new_m / (1 - 0.9**step)) / ((new_v / (1 - 0.999**step)).sqrt() + 1e-15)
        wanted.append([torch.where(drawn.view(-1, *[1] * (m.ndim - 1)), after.float(), before)
                       for after, before in ((x, leaf.detach()), (new_m, m), (new_v, v))])
    before = [v.clone() for v in rows.values()]
    params = [v.requires_grad_() for v in rows.values()]
    refused = splat.project_backward_adam_(params, ms, vs, rates, example.camera, example.settings, records, g_records,
                                           step=step, extra_log_scales=more.get("log_scales"),
                                           extra_logits=more.get("logits"))
    assert refused == 0
    for got_x, got_m, got_v, want, was in zip(params, ms, vs, wanted, before):
        for got, expected in zip((got_x.detach(), got_m, got_v), want):
            torch.testing.assert_close(got, expected, rtol=2e-5, atol=1e-6)
            assert torch.equal(got[~drawn], expected[~drawn])
        if was.numel():
            assert (got_x.detach() != was)[drawn].any()


def test_fused_adam_refuses_what_is_not_finite(face: Face) -> None:
    example = EXAMPLES["17 elements"]
    rows, ms, vs, records, g_records = _fused(example)
    drawn = (records[:, RADIUS] > 0).nonzero().squeeze(1)
    bad = drawn[:2]
    g_records[bad[0], 0], g_records[bad[1], 6] = math.nan, math.inf
    before = [t.clone() for t in (*rows.values(), *ms, *vs)]
    refused = splat.project_backward_adam_(list(rows.values()), ms, vs, [0.01] * 6, example.camera, example.settings,
                                           records, g_records, step=1)
    assert refused == 2
    for now, was in zip((*rows.values(), *ms, *vs), before):
        assert torch.isfinite(now).all()
        assert torch.equal(now[bad], was[bad])
        assert (now != was)[drawn[2:]].any()


@pytest.mark.parametrize("which", ["params", "ms", "vs", "records", "g_records"])
@pytest.mark.parametrize("kind", ["dtype", "strided", "shape"])
def test_fused_adam_never_updates_a_copy(which: str, kind: str, face: Face) -> None:
    example = EXAMPLES["17 elements"]
    rows, ms, vs, records, g_records = _fused(example)
    arguments = {"params": list(rows.values()), "ms": ms, "vs": vs, "records": records, "g_records": g_records}

    def spoil(t: Tensor) -> Tensor:
        return {"dtype": t.double(), "strided": torch.stack([t, t], -1)[..., 0], "shape": t[:-1]}[kind]

    value = arguments[which]
    if isinstance(value, list):
        value[1] = spoil(value[1])
    else:
        arguments[which] = spoil(value)
    with pytest.raises((TypeError, ValueError)):
        splat.project_backward_adam_(**arguments, rates=[0.01] * 6, camera=example.camera, settings=example.settings,
                                     step=1)


# ---------------------------------------------------------------- closed forms


def _one(camera: Camera, z: float, sigma: float, opacity: float, colour: Tensor, **settings: float) -> Tensor:
    """Records of one isotropic Gaussian on the optical axis (float64)."""
    mean = camera.centre + z * camera.forward
    sh0 = ((colour - 0.5) / 0.28209479177387814).double()[None]
    return project(mean[None], torch.full((1, 3), math.log(sigma), dtype=torch.float64),
                   torch.tensor([[1.0, 0, 0, 0]], dtype=torch.float64),
                   torch.tensor([math.log(opacity / (1 - opacity))], dtype=torch.float64), sh0,
                   torch.zeros(1, 0, 3, dtype=torch.float64), camera, Projection(0, **settings), check=True)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_profile_and_integral_of_one_gaussian(dtype: torch.dtype, face: Face) -> None:
    camera = turned_camera(81, 71, 90, 90)
    opacity, z, sigma = 0.8, 3.0, 0.2
    records = _one(camera, z, sigma, opacity, torch.ones(3)).to(dtype)
    _, transmittance = composite(records, 81, 71, torch.zeros(3, dtype=dtype), check=dtype == torch.float64)
    variance = 90.0**2 * sigma**2 / z**2 + 0.3
    centres = pixel_centres(81, 71, torch.float64)
    squared = (centres - torch.tensor([40.5, 35.5])).square().sum(1).reshape(71, 81)
    want = opacity * torch.exp(-squared / 2 / variance)
    inside = want > 1.001 / 255
    assert inside.sum() > 1000
    assert (1 - transmittance - want)[inside].abs().max() < 1e-6
    assert (transmittance[want < 0.999 / 255] == 1).all()
    # cut at 1/255, the integral is 2 pi det^(1/2) (o - 1/255) and not 2 pi det^(1/2) o
    assert float((1 - transmittance).sum()) == pytest.approx(2 * math.pi * variance * (opacity - 1 / 255), rel=2e-3)


def test_order_of_opaque_planes_and_remaining_light(face: Face) -> None:
    camera = turned_camera(20, 20, 20, 20)
    red, blue = torch.tensor([1.0, 0, 0]), torch.tensor([0, 0, 1.0])
    for near, far in ((red, blue), (blue, red)):
        # three of each: 0.99^3 leaves less than 1e-4
        stack = [_one(camera, z, 40.0, 0.995, c) for z, c in ((4.0, far), (2.0, near), (4.1, far), (2.1, near))]
        records = torch.cat(stack).float()
        picture, transmittance = composite(records, 20, 20, torch.ones(3))
        torch.testing.assert_close(picture[:, 10, 10], near, rtol=0, atol=2e-4)
        assert transmittance.max() < 1e-3
    thin = torch.cat([_one(camera, 2.0 + 0.1 * i, 0.3, 0.1 * (i + 1), red) for i in range(5)])
    _, transmittance = composite(thin, 20, 20, torch.zeros(3, dtype=torch.float64), check=True)
    want = (1 - pixel_alphas(thin, 20, 20)).prod(0).reshape(20, 20)
    assert transmittance.min() < 0.2
    torch.testing.assert_close(transmittance, want, rtol=1e-12, atol=0)


def test_depth_channel_is_the_weighted_depth(face: Face) -> None:
    camera = turned_camera(20, 20, 20, 20)
    records = torch.cat([_one(camera, z, 50.0, 0.4, torch.ones(3)) for z in (2.0, 5.0)]).float()
    picture, transmittance = composite(records, 20, 20, torch.ones(3), depth=True)
    assert float(picture[3, 10, 10]) == pytest.approx(0.4 * 2 + 0.6 * 0.4 * 5, abs=1e-3)
    assert float(transmittance[10, 10]) == pytest.approx(0.36, abs=1e-3)


def test_degree_one_light_shines_along_its_axis(face: Face) -> None:
    """A light that grows with -y, z or -x of the viewing direction, and the same light turned with the camera."""
    for axis, (coefficient, sign) in enumerate(((2, -1.0), (0, -1.0), (1, 1.0))):
        direction = torch.zeros(3, dtype=torch.float64)
        direction[axis] = 1.0
        rest = torch.zeros(1, 3, 3)
        rest[0, coefficient] = 0.5
        for side in (1.0, -1.0):
            value = _seen_from(direction * side, rest)
            assert value == pytest.approx(0.5 + sign * side * 0.5 * 0.4886025119, abs=1e-5)
        turn = turned_camera().world_from_camera[:3, :3]
        turned = rotate_sh(torch.cat([torch.zeros(1, 1, 3), rest], 1), turn)[:, 1:]
        assert _seen_from(turn @ direction, turned) == pytest.approx(0.5 + sign * 0.5 * 0.4886025119, abs=1e-5)


def _seen_from(direction: Tensor, rest: Tensor) -> float:
    """Red of a Gaussian at the origin seen along ``direction``."""
    helper = torch.eye(3, dtype=torch.float64)[(direction.abs().argmax() + 1) % 3]
    right = torch.nn.functional.normalize(torch.linalg.cross(helper, direction), dim=0)
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, :3] = torch.stack([right, torch.linalg.cross(direction, right), direction], 1)
    pose[:3, 3] = -3 * direction
    camera = Camera(8, 8, torch.tensor([10.0, 10, 4, 4]), pose)
    records = project(torch.zeros(1, 3), torch.zeros(1, 3), torch.tensor([[1.0, 0, 0, 0]]), torch.zeros(1),
                      torch.zeros(1, 3), rest.float(), camera, Projection(1))
    assert records[0, RADIUS] > 0
    return float(records[0, COLOUR.start])


def test_spherical_harmonics_agree_and_are_orthonormal(kernels: ModuleType) -> None:
    nodes, weights = (torch.tensor(v) for v in np.polynomial.legendre.leggauss(8))
    phi = torch.arange(16, dtype=torch.float64) * (2 * math.pi / 16)
    z, phi = (v.flatten() for v in torch.meshgrid(nodes, phi, indexing="ij"))
    flat = (1 - z * z).sqrt()
    directions = torch.stack([flat * phi.cos(), flat * phi.sin(), z], 1)
    y = basis(directions, 3)
    area = weights.repeat_interleave(16) * (2 * math.pi / 16)
    torch.testing.assert_close(y.T @ (area[:, None] * y), torch.eye(16, dtype=torch.float64), rtol=0, atol=1e-12)
    # the kernel's basis: a colour with one coefficient, seen from a camera at the origin
    n = len(directions)
    rows = {"means": 3 * directions, "log_scales": torch.full((n, 3), -2.0), "quaternions": torch.ones(n, 4),
            "logits": torch.zeros(n), "sh0": torch.zeros(n, 3), "sh_rest": torch.zeros(n, 15, 3)}
    rows = {k: v.double() for k, v in rows.items()}
    numbers = splat.camera_numbers(Camera(8, 8, torch.tensor([4.0, 4, 4, 4]), torch.eye(4)), Projection(3))
    for k in range(16):
        tangent = {name: torch.zeros_like(v) for name, v in rows.items()}
        (tangent["sh0"] if k == 0 else tangent["sh_rest"][:, k - 1])[:] = 1
        records, moved = torch.empty(2, n, 12, dtype=torch.float64)
        kernels.splat_project_jvp(*rows.values(), *tangent.values(), numbers, 3, False, records, moved)
        torch.testing.assert_close(moved[:, COLOUR], y[:, k, None].expand(n, 3), rtol=1e-12, atol=1e-14)


def test_antialiasing_keeps_the_light_of_a_small_gaussian(face: Face) -> None:
    """Without compensation a point smaller than a pixel grows brighter with distance than its size allows."""
    camera = turned_camera(32, 32, 40, 40)
    exact = 2 * math.pi * 0.5 * (40 * 0.01 / 4) ** 2
    for antialiased, low, high in ((True, 0.97, 1.0), (False, 20, 40)):
        records = _one(camera, 4.0, 0.01, 0.5, torch.ones(3), antialiased=antialiased)
        a, b, c = records[0, CONIC]
        light = 2 * math.pi * records[0, OPACITY] / (a * c - b * b).sqrt()
        assert low <= float(light) / exact <= high * 1.04
    assert float(records[0, DEPTH]) == pytest.approx(4.0)


@pytest.mark.parametrize(("copies", "factor"), [(2, 0.9746), (3, 0.9664), (4, 0.9623), (5, 0.9598)])
def test_copies_by_the_mcmc_rule_look_like_one(copies: int, factor: float, face: Face) -> None:
    opacity = torch.tensor([0.3], dtype=torch.float64)
    new, scale = copy_rule(opacity, torch.tensor([copies]))
    assert float(scale) == pytest.approx(factor, abs=5e-5)
    assert float(1 - (1 - new) ** copies) == pytest.approx(0.3, abs=1e-12)
    camera = turned_camera(121, 121, 120, 120)
    background = torch.zeros(3, dtype=torch.float64)

    def light(o: float, sigma: float, n: int) -> Tensor:
        records = _one(camera, 3.0, sigma, o, torch.ones(3), dilation=0.0).repeat(n, 1)
        return 1 - composite(records, 121, 121, background, check=True)[1]

    one, shared, naive = light(0.3, 0.3, 1), light(float(new), 0.3 * float(scale), copies), light(0.3, 0.3, copies)
    both = (one > 0) & (shared > 0)  # each copy ends at 1/255 of its own
    assert both.sum() > 1000
    assert (shared - one)[both].abs().max() < 0.010 * 0.3
    assert float((naive.sum() / one.sum()) - 1) > 0.6
    # the integral by the formula itself, without the cut
    r = torch.linspace(0, 8, 4001, dtype=torch.float64)
    profile = 0.3 * torch.exp(-r * r / 2)
    together = 1 - (1 - new * torch.exp(-(r / scale) ** 2 / 2)) ** copies
    assert (together - profile).abs().max() < 0.010 * 0.3
    assert abs(float((together * r).sum() / (profile * r).sum()) - 1) < 0.013
