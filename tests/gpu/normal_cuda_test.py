"""CUDA drivers of the products with the Jacobian on the executor, against the CPU kernels and double precision."""

from __future__ import annotations

import os
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from recon.ops import cuda
from recon.ops.splat import Projection
from recon.ops.splat_normal import SplatLinearisation
from recon.ops.splat_reference import PARAMETERS, Example, cloud, turned_camera
from recon.types import Camera

pytestmark = pytest.mark.skipif(os.environ.get("RECON_TEST_DEVICE") == "cuda",
                                reason="the executor takes the place of the CPU kernels")


def _example(name: str) -> Example:
    def made(camera: Camera, count: int, degree: int, **more: Any) -> Example:
        return Example(name, cloud(camera, count, 3, degree=degree, **more), camera,
                       Projection(degree, antialiased=degree == 1))

    if name == "crowd":  # more than a batch in a tile, tiles cut by the edge, pixels that end early
        return made(turned_camera(37, 21, 30, 30), 600, 2, pixels=(0.5, 9), logits=(-4, 4))
    if name == "glass":
        return made(turned_camera(33, 18, 30, 30), 500, 1, pixels=(0.5, 9), logits=(-5.2, -3.5))
    if name == "degree 3":
        return made(turned_camera(20, 30, 30, 30), 60, 3, pixels=(1, 6), logits=(-1, 3))
    return made(turned_camera(5, 3, 6, 6), 1, 0, pixels=(1, 2), logits=(0, 2))


NAMES = ["crowd", "glass", "degree 3", "single"]


def _random(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _products(example: Example, *, check: bool = False) -> dict[str, list[Tensor]]:
    """All products at one picture, from the kernels that ops find."""
    dtype = torch.float64 if check else torch.float32
    params = [example.rows(dtype)[k].contiguous() for k in PARAMETERS]
    at = SplatLinearisation(params, example.camera, example.settings, example.background.to(dtype), check=check)
    v = [_random(10 + i, *p.shape).to(dtype) for i, p in enumerate(params)]
    u, weights = _random(20, *at.picture.shape).to(dtype), _random(21, *at.picture.shape).abs().to(dtype)

    def added(run: Callable[[list[Tensor]], None]) -> list[Tensor]:
        out = [torch.ones_like(p) for p in params]
        run(out)
        return out

    blocks = at.blocks()
    found = {
        "picture": [at.picture, at.transmittance],
        "J v": [at.jvp(v)],
        "camera": [at.camera_columns()],
        "J^T u": added(lambda out: at.vjp_(u, out)),
        "J^T W J v": added(lambda out: at.normal_(v, weights, out)),
        "diagonal": added(lambda out: at.diagonal_(weights, out)),
        "diagonal, with blocks": added(lambda out: at.diagonal_(weights, out, blocks.values)),
        "blocks": [blocks.values],
    }
    solved = [t.clone() for t in v]
    diagonal = [d.abs() + 1 for d in found["diagonal"]]
    blocks.inverse([0.1 * d for d in diagonal], diagonal)(solved)
    return found | {"solved": solved}


@pytest.fixture
def products(executor: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Callable[[Example], dict[str, list[Tensor]]]:
    """The products by the CUDA drivers."""
    def run(example: Example) -> dict[str, list[Tensor]]:
        with monkeypatch.context() as patch:
            patch.setattr(cuda, "kernels_for", lambda t: executor)
            return _products(example)

    return run


def _away(a: Tensor, exact: Tensor) -> float:
    """Relative distance of whole tensors; 0 / 0 is 0."""
    size, away = float(exact.double().norm()), float((a.double() - exact.double()).norm())
    return away / size if size > 0 else away


@pytest.mark.parametrize("name", NAMES)
def test_products_agree(products: Callable[[Example], dict[str, list[Tensor]]], name: str) -> None:
    example = _example(name)
    ours, cpu, exact = products(example), _products(example), _products(example, check=True)
    for key, mine in ours.items():
        for a, b, true in zip(mine, cpu[key], exact[key], strict=True):
            assert torch.isfinite(a).all(), key
            assert _away(a, true) < 2 * _away(b, true) + 5e-5, key
    for key in ("J v", "camera", "blocks"):
        assert float(ours[key][0].abs().sum()) > 0, key
    for key in ("J^T u", "J^T W J v", "diagonal"):
        for k, out in zip(PARAMETERS, ours[key], strict=True):
            assert out.numel() == 0 or not torch.equal(out, torch.ones_like(out)), (key, k)


def test_products_do_not_depend_on_the_order_of_threads(executor: ModuleType,
                                                        products: Callable[[Example], Any]) -> None:
    results = []
    for order in (0, 1, 13):
        executor.set_order(order)
        results.append(products(_example("crowd")))
    for other in results[1:]:
        for key, out in other.items():
            assert all(torch.equal(a, b) for a, b in zip(out, results[0][key], strict=True)), key


class CamerasThere:
    """The drivers, told that cameras are on the device; under the executor that is where they are."""

    def __init__(self, module: ModuleType) -> None:
        self.module, self.told = module, set[str]()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.module, name)
        if name not in ("splat_project", "splat_project_tangent", "splat_pull_back", "splat_normal_diagonal"):
            return found

        def call(*args: Any) -> Any:
            there = next(i for i, a in enumerate(args) if isinstance(a, bool))  # follows the camera
            self.told.add(name)
            return found(*args[:there], True, *args[there + 1:])

        return call


@pytest.mark.parametrize("name", NAMES)
def test_a_camera_on_the_device_gives_the_same_bits(
    executor: ModuleType, products: Callable[[Example], dict[str, list[Tensor]]], monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    example, there = _example(name), CamerasThere(executor)
    by_value = products(example)
    monkeypatch.setattr(cuda, "kernels_for", lambda t: there)
    for key, out in _products(example).items():
        assert all(torch.equal(a, b) for a, b in zip(out, by_value[key], strict=True)), key
    assert len(there.told) == 4


def test_wrong_arguments_are_refused(executor: ModuleType) -> None:
    rows = [torch.zeros(2, *s) for s in ((3,), (3,), (4,), (), (3,), (0, 3))]
    with pytest.raises(ValueError, match="66"):
        executor.splat_factor_blocks(rows, torch.zeros(2, 65), 0)
    with pytest.raises(ValueError, match="66"):
        executor.splat_solve_blocks(torch.zeros(2, 65), rows, 0)
