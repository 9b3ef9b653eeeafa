"""Masks as silhouettes: the cross entropy against its formula, and how it pushes on what hides its like."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_capture import MemoryPhoto, camera_at

from recon.configs import neus
from recon.fit.photos import Observations
from recon.losses.absolute import AbsoluteError
from recon.losses.curvature import Curvature
from recon.losses.silhouette import Silhouette
from recon.samplers.pixels import RandomPixels
from recon.types import Capture, Observation, Photo, Render, View

CAMERA = camera_at(0.0, size=(32, 16))


def _seen(alpha: torch.Tensor | None, mask: torch.Tensor | None = None) -> Observation:
    return Observation(CAMERA, torch.zeros(3, 2, 2), mask, torch.zeros(3), 0, alpha=alpha)


def _render(opacity: torch.Tensor) -> Render:
    return Render(opacity[..., None].expand(2, 2, 3), None, None, opacity)


def test_cross_entropy() -> None:
    opacity = torch.tensor([[0.9, 0.2], [0.5, 0.7]])
    alpha = torch.tensor([[255, 0], [0, 51]], dtype=torch.uint8)
    expected = [-math.log(0.9), -math.log(0.8), -math.log(0.5), -0.2 * math.log(0.7) - 0.8 * math.log(0.3)]
    found = float(Silhouette().value(_render(opacity), _seen(alpha)))
    assert found == pytest.approx(sum(expected) / 4, rel=1e-4)
    mask = torch.tensor([[255, 0], [255, 0]], dtype=torch.uint8)
    found = float(Silhouette().value(_render(opacity), _seen(alpha, mask)))
    assert found == pytest.approx((expected[0] + expected[2]) / 2, rel=1e-4), "pixels to ignore do not count"


def test_without_a_mask_it_is_zero() -> None:
    assert float(Silhouette().value(_render(torch.ones(2, 2)), _seen(None))) == 0.0


def test_what_hides_its_like_is_pushed_away() -> None:
    """A ray meets two opaque layers of one colour where the mask says nothing is: taking light from the first shows the
    second, so that the colours hardly care."""
    depths = torch.full((2,), 4.0, requires_grad=True)
    first, second = torch.exp(-depths)
    opacity = (1 - first * second).expand(2, 2)
    render = Render(opacity[..., None].expand(2, 2, 3), None, None, opacity)
    seen = _seen(torch.zeros(2, 2, dtype=torch.uint8))
    colour, = torch.autograd.grad(AbsoluteError().value(render, seen), depths, retain_graph=True)
    outline, = torch.autograd.grad(Silhouette().value(render, seen), depths)
    assert float(colour[0]) < 1e-3
    assert float(outline[0]) > 0.95


def _capture(masked: bool) -> Capture:
    generator = torch.Generator().manual_seed(4)
    rgb = torch.randint(0, 256, (3, 16, 32), generator=generator, dtype=torch.uint8)
    mask = torch.zeros(16, 32, dtype=torch.uint8)
    mask[4:12, 8:24] = 255
    view = View("0.png", CAMERA, MemoryPhoto(Photo(rgb, mask=mask if masked else None)))
    return Capture("t", Path("t"), "memory", (view,), mask_meaning="object" if masked else None)


@pytest.mark.parametrize("background", ["random", "white"])
def test_drawn_rays_carry_their_silhouette(background: str) -> None:
    system = replace(neus.PRESETS["fast"], masks="object", background=background)
    observations = Observations(_capture(True).train, _capture(True), system)
    seen = RandomPixels(rays=256).draw(observations, 0, 3, 1.0)
    assert seen.alpha is not None
    assert seen.alpha.shape == seen.target.shape[1:]
    outside = seen.alpha == 0
    assert 0 < int(outside.sum()) < outside.numel()
    assert torch.allclose(seen.target[:, outside], seen.background[:, None].expand(-1, int(outside.sum())))
    assert not torch.allclose(seen.target[:, ~outside], seen.background[:, None].expand(-1, int((~outside).sum())))
    assert seen.to(torch.device("meta")).alpha.device.type == "meta"  # type: ignore[union-attr]
    plain = Observations(_capture(False).train, _capture(False), system)
    assert RandomPixels(rays=256).draw(plain, 0, 3, 1.0).alpha is None


def test_outlines_are_kept_only_where_a_loss_reads_them() -> None:
    system = replace(neus.PRESETS["fast"], masks="object", background="white")
    silent = system.losses | {"silhouette": Silhouette(0.0), "curvature": Curvature(0.0)}
    for kept, losses in ((True, system.losses), (False, silent), (False, {"colour": AbsoluteError()})):
        observations = Observations(_capture(True).train, _capture(True), replace(system, losses=losses))
        assert (observations.get(0).alpha is not None) == kept
