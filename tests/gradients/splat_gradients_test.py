"""Derivatives of splatting: dual numbers, plain torch under autograd, central differences, float32 against float64."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from types import ModuleType

import pytest
import torch
from torch import Tensor

from recon.ops import native as loader
from recon.ops import splat
from recon.ops.splat import ABS_GRADIENT, CENTRE, COLOUR, CONIC, DEPTH, OPACITY, RADIUS, Projection
from recon.ops.splat_reference import (
    PARAMETERS,
    Example,
    cloud,
    examples,
    pixel_alphas,
    reference_absolute_gradient,
    reference_composite,
    reference_project,
    turned_camera,
)

EXAMPLES = list(examples())
COLUMNS = {"centre": CENTRE, "conic": CONIC, "opacity": slice(OPACITY, OPACITY + 1), "colour": COLOUR,
           "depth": slice(DEPTH, DEPTH + 1)}


def _built() -> list[ModuleType]:
    found = []
    for isa in loader.supported():
        try:
            found.append(loader.load(isa))
        except ImportError:
            continue
    return found


BUILT = _built()


@pytest.fixture(scope="module", autouse=True)
def _on_one_thread() -> Iterator[None]:
    """Everything is tiny here: waiting for threads would take longer than the work."""
    before = [torch.get_num_threads(), *(m.get_threads() for m in BUILT)]
    torch.set_num_threads(1)
    for module in BUILT:
        module.set_threads(1)
    yield
    torch.set_num_threads(before[0])
    for module, n in zip(BUILT, before[1:]):
        module.set_threads(n)


@pytest.fixture(params=BUILT, ids=lambda m: m.instruction_set)
def kernels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The Python face on the kernels of one instruction set."""
    monkeypatch.setattr(splat, "native", request.param)
    monkeypatch.setattr(splat, "_pool", splat._ListPool())
    return request.param


def assert_close(got: Tensor, want: Tensor, name: str, *, l2: float, element: float, cosine: float | None = None,
                 bias: float | None = None) -> None:
    """Aggregate comparison: relative L2, largest element error over the largest element, cosine, signed bias."""
    assert got.shape == want.shape, name
    assert torch.isfinite(got).all(), name
    got, want = got.double(), want.double()
    error, size = got - want, want.norm()
    if size == 0:
        assert got.norm() == 0, name
        return
    assert error.norm() <= l2 * size, f"{name}: relative L2 {error.norm() / size:.2e}"
    worst = error.abs().max() / want.abs().max()
    assert worst <= element, f"{name}: element {worst:.2e}"
    if cosine is not None:
        angle = 1 - (got * want).sum() / (got.norm() * size)
        assert angle <= cosine, f"{name}: 1 - cosine {angle:.2e}"
    if bias is not None:
        # the signed sum of errors along the signs of the gradient: rounding cancels here, a systematic loss does not
        drift = (error * want.sign()).sum() / want.abs().sum()
        assert drift.abs() <= bias, f"{name}: bias {drift:.2e}"


