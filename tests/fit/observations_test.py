"""Photos as a fit compares with them: background, masks, sizes, memory; and PSNR against its formula."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_capture import Fixed, MemoryPhoto, camera_at, picture, random_gaussians

from recon.configs import gaussians
from recon.fit.evaluate import compare, psnr
from recon.fit.photos import Observations, fixed_background, over
from recon.fit.system import System
from recon.types import Capture, Observation, Photo, View

SYSTEM: System = gaussians.PRESETS["fast"]
CAMERA = camera_at(0.0, size=(8, 4))


def _capture(photo: Photo, meaning: str | None = None, count: int = 1) -> Capture:
    views = tuple(View(f"{i}.png", CAMERA, MemoryPhoto(photo)) for i in range(count))
    return Capture("t", Path("t"), "memory", views, mask_meaning=meaning,  # type: ignore[arg-type]
                   has_alpha=photo.alpha is not None)


def _bytes(value: int, *shape: int) -> torch.Tensor:
    return torch.full(shape, value, dtype=torch.uint8)


def test_alpha_over_the_background() -> None:
    alpha = _bytes(0, 4, 8)
    alpha[:, 4:] = 51  # 0.2
    out = over(_bytes(255, 3, 4, 8), alpha, torch.tensor([0.0, 0.5, 1.0]))
    assert out[:, 0, 0].tolist() == [0.0, 0.5, 1.0], "where nothing is, the background shows"
    assert out[:, 0, 7].tolist() == pytest.approx([0.2, 0.6, 1.0])
    opaque = _bytes(7, 3, 4, 8)
    assert over(opaque, None, torch.zeros(3)) is opaque


def test_backgrounds() -> None:
    plain, cut_out = Photo(_bytes(9, 3, 4, 8)), Photo(_bytes(9, 3, 4, 8), alpha=_bytes(0, 4, 8))
    assert fixed_background(_capture(plain), SYSTEM).tolist() == [0, 0, 0]
    assert fixed_background(_capture(cut_out), SYSTEM).tolist() == [1, 1, 1]
    assert fixed_background(_capture(cut_out), replace(SYSTEM, background="black")).tolist() == [0, 0, 0]
    random = Observations(_capture(cut_out).train, _capture(cut_out), replace(SYSTEM, background="random"))
    a = random.get(0, 1.0, torch.Generator().manual_seed(1))
    b = random.get(0, 1.0, torch.Generator().manual_seed(2))
    assert not torch.equal(a.background, b.background)
    assert torch.allclose(a.target[:, 0, 0], a.background), "photo and render lie over the same colour"
    assert random.get(0).background.tolist() == [1, 1, 1], "held-out views are compared over a fixed colour"
    opaque = Observations(_capture(plain).train, _capture(plain), replace(SYSTEM, background="random"))
    assert opaque.get(0, 1.0, torch.Generator()).background.tolist() == [0, 0, 0], "opaque photos hide the background"


def test_what_masks_mean() -> None:
    mask = _bytes(255, 4, 8)
    mask[:, :4] = 0
    photo = Photo(_bytes(100, 3, 4, 8), mask=mask)

    def seen(meaning: str, masks: str) -> Observation:
        capture = _capture(photo, meaning)
        return Observations(capture.train, capture, replace(SYSTEM, masks=masks)).get(0)  # type: ignore[arg-type]

    assert seen("ignore", "auto").mask is not None
    assert torch.equal(seen("ignore", "auto").mask, mask)
    assert seen("object", "auto").mask is None, "a mask of the object is not used unless asked for"
    assert seen("object", "auto").target[:, 0, 0].tolist() == [100] * 3
    cut = seen("object", "object")
    assert cut.mask is None
    assert cut.target[:, 0, 0].tolist() == [255] * 3, "outside of the object is the (white) background"
    assert cut.target[:, 0, 7].tolist() == [100] * 3
    assert seen("object", "ignore").mask is not None
    assert seen("ignore", "off").mask is None


def test_smaller_photos() -> None:
    rgb = torch.zeros(3, 4, 8, dtype=torch.uint8)
    rgb[:, :, ::2] = 200  # stripes: a filter averages them, picking pixels would not
    alpha = _bytes(255, 4, 8)
    alpha[:, :2] = 0
    rgb[0, :, :2] = 255  # colour nobody can see must not bleed
    mask = _bytes(255, 4, 8)
    mask[0, 7] = 0
    capture = _capture(Photo(rgb, alpha, mask), "ignore")
    seen = Observations(capture.train, capture, SYSTEM).get(0, scale=2.0)
    assert seen.camera.size == (4, 2)
    assert float(seen.camera.intrinsics[2]) == 2.0
    assert seen.target.shape == (3, 2, 4)
    assert 60 < int(seen.target[0, 1, 2]) < 140
    assert seen.mask is not None
    assert int(seen.mask[0, 3]) == 0, "a pixel counts only where all of it counts"
    assert int(seen.mask[1, 1]) == 255
    first_visible = seen.target[:, 1, 1].float()
    assert float(first_visible.max() - first_visible.min()) < 30, "invisible red bled into the picture"


def test_keeps_to_its_memory() -> None:
    capture = _capture(Photo(_bytes(1, 3, 4, 8)), count=5)
    observations = Observations(capture.train, capture, SYSTEM, memory=2 * 96)
    kept = [observations.get(i) for i in range(5)]
    assert observations._bytes <= 2 * 96
    assert observations.get(4) is kept[4]
    assert observations.get(0) is not kept[0]
    assert torch.equal(observations.get(0).target, kept[0].target)
    nothing = Observations(capture.train, capture, SYSTEM, memory=0)
    assert nothing.get(0) is not nothing.get(0)


def test_psnr_is_the_formula() -> None:
    a = torch.full((3, 4, 8), 0.5)
    assert psnr(a, a + 0.1) == pytest.approx(20.0, abs=1e-4)
    assert psnr(a, a + 0.01) == pytest.approx(40.0, abs=1e-3)
    assert psnr(a, a) == 99.0
    half = a.clone()
    half[:, :2] += 0.1
    assert psnr(a, half) == pytest.approx(-10 * math.log10(0.005), abs=1e-4)
    mask = torch.zeros(4, 8, dtype=torch.uint8)
    mask[:2] = 255
    assert psnr(a, half, mask) == pytest.approx(20.0, abs=1e-4)


def test_ignored_pixels_do_not_count_in_either_metric() -> None:
    field, camera = Fixed(random_gaussians()), camera_at(0.3)
    rgb = (picture(field, camera) * 255).round().to(torch.uint8)
    mask = torch.full((camera.height, camera.width), 255, dtype=torch.uint8)
    mask[10:20, 10:20] = 0
    rgb[:, 10:20, 10:20] = 255 - rgb[:, 10:20, 10:20]
    results = {}
    for meaning, masks in (("ignore", "auto"), ("ignore", "off")):
        view = View("a.png", camera, MemoryPhoto(Photo(rgb, mask=mask)), "test")
        capture = Capture("t", Path("t"), "memory", (view,), mask_meaning=meaning)  # type: ignore[arg-type]
        system = replace(SYSTEM, masks=masks)  # type: ignore[arg-type]
        (results[masks],) = compare(field, system, capture, capture.test)
    assert results["auto"].psnr > 50
    assert results["auto"].ssim > 0.99
    assert results["off"].psnr < 30
    assert results["off"].ssim < 0.95
