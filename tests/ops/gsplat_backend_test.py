"""gsplat in the place of our CUDA kernels: the glue with gsplat's torch code on the CPU; with a GPU, all of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from recon.ops import adam, cuda, photometric, splat
from recon.ops.adam_cuda import adam_many
from recon.ops.grid_cuda import GridKernels
from recon.ops.gsplat_backend import GsplatKernels, GsplatLists
from recon.ops.photometric_cuda import photometric as photometric_cuda
from recon.ops.splat import RADIUS, Projection, camera_numbers
from recon.ops.splat_reference import PARAMETERS, Example, cloud, reference_composite, turned_camera
from recon.ops.substitutes import Substitutes


def _on_cpu() -> Any:
    """gsplat with its torch code, and a rasterizer of ours behind its signature."""
    theirs = pytest.importorskip("gsplat.cuda._torch_impl", reason="gsplat is not installed (pip install '.[test]')")

    def project(means: Tensor, _: None, quats: Tensor, scales: Tensor, views: Tensor, Ks: Tensor, width: int,
                height: int, *, eps2d: float, near_plane: float, calc_compensations: bool) -> Any:
        unit = torch.nn.functional.normalize(quats, dim=-1)
        covars, _ = theirs._quat_scale_to_covar_preci(unit, scales, True, False)
        return theirs._fully_fused_projection(means, covars, views, Ks, width, height, eps2d=eps2d,
                                              near_plane=near_plane, calc_compensations=calc_compensations)

    def rasterize(centres: Tensor, conics: Tensor, colours: Tensor, opacities: Tensor, width: int, height: int,
                  _tile: int, _begin: Any, depths: Tensor, *, absgrad: bool) -> tuple[Tensor, Tensor]:
        n = centres.shape[1]
        colours = torch.nn.functional.pad(colours[0], (0, 4 - colours.shape[2]))
        tail = torch.stack([opacities[0].detach(), (opacities[0] > 0).float()], 1)
        rows = torch.cat([centres[0], conics[0], opacities[0, :, None], colours[:, :3], depths.reshape(n, 1), tail], 1)
        picture, left = reference_composite(rows, width, height, torch.zeros(3))
        return picture.permute(1, 2, 0)[None], 1 - left[None, ..., None]

    return SimpleNamespace(
        fully_fused_projection=project, spherical_harmonics=theirs._spherical_harmonics,
        isect_tiles=lambda centres, reach, depths, *_: (None, None, depths),
        isect_offset_encode=lambda *_: None, rasterize_to_pixels=rasterize)


def _example(degree: int, device: str = "cpu") -> tuple[Example, list[Tensor]]:
    camera = turned_camera(37, 21, 30, 30)
    example = Example("some", cloud(camera, 80, 3, degree=degree, pixels=(0.8, 5), logits=(-2, 2)), camera,
                      Projection(degree, antialiased=degree == 1))
    return example, [example.rows(torch.float32)[k].contiguous().to(device) for k in PARAMETERS]


def _random(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _near(a: Tensor, b: Tensor, most: float) -> None:
    assert float((a.cpu() - b).norm()) <= most * float(b.norm()) + 1e-12


def _results(kernels: Any, lists: Any, example: Example, rows: list[Tensor]) -> list[Tensor]:
    """Records, picture, transmittance, gradient of the records and of the rows."""
    width, height = example.camera.size
    settings, on = example.settings, rows[0].device
    given = *rows, camera_numbers(example.camera, settings), settings.degree, settings.antialiased
    records = torch.empty(len(rows[0]), 12, device=on)
    picture, left = torch.empty(3, height, width, device=on), torch.empty(height, width, device=on)
    kernels[0](*given, records)
    kernels[2](lists, records, width, height, example.background.float().to(on), picture, left)
    g_records, gradients = torch.empty_like(records), [torch.empty_like(r) for r in rows]
    kernels[3](lists, records, picture, left, _random(1, 3, height, width).to(on), _random(2, height, width).to(on),
               False, g_records)
    kernels[1](*given, records, g_records, *gradients)
    return [records, picture, left, g_records, *gradients]


def _compare(theirs: GsplatKernels, example: Example, rows: list[Tensor], most: float) -> None:
    functions = theirs.project, theirs.project_backward, theirs.composite, theirs.composite_backward
    cpu = [r.cpu() for r in rows]
    ours = _results(splat._kernels(torch.float32), splat._kernels(torch.float32)[4](), example, cpu)
    found = _results(functions, GsplatLists(), example, rows)
    drawn = ours[0][:, RADIUS] > 0
    assert torch.equal((found[0][:, RADIUS] > 0).cpu(), drawn)
    _near(found[0][drawn.to(found[0].device), :11], ours[0][drawn, :11], most)
    for a, b in zip(found[1:], ours[1:], strict=True):
        _near(a, b, 20 * most)


@pytest.mark.parametrize("degree", [0, 1, 3])
def test_the_glue_gives_records_pictures_and_gradients(degree: int) -> None:
    example, rows = _example(degree)
    _compare(GsplatKernels(_on_cpu()), example, rows, 1e-3)


@pytest.mark.parametrize("degree", [0, 1, 3])
def test_gsplat_agrees_on_a_gpu(degree: int) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    gsplat = pytest.importorskip("gsplat")
    example, rows = _example(degree, "cuda")
    _compare(GsplatKernels(gsplat), example, rows, 1e-3)


def test_update_agrees() -> None:
    example, rows = _example(1)
    numbers, settings = camera_numbers(example.camera, example.settings), example.settings
    records = splat.project(*rows, camera=example.camera, settings=settings)
    g_records = _random(4, len(rows[0]), 12) * 1e-2
    g_records[:, 10:] = 0
    extra = _random(5, len(rows[0]), 3), _random(6, len(rows[0]))
    rates, results = [1e-3, 2e-3, 3e-3, 4e-2, 5e-3, 6e-4], []
    for kernels in (GsplatKernels(_on_cpu()), None):
        params = [r.clone() for r in rows]
        ms, vs = [torch.zeros_like(p) for p in params], [torch.ones_like(p) * 1e-4 for p in params]
        if kernels is None:
            refused = splat.project_backward_adam_(params, ms, vs, rates, example.camera, settings, records, g_records,
                                                   step=3, extra_log_scales=extra[0], extra_logits=extra[1])
        else:
            refused = kernels.update(params, ms, vs, rates, numbers, settings.degree, settings.antialiased, records,
                                     g_records, *extra, 0.9, 0.999, 1e-15, 3)
        assert int(refused) == 0
        results.append([*params, *ms, *vs])
    for a, b in zip(*results, strict=True):
        _near(a, b, 1e-3)


@pytest.mark.parametrize("case", range(1, 16))
def test_adam_agrees(case: int) -> None:
    arguments = list(adam.examples())[case]
    param, grad, m, v = (arguments[k].clone() for k in ("param", "grad", "m", "v"))
    rows, lr = arguments.get("rows"), arguments["lr"]
    per_row = lr if isinstance(lr, Tensor) else None
    skipped = adam_many(Substitutes(), [param], [grad], [m], [v], [0.0 if per_row is not None else lr],
                        [per_row], arguments["step"], arguments.get("beta1", 0.9), arguments.get("beta2", 0.999),
                        arguments.get("eps", 1e-15), rows if rows is not None and rows.dtype == torch.uint8 else None,
                        rows if rows is not None and rows.dtype == torch.int32 else None)
    *expected, expected_skipped = adam.reference(**arguments)
    assert int(skipped) == expected_skipped
    for ours, true in zip((param, m, v), expected):
        torch.testing.assert_close(ours, true, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("case", range(8))
def test_photometric_agrees(case: int) -> None:
    arguments: dict[str, Any] = list(photometric.examples())[case]
    gradient = torch.empty_like(arguments["image"])
    loss = photometric_cuda(Substitutes(), arguments["image"], arguments["target"], arguments.get("mask"),
                            arguments.get("ssim_weight", 0.2), gradient)
    value, expected = photometric.photometric_gradient(**arguments)
    assert abs(float(loss[0]) - value) < 1e-5
    _near(gradient, expected, 1e-3)


def test_what_gsplat_lacks_is_said() -> None:
    u = torch.zeros(1, 3)
    with pytest.raises(cuda.CudaMissing, match="recon doctor says why"):
        GridKernels(Substitutes()).grid_trilinear(torch.zeros(2, 2, 2, 1), u, torch.zeros(1, 1))


def test_the_back_end_is_chosen_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "_installed", lambda name: name == "gsplat.csrc")  # with kernels compiled
    monkeypatch.setattr(cuda, "module", lambda: None)
    assert cuda.backend() == "gsplat"
    monkeypatch.setattr(cuda, "module", lambda: SimpleNamespace())
    assert cuda.backend() == "recon"
    monkeypatch.setenv("RECON_CUDA_BACKEND", "gsplat")
    assert cuda.backend() == "gsplat"
    monkeypatch.setenv("RECON_CUDA_BACKEND", "other")
    assert cuda.backend() is None
