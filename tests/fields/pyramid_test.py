"""Levels of a pyramid: which one a pixel's size asks for, blending, levels that were never trained."""

from __future__ import annotations

import itertools

import pytest
import torch
from tiny_capture import tiny_capture

from recon.fields.dense_grid import DenseGridSettings
from recon.fields.pyramid import PyramidField, PyramidSettings


@pytest.fixture
def field() -> PyramidField:
    field = PyramidSettings(DenseGridSettings(voxels=32**3, start=1.0), levels=3).build()
    field.initialise(tiny_capture(), 0)
    generator = torch.Generator().manual_seed(0)
    for k in range(3):
        density = field.params[f"{k}.density"].detach()
        field.params[f"{k}.density"] = torch.randn(density.shape, generator=generator)
    return field


def _finest(field: PyramidField) -> float:
    a, b, c = field.region.extent
    return float((a * b * c / field.most_voxels) ** (1 / 3) * (1 + field.region.margin))


def test_the_level_falls_by_one_as_the_pixel_doubles(field: PyramidField) -> None:
    p = _finest(field)
    widths = torch.tensor([p / 8, p, 2 * p, 3 * p, 4 * p, 100 * p])
    expected = torch.tensor([2.0, 2.0, 1.0, 2 - 1.5849625, 0.0, 0.0])
    torch.testing.assert_close(field.level(widths), expected, atol=1e-5, rtol=0)


def test_levels_are_half_as_fine_as_the_next(field: PyramidField) -> None:
    sizes = [part.size[0] for part in field.parts]
    for coarse, fine in itertools.pairwise(sizes):
        assert abs(fine / coarse - 2) < 0.3


def test_ends_are_single_levels_and_blending_is_continuous(field: PyramidField) -> None:
    u = torch.rand(300, 3)
    p = _finest(field)

    def at(width: float) -> torch.Tensor:
        return field.density(u, torch.full((300,), width)).detach()

    none = torch.zeros(300)
    torch.testing.assert_close(at(p / 4), field.parts[2].density(u, none).detach())
    torch.testing.assert_close(at(2 * p), field.parts[1].density(u, none).detach(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(at(9 * p), field.parts[0].density(u, none).detach())
    for level in (p, 2 * p, 4 * p):
        torch.testing.assert_close(at(level * 0.9999), at(level * 1.0001), atol=2e-3, rtol=0)
    middle = (field.parts[1].density(u, none) + field.parts[2].density(u, none)).detach() / 2
    torch.testing.assert_close(at(2**0.5 * p), middle, atol=1e-4, rtol=1e-4)


def test_equal_levels_do_not_depend_on_the_pixel(field: PyramidField) -> None:
    for k in range(3):
        field.params[f"{k}.features"] = torch.full_like(field.params[f"{k}.features"].detach(), 0.7)
    u = torch.rand(100, 3)
    for width in (1e-4, 0.03, 0.05, 0.3):
        out = field.features(u, torch.full((100,), width))
        torch.testing.assert_close(out, torch.full_like(out, 0.7), atol=1e-6, rtol=0)


def test_a_level_that_was_never_trained_is_not_shown(field: PyramidField) -> None:
    u = torch.rand(20_000, 3)
    p = _finest(field)
    field.density_and_more(u, torch.full((20_000,), 2 * p))  # all training looks from one distance
    near = u[::7].contiguous()
    with torch.no_grad():
        middle = field.parts[1].density(near, torch.zeros(len(near)))
        torch.testing.assert_close(field.density(near, torch.full((len(near),), p / 8)), middle, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(field.density(near, torch.full((len(near),), 8 * p)), middle, atol=1e-5, rtol=1e-5)


def test_a_checkpoint_keeps_the_trained_levels(field: PyramidField) -> None:
    u = torch.rand(50, 3)
    field.density_and_more(u, torch.full((50,), 2 * _finest(field)))
    again = field.wrapping.build()
    again.params.load_state(field.params.state())
    again.load_state(field.state())
    with torch.no_grad():
        width = torch.full((50,), 0.01)
        assert torch.equal(again.density(u, width), field.density(u, width))