def _random(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _row_sums(values: Tensor) -> Tensor:
    return values if values.ndim == 1 else values.sum(tuple(range(1, values.ndim)))


def _upstream(example: Example, depth: bool = True) -> tuple[Tensor, Tensor]:
    """dL/d picture and dL/d transmittance, drawn at random."""
    height, width = example.camera.height, example.camera.width
    return _random(1, 4 if depth else 3, height, width), _random(2, height, width)


def _fit(example: Example, dtype: torch.dtype, depth: bool, *, reference: bool = False) -> dict[str, Tensor]:
    """Picture, transmittance and all gradients of <g, picture> + <g, transmittance>, project to composite."""
    rows = example.rows(dtype, gradient=True)
    background = example.background.to(dtype, copy=True).requires_grad_()
    width, height = example.camera.size
    if reference:
        records = reference_project(**rows, camera=example.camera, settings=example.settings)
        records.retain_grad()
        picture, transmittance = reference_composite(records, width, height, background, depth=depth)
    else:
        check = dtype == torch.float64
        records = splat.project(**rows, camera=example.camera, settings=example.settings, check=check)
        records.retain_grad()
        picture, transmittance = splat.composite(records, width, height, background, depth=depth, absolute=True,
                                                 check=check)
    g_picture, g_transmittance = _upstream(example, depth)
    ((picture * g_picture.to(dtype)).sum() + (transmittance * g_transmittance.to(dtype)).sum()).backward()
    out = {f"g_{k}": torch.zeros_like(v) if v.grad is None else v.grad for k, v in rows.items()}
    g_records = records.grad
    if reference:
        g_records = torch.cat([g_records[:, :ABS_GRADIENT.start], reference_absolute_gradient(
            records.detach(), width, height, background.detach(), g_picture, g_transmittance)], 1)
    return out | {"records": records.detach(), "picture": picture.detach(), "transmittance": transmittance.detach(),
                  "g_records": g_records, "g_background": background.grad}


@cache
def _wanted(example_name: str, depth: bool = True) -> dict[str, Tensor]:
    return _fit(next(e for e in EXAMPLES if e.name == example_name), torch.float64, depth, reference=True)


# ---------------------------------------------------------------- the inputs are worth testing on


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_examples_cover_pixels_and_have_gradients(example: Example) -> None:
    want = _wanted(example.name)
    covered = want["transmittance"] < 1
    few = {"tiny": 0.02, "tiny antialiased": 0.02, "behind and near": 0.15}.get(example.name, 0.3)
    assert covered.float().mean() > few
    drawn = want["records"][:, RADIUS] > 0
    reached = (pixel_alphas(want["records"], *example.camera.size) > 0).any(1) & drawn
    assert reached.float().mean() > few
    for name in PARAMETERS:
        gradient = want[f"g_{name}"]
        if gradient.numel() == 0:
            continue
        assert torch.isfinite(gradient).all()
        assert (gradient != 0).any(), name
        assert (gradient[~drawn] == 0).all(), name


def test_examples_reach_every_branch() -> None:
    want = {e.name: _wanted(e.name) for e in EXAMPLES}
    assert (want["opaque"]["transmittance"] < 1e-4).any()  # pixels that end early
    records = want["opaque"]["records"]
    assert (pixel_alphas(records, 64, 48) > 0.99).any()  # alpha is cut
    assert (want["degree 3"]["records"][:, COLOUR] == 0).any()  # colours are cut
    assert (want["behind and near"]["records"][:, RADIUS] == 0).any()
    assert (want["outside"]["records"][:, RADIUS] == 0).any()
    outside = next(e for e in EXAMPLES if e.name == "outside")
    pixels = outside.camera.project(outside.parameters["means"])[0]
    drawn = want["outside"]["records"][:, RADIUS] > 0
    assert ((pixels[:, 0] > 1.15 * 64) & drawn).any()  # the slope of the linearisation is held
    assert want["crowded"]["records"].shape[0] > 100
    assert (want["crowded"]["transmittance"] < 1e-4).any()


# ---------------------------------------------------------------- 1. dual numbers against the hand-written backward


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_projection_backward_is_the_transpose_of_dual_numbers(example: Example, kernels: ModuleType) -> None:
    rows = example.rows()
    numbers = splat.camera_numbers(example.camera, example.settings)
    setting = (example.settings.degree, example.settings.antialiased)
    records = splat.project(**rows, camera=example.camera, settings=example.settings, check=True)
    drawn = records[:, RADIUS] > 0
    tangents = {k: _random(3 + i, *v.shape) for i, (k, v) in enumerate(rows.items())}
    jvp = {}
    for name in PARAMETERS:
        moved = {k: v if k == name else torch.zeros_like(v) for k, v in tangents.items()}
        dual, jvp[name] = torch.empty_like(records), torch.empty_like(records)
        kernels.splat_project_jvp(*rows.values(), *moved.values(), numbers, *setting, dual, jvp[name])
        torch.testing.assert_close(dual[drawn], records[drawn], rtol=1e-12, atol=1e-12)
        assert torch.equal(dual[:, RADIUS] > 0, drawn)
    moved_something = set()
    for column, where in COLUMNS.items():
        u = torch.zeros_like(records)
        u[:, where] = _random(20, *u[:, where].shape)  # also rows that are not drawn: they must be ignored
        gradients = [torch.full_like(v, 7.0) for v in rows.values()]  # every number must be written
        kernels.splat_project_backward_f64(*rows.values(), numbers, *setting, records, u, *gradients)
        for name, gradient in zip(PARAMETERS, gradients):
            forward, backward = (u * jvp[name])[drawn].sum(1), _row_sums(tangents[name] * gradient)
            assert (backward[~drawn] == 0).all()
            # row by row, so that a large row cannot hide a wrong small one
            size = (u * jvp[name])[drawn].abs().sum(1) + _row_sums((tangents[name] * gradient).abs())[drawn]
            assert ((forward - backward[drawn]).abs() <= 1e-10 * size).all(), (column, name)
            if (forward != 0).any():
                moved_something.add((column, name))
    expected = {("centre", "means"), ("conic", "means"), ("conic", "log_scales"), ("conic", "quaternions"),
                ("opacity", "logits"), ("colour", "sh0"), ("depth", "means")}
    expected |= {("colour", "means"), ("colour", "sh_rest")} if example.settings.degree else set()
    expected |= {("opacity", "log_scales"), ("opacity", "means")} if example.settings.antialiased else set()
    assert expected <= moved_something


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_composite_backward_is_the_transpose_of_dual_numbers(example: Example, kernels: ModuleType) -> None:
    """The dual numbers visit every pixel and Gaussian, so this also checks tiles, block masks and the early end."""
    width, height = example.camera.size
    records = splat.project(**example.rows(), camera=example.camera, settings=example.settings, check=True)
    records.requires_grad_()
    picture, transmittance = splat.composite(records, width, height, example.background, depth=True, check=True)
    g_picture, g_transmittance = _upstream(example)
    parts = {"rgb": (g_picture * torch.tensor([1.0, 1, 1, 0])[:, None, None], torch.zeros_like(g_transmittance)),
             "depth": (g_picture * torch.tensor([0.0, 0, 0, 1])[:, None, None], torch.zeros_like(g_transmittance)),
             "transmittance": (torch.zeros_like(g_picture), g_transmittance)}
    backward = {k: torch.autograd.grad((picture, transmittance), records, part, retain_graph=True)[0]
                for k, part in parts.items()}
    if example.name == "crowded":  # three channels are a kernel of their own
        rgb = splat.composite(records, width, height, example.background, check=True)
        assert torch.equal(rgb[0], picture[:3])
        (alone,) = torch.autograd.grad(rgb, records, (parts["rgb"][0][:3], parts["rgb"][1]))
        torch.testing.assert_close(alone, backward["rgb"], rtol=1e-12, atol=1e-12)
    sees_depth = {"depth"}
    for column, where in COLUMNS.items():
        tangent = torch.zeros_like(records)
        tangent[:, where] = _random(30, *tangent[:, where].shape)
        if column == "conic":
            tangent *= records.detach().abs()  # needles: relative to what is there
        value, moved = torch.empty(2, 4, height, width, dtype=torch.float64)
        end, end_moved = torch.empty(2, height, width, dtype=torch.float64)
        kernels.splat_composite_jvp(records.detach(), tangent, width, height, example.background, value, moved, end,
                                    end_moved)
        torch.testing.assert_close(picture.detach(), value, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(transmittance.detach(), end, rtol=1e-10, atol=1e-12)
        for part, (g, g_end) in parts.items():
            forward = (g * moved).sum() + (g_end * end_moved).sum()
            size = (g * moved).abs().sum() + (g_end * end_moved).abs().sum()
            got = (backward[part] * tangent).sum()
            assert (forward - got).abs() <= 1e-10 * size, (column, part)
            affects = {"rgb": column != "depth", "depth": column != "colour",
                       "transmittance": column not in ("colour", *sees_depth)}[part]
            assert (size > 0) == affects, (column, part)


def test_thousands_of_gaussians_against_dual_numbers() -> None:
    """Enough for several chunks of the tile lists and several pieces of every loop."""
    camera = turned_camera(40, 24, 30, 30)
    rows = cloud(camera, 6000, 1, degree=0, pixels=(0.2, 0.9), logits=(-5, -2))
    records = splat.project(**rows, camera=camera, settings=Projection(0), check=True)
    assert (records[:, RADIUS] > 0).sum() > 4096
    records.requires_grad_()
    background = torch.tensor([0.2, 0.4, 0.9], dtype=torch.float64)
    picture, end = splat.composite(records, 40, 24, background, depth=True, check=True)
    g_picture, g_end = _random(1, 4, 24, 40), _random(2, 24, 40)
    (gradient,) = torch.autograd.grad((picture, end), records, (g_picture, g_end))
    tangent = _random(3, *records.shape)
    tangent[:, ABS_GRADIENT] = 0
    tangent[:, OPACITY] *= records[:, OPACITY].detach()
    value, moved = torch.empty(2, 4, 24, 40, dtype=torch.float64)
    end_value, end_moved = torch.empty(2, 24, 40, dtype=torch.float64)
    splat.native.splat_composite_jvp(records.detach(), tangent, 40, 24, background, value, moved, end_value, end_moved)
    torch.testing.assert_close(picture.detach(), value, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(end.detach(), end_value, rtol=1e-10, atol=1e-12)
    assert 0.05 < end.mean() < 0.95
    size = (g_picture * moved).abs().sum() + (g_end * end_moved).abs().sum()
    assert abs((g_picture * moved).sum() + (g_end * end_moved).sum() - (gradient * tangent).sum()) <= 1e-10 * size


# ---------------------------------------------------------------- 2. plain torch under autograd


@pytest.mark.parametrize("depth", [False, True], ids=["rgb", "rgb and depth"])
@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_double_matches_the_reference(example: Example, depth: bool) -> None:
    want, got = _wanted(example.name, depth), _fit(example, torch.float64, depth)
    drawn = want["records"][:, RADIUS] > 0
    assert torch.equal(got["records"][:, RADIUS] > 0, drawn)
    torch.testing.assert_close(got["records"][drawn], want["records"][drawn], rtol=1e-9, atol=1e-9)
    for name, value in want.items():
        if name not in ("records", "g_records"):
            assert_close(got[name], value, name, l2=1e-9, element=1e-9)
    for column, where in (COLUMNS | {"absolute": ABS_GRADIENT}).items():
        assert_close(got["g_records"][:, where], want["g_records"][:, where], column, l2=1e-9, element=1e-9)


# ---------------------------------------------------------------- 3. central differences


@pytest.mark.parametrize("antialiased", [False, True], ids=["plain", "antialiased"])
def test_all_59_parameters_match_central_differences(antialiased: bool) -> None:
    camera = turned_camera(12, 12, 20, 20)
    example = Example("small", cloud(camera, 5, 3, pixels=(6, 9), stretch=1.5, logits=(-0.5, 1.0)), camera,
                      Projection(3, antialiased))
    rows = example.rows(gradient=True)
    g_picture, g_transmittance = _upstream(example)

    def loss(parameters: dict[str, Tensor]) -> Tensor:
        records = splat.project(**parameters, camera=camera, settings=example.settings, check=True)
        picture, transmittance = splat.composite(records, 12, 12, example.background, depth=True, check=True)
        return (picture * g_picture).sum() + (transmittance * g_transmittance).sum()

    with torch.no_grad():  # far from every cut, else differences mean nothing
        records = splat.project(**rows, camera=camera, settings=example.settings, check=True)
        alphas = pixel_alphas(records, 12, 12)
        assert alphas.min() > 1.5 / 255
        assert alphas.max() < 0.95
        assert ((records[:, COLOUR] == 0) | (records[:, COLOUR] > 1e-3)).all()
    loss(rows).backward()
    assert sum(v[0].numel() for v in rows.values()) == 59
    step = 1e-5
    for name, leaf in rows.items():
        numeric = torch.empty(leaf.numel(), dtype=torch.float64)
        fixed = {k: v.detach().clone() for k, v in rows.items()}
        flat = fixed[name].view(-1)
        for i in range(leaf.numel()):
            kept = flat[i].item()
            flat[i] = kept + step
            above = loss(fixed)
            flat[i] = kept - step
            numeric[i] = (above - loss(fixed)) / (2 * step)
            flat[i] = kept
        assert_close(leaf.grad.flatten(), numeric, name, l2=1e-7, element=1e-7)


# ---------------------------------------------------------------- 4. float32 against float64


# Limits are about four times what was measured. Long needles, alphas at the limit 0.99 (1 - alpha has lost digits) and
# a single pixel whose terms cancel are harder. If one pixel is off by about 1/255 after a change of rounding, it lies
# on the edge of a Gaussian: take another seed.
HARDER = {"needles": 4.0, "needles antialiased": 4.0, "behind and near": 4.0, "opaque": 10.0, "off-centre 1x1": 10.0}


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_float_matches_double(example: Example, kernels: ModuleType) -> None:
    want, got = _fit(example, torch.float64, True), _fit(example, torch.float32, True)
    loose = HARDER.get(example.name, 1.0)
    drawn = (want["records"][:, RADIUS] > 0) & (got["records"][:, RADIUS] > 0)
    assert (drawn != (want["records"][:, RADIUS] > 0)).float().mean() <= 0.02  # on the edge of the picture
    for column, where in COLUMNS.items():
        assert_close(got["records"][drawn][:, where], want["records"][drawn][:, where], column, l2=2e-6 * loose,
                     element=5e-6 * loose)
    for name in ("picture", "transmittance"):
        assert_close(got[name], want[name], name, l2=4e-6, element=1.5e-5, cosine=1e-11, bias=1e-6 * loose)
    for name in (*(f"g_{p}" for p in PARAMETERS), "g_background"):
        if want[name].numel():
            assert_close(got[name], want[name], name, l2=1.2e-5 * loose, element=1.5e-5 * loose,
                         cosine=2e-11 * loose**2, bias=4e-6 * loose)
    for column, where in (COLUMNS | {"absolute": ABS_GRADIENT}).items():
        assert_close(got["g_records"][:, where], want["g_records"][:, where], f"g {column}", l2=1.2e-5 * loose,
                     element=1.5e-5 * loose)
